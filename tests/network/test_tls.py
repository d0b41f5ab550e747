"""What is special with TLS: the handshake, how it fails, how it ends, and the certificate."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import ssl
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import gevent
import pytest

from greenchat.client.tls import TlsError, UntrustedCertificate
from greenchat.errors import ConfigError
from greenchat.metrics import EVICTIONS
from greenchat.network import admission
from greenchat.network.tls import PIECE, Certificate
from tests.certificates import Authority, Pair
from tests.network.support import Client, FakeSession, Served

Serve = Callable[..., Served]
Ends = Callable[[], str]

LINE = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 6000\r\n"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def wire() -> str:
    return "tls"


@pytest.fixture
def end(caplog: pytest.LogCaptureFixture) -> Iterator[Ends]:
    """Wait for the line that the log has of the first end of a connection."""
    caplog.set_level(logging.INFO)

    def wait() -> str:
        while not caplog.records:
            gevent.sleep(0.001)
        return caplog.records[0].getMessage()

    yield wait
    assert {record.name for record in caplog.records} <= {"greenchat.network.connection"}


def at_once(sock: Any, data: bytes) -> None:
    """Send the bytes as they come."""
    sock.sendall(data)


def drip(sock: Any, data: bytes) -> None:
    """Send the bytes one by one, each in a turn of the loop."""
    for place in range(len(data)):
        sock.sendall(data[place : place + 1])
        gevent.sleep(0)


class Wire:
    """The client's end of TLS by hand: what is to be sent is first to be seen."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def shake(self, client: Client, send: Callable[[Any, bytes], None] = at_once) -> bytes:
        """Shake hands up to our last flight, which is returned, not sent."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                send(client.sock, self.outgoing.read())
                self.incoming.write(client.sock.recv(65_536))
            else:
                return self.outgoing.read()

    def encrypted(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    def read(self, client: Client) -> bytes:
        """Return the next that the server says; empty when it says that there is no more."""
        while True:
            try:
                return self.tls.read(65_536)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                data = client.sock.recv(65_536)
                assert data, "the end was not announced"
                self.incoming.write(data)


@pytest.fixture
def bare(serve: Serve, tls: Any) -> Callable[..., tuple[Served, Client, Wire]]:
    """A server, a connection to it without TLS so far, and TLS to put on it by hand."""

    def start(*arguments: Any, **options: Any) -> tuple[Served, Client, Wire]:
        served = serve(*arguments, **options)
        served.tls = None
        return served, served.connect(), Wire(tls[1])

    return start


# -- The handshake


@pytest.mark.parametrize("version", VERSIONS)
def test_tls_of_both_versions_is_spoken(serve: Serve, tls: Any, version: ssl.TLSVersion) -> None:
    tls[1].maximum_version = version
    client, _ = serve().pair()
    client.send(b"ping\n")
    assert client.frame() == b"ping"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_older_versions_are_refused(serve: Serve, tls: Any, end: Ends) -> None:
    tls[1].set_ciphers("ALL:@SECLEVEL=0")
    tls[1].minimum_version = ssl.TLSVersion.TLSv1
    tls[1].maximum_version = ssl.TLSVersion.TLSv1_1
    served = serve()
    with pytest.raises(TlsError, match="protocol version"):
        served.connect()
    assert "bad TLS handshake (unsupported protocol)" in end()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_comes_with_the_end_of_the_handshake_is_handled(
    bare: Any, tls: Any, version: ssl.TLSVersion
) -> None:
    tls[1].maximum_version = version
    _, client, wire = bare()
    last = wire.shake(client)
    client.sock.sendall(last + wire.encrypted(b"one\n") + wire.encrypted(b"two\n"))
    said = b""
    while said != b"one\ntwo\n":
        said += wire.read(client)


def test_a_handshake_that_comes_byte_by_byte_succeeds(bare: Any) -> None:
    _, client, wire = bare()
    last = wire.shake(client, drip)
    drip(client.sock, last + wire.encrypted(b"ping\n"))
    assert wire.read(client) == b"ping\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"msgid":12}\n', "wrong version number"),
        (b"GET / HTTP/1.1\r\n\r\n", "http request"),
        (b"\x16\x03\x01\x00\x05hello", "unexpected message"),
        (b"\x00" * 5000, "wrong version number"),
    ],
)
def test_who_does_not_speak_tls_is_ended_with_one_line(
    bare: Any, end: Ends, data: bytes, reason: str
) -> None:
    served, client, _ = bare()
    client.send(data)
    line = end()
    assert re.fullmatch(
        rf"127\.0\.0\.1:\d+ user=- ended: bad TLS handshake \({reason}\) after \d\.\d s", line
    )
    with contextlib.suppress(ConnectionResetError):
        assert client.rest()[:1] in (b"", b"\x15"), "an alert, if anything"
    assert served.service.sessions.empty()


def test_a_client_that_does_not_trust_the_server_goes_with_one_line(
    serve: Serve, tls: Any, end: Ends
) -> None:
    served = serve()
    served.tls = ssl.create_default_context()
    with pytest.raises(
        UntrustedCertificate, match=r"is not trusted: unable to get local issuer certificate$"
    ):
        served.connect()
    assert "user=- ended: bad TLS handshake (tlsv1 alert unknown ca) after" in end()


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01", None])
def test_a_handshake_that_is_late_ends_the_connection(bare: Any, end: Ends, hello: bytes | None) -> None:
    before = EVICTIONS.values["login_timeout"]
    _, client, wire = bare(login_timeout=0.05)
    if hello is None:
        wire.shake(client)
    else:
        client.send(hello)
    client.rest()
    assert "user=- ended: no TLS handshake in time after" in end()
    assert EVICTIONS.values["login_timeout"] == before + 1


@pytest.mark.parametrize(("how", "reason"), [("close", "closed by peer"), ("reset", "reset")])
def test_a_client_that_goes_during_the_handshake(bare: Any, end: Ends, how: str, reason: str) -> None:
    served, client, _ = bare()
    client.send(b"\x16\x03\x01")
    while not len(served.server.handshakes):
        gevent.sleep(0)
    gevent.sleep(0.01)
    getattr(client, how)()
    assert f"user=- ended: {reason} after" in end()


@pytest.mark.parametrize("header", [LINE, b"PROXY UNKNOWN\r\n"])
def test_the_proxys_header_comes_first(bare: Any, header: bytes) -> None:
    served, client, wire = bare(proxies=[ip_network("127.0.0.0/8")])
    with contextlib.suppress(ssl.SSLWantReadError):
        wire.tls.do_handshake()
    client.send(header + wire.outgoing.read())
    wire.incoming.write(client.sock.recv(65_536))
    client.send(wire.shake(client) + wire.encrypted(b"ping\n"))
    assert wire.read(client) == b"ping\n"
    address = served.service.sessions.get().peer.address
    own = f"127.0.0.1:{client.sock.getsockname()[1]}"
    assert address == ("192.0.2.7:56324" if header == LINE else own)


def test_one_connection_too_many_is_told_so(serve: Serve) -> None:
    served = serve(max_connections=1)
    served.pair()
    words = served.connect().last_words()
    assert (words["msgid"], words["reason"]) == (24, "evicted")


def test_a_handshake_that_never_ends_counts_for_its_address(bare: Any, tls: Any) -> None:
    served, client, _ = bare(max_connections_per_address=2)
    client.send(b"\x16\x03\x01")
    served.connect()
    served.tls = tls[1]
    words = served.connect().last_words()
    assert (words["msgid"], words["reason"]) == (24, "evicted")


def test_far_too_many_are_closed_before_they_cost_anything(
    bare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "REFUSED_AT_ONCE", 1)
    served, _, _ = bare(max_connections=1)
    served.connect()
    assert served.connect().rest() == b""
    assert len(served.server.handshakes) == 2


# -- The connection


def records(data: bytes) -> list[int]:
    """Return the sizes of the records that a stream has."""
    sizes = []
    while data:
        sizes.append(int.from_bytes(data[3:5]))
        data = data[5 + sizes[-1] :]
    return sizes


def test_the_frames_of_a_turn_are_one_record(bare: Any) -> None:
    def many(session: FakeSession, frame: bytes) -> None:
        for _ in range(50):
            session.say(b"frame")

    _, client, wire = bare(many)
    client.send(wire.shake(client) + wire.encrypted(b"go\n"))
    assert len(records(client.sock.recv(65_536))) == 1


def test_a_large_frame_goes_in_pieces_that_leave_small_buffers(bare: Any) -> None:
    _, client, wire = bare(lambda session, frame: session.say(b"x" * 100_000))
    client.send(wire.shake(client) + wire.encrypted(b"go\n"))
    said, read = b"", b""
    while not read.endswith(b"\n"):
        some = client.sock.recv(65_536)
        said += some
        wire.incoming.write(some)
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:
                read += wire.tls.read(65_536)
    assert read == b"x" * 100_000 + b"\n"
    assert max(records(said)) < PIECE + 256


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_records_may_be_cut_and_joined(bare: Any, size: int) -> None:
    served, client, wire = bare()
    client.send(wire.shake(client))
    stream = b"".join(wire.encrypted(b"%d" % n + b"x" * n * 100 + b"\n") for n in range(20))
    for place in range(0, len(stream), size):
        client.send(stream[place : place + size])
        if size == 1 and place < 500:
            gevent.sleep(0)
    said = b""
    while said.count(b"\n") < 20:
        said += wire.read(client)
    assert served.service.sessions.get().frames == said.splitlines()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_peer_that_announces_its_end_gets_its_replies_and_the_announcement_of_ours(
    bare: Any, tls: Any, version: ssl.TLSVersion
) -> None:
    tls[1].maximum_version = version
    served, client, wire = bare()
    client.send(wire.shake(client))
    last = wire.encrypted(b"one\n") + wire.encrypted(b"two\n")
    with contextlib.suppress(ssl.SSLWantReadError):
        wire.tls.unwrap()
    client.send(last + wire.outgoing.read() + b"ignored")
    said = b""
    while some := wire.read(client):
        said += some
    assert said == b"one\ntwo\n"
    assert served.service.sessions.get().reasons == ["closed by peer"]


def test_a_peer_that_goes_unannounced_has_closed(serve: Serve) -> None:
    client, session = serve().pair()
    client.sock.close()
    session.ended.wait()
    assert session.reasons == ["closed by peer"]


def test_our_end_is_announced(bare: Any) -> None:
    served, client, wire = bare()
    client.send(wire.shake(client))
    served.service.sessions.get().peer.close("shutdown")
    assert json.loads(wire.read(client))["reason"] == "shutdown"
    assert wire.read(client) == b""


def test_what_is_not_of_this_connection_breaks_it(bare: Any, end: Ends) -> None:
    served, client, wire = bare()
    client.send(wire.shake(client) + wire.encrypted(b"ping\n"))
    assert wire.read(client) == b"ping\n"
    client.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        wire.read(client)
    assert "user=5 ended: TLS broken (decryption failed or bad record mac) after" in end()
    assert served.service.sessions.get().reasons == ["TLS broken (decryption failed or bad record mac)"]


# -- The certificate


def shown(served: Served, other: Authority) -> bool:
    """Say whether the certificate that is shown is one of this authority."""
    served.tls = ssl.create_default_context(cafile=other.cert)
    try:
        return bool(served.connect())
    except UntrustedCertificate:
        return False


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "other")


def test_a_certificate_that_is_read_again_counts_for_newcomers(
    serve: Serve, authority: Authority, other: Authority, tmp_path: Path, certificate: Pair
) -> None:
    files = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    for old, new in zip(certificate, files, strict=True):
        new.write_bytes(old.read_bytes())
    ours = Certificate(*map(str, files))
    served = serve(certificate=ours)
    before = served.connect()
    assert shown(served, authority)
    for old, new in zip(other.issue("renewed"), files, strict=True):
        new.write_bytes(old.read_bytes())
    ours.reload()
    assert shown(served, other)
    assert not shown(served, authority)
    before.send(b"ping\n")
    assert before.frame() == b"ping"
    files.key.write_text("broken")
    with pytest.raises(ConfigError):
        ours.reload()
    assert shown(served, other)


def test_a_certificate_and_a_key_may_be_in_one_file(tmp_path: Path, certificate: Pair) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.cert.read_bytes() + certificate.key.read_bytes())
    Certificate(str(both), str(both))


CERT = "-----BEGIN CERTIFICATE-----\nTm90IG9uZQ==\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nTm90IG9uZQ==\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"cert": None}, "tls-cert: {cert}: No such file or directory"),
        ({"key": None}, "tls-key: {key}: No such file or directory"),
        ({"cert": ""}, "tls-cert: {cert}: there is no certificate in PEM in it"),
        ({"key": "key"}, "tls-key: {key}: there is no key in PEM in it"),
        ({"key": CERT}, "tls-key: {key}: there is no key in PEM in it"),
        ({"cert": CERT}, "tls-cert and tls-key: {cert} and {key}: "),
        ({"key": KEY}, "tls-cert and tls-key: {cert} and {key}: "),
        ({"key": "other"}, "tls-cert and tls-key: {cert} and {key}: key values mismatch"),
        (
            {"key": "encrypted"},
            "tls-key: {key}: it is encrypted, and nobody is there to be asked for the password",
        ),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(
    tmp_path: Path, certificate: Pair, other: Authority, files: dict[str, str | None], said: str
) -> None:
    pair = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    contents = {"cert": certificate.cert.read_text(), "key": certificate.key.read_text(), **files}
    made = {"other": lambda: other.issue("another").key, "encrypted": other.encrypted_key}
    for name, content in contents.items():
        if content is not None:
            text = made[content]().read_text() if content in made else content
            getattr(pair, name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        Certificate(*map(str, pair))
    sentence = str(caught.value)
    assert sentence.startswith(said.format(cert=pair.cert, key=pair.key))
    assert "\n" not in sentence

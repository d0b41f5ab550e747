"""TLS from end to end: the real server with the library, the terminal, and OpenSSL's own client."""

from __future__ import annotations

import contextlib
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenchat import errors
from greenchat.client import Backoff, Message
from greenchat.client import Client as Library
from lab.servers.node import environment
from tests.certificates import Authority, Pair
from tests.system.server import DEADLINE, DIALECT, Client, Server, run

Start = Callable[..., Server]

RELOADED = r"INFO greenchat: the certificate was read again: .*"
KEPT = r"ERROR greenchat: .*; the certificate that was read before stays"
FAILED = r"INFO greenchat\.network\.connection: \S+ user=- ended: bad TLS handshake \([a-z0-9 ]+\) after .*"


@pytest.fixture
def files(tmp_path: Path, certificate: Pair) -> Pair:
    """The files that the server reads; they may be changed."""
    folder = tmp_path / "tls"
    folder.mkdir()
    files = Pair(folder / "cert.pem", folder / "key.pem")
    put(certificate, files)
    return files


def put(pair: Pair, files: Pair) -> None:
    for source, target in zip(pair, files, strict=True):
        target.write_bytes(source.read_bytes())


@pytest.fixture
def server(start: Start, files: Pair) -> Server:
    return encrypted(start, files)


def encrypted(start: Start, files: Pair, *options: object, **more: object) -> Server:
    expected = (RELOADED, KEPT, FAILED)
    return start("--tls-cert", files.cert, "--tls-key", files.key, *options, expected=expected, **more)


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.cert)


class TlsClient(Client):
    """A client with the standard library's TLS.

    Attributes:
        tls: its socket.
    """

    def __init__(self, server: Server, context: ssl.SSLContext, terminator: bytes = b"\n") -> None:
        super().__init__(server, terminator)
        self.tls = self.sock = context.wrap_socket(self.sock, server_hostname="localhost")


def joined(server: Server, context: ssl.SSLContext, name: str) -> TlsClient:
    client = TlsClient(server, context)
    client.done(4, name=name, password="pw")
    client.login(name=name, password="pw")
    return client


# -- Serving


def test_people_talk_over_tls(server: Server, context: ssl.SSLContext) -> None:
    with joined(server, context, "ann") as ann, joined(server, context, "bob") as bob:
        text = "€" * 4096
        for number in range(50):
            ann.send(6, toid=bob.id, msg=f"{number}{text}"[:4096])
        assert [bob.wait(msgid=6)["seq"] for _ in range(50)] == list(range(1, 51))
        assert ann.tls.version() == "TLSv1.3"


def test_a_classic_client_may_use_tls(server: Server, context: ssl.SSLContext) -> None:
    with TlsClient(server, context, terminator=b"\0") as client:
        client.send(4, name="ann", password="pw")
        assert client.read()["errno"] == 0


def test_plain_clients_are_ended_and_do_no_harm(server: Server, context: ssl.SSLContext) -> None:
    with Client(server) as plain, TlsClient(server, context) as other:
        plain.send(12)
        with contextlib.suppress(ConnectionResetError):
            assert plain.sock.recv(100)[:1] in (b"", b"\x15")
        assert other.ask(12)["msgid"] == 12
    assert "user=- ended: bad TLS handshake (" in server.wait_for_log("bad TLS handshake")[0]


def test_the_end_of_the_server_is_told_over_tls(server: Server, context: ssl.SSLContext) -> None:
    with joined(server, context, "ann") as ann:
        assert server.stop() == 0
        assert ann.ended()[-1]["reason"] == "shutdown"


@pytest.mark.parametrize("options", [(), ("-maxfraglen", "512"), ("-tls1_2",)])
def test_openssls_own_client_is_served(
    server: Server, authority: Authority, options: tuple[str, ...]
) -> None:
    """With short fragments (RFC 6066, 4) as small devices want them, too."""
    address = f"{server.host}:{server.port}"
    client = subprocess.Popen(
        ["openssl", "s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost",
         "-CAfile", str(authority.cert), "-connect", address, *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def ask(msgid: int, **fields: object) -> dict[str, Any]:
        assert client.stdin
        assert client.stdout
        client.stdin.write(json.dumps({"msgid": msgid, **fields}).encode() + b"\n")
        client.stdin.flush()
        reply: dict[str, Any] = json.loads(client.stdout.readline())
        assert reply["errno"] == 0
        return reply

    me = ask(4, name="ann", password="pw")["id"]
    ask(1, id=me, password="pw")
    ask(6, toid=me, msg="x" * 4096)
    assert ask(15, peerid=me)["messages"][0]["msg"] == "x" * 4096
    client.kill()
    client.communicate(timeout=DEADLINE)


# -- The certificate


def peers_authority(server: Server, authority: Authority) -> bool:
    """Say whether the server shows a certificate of this authority."""
    try:
        with TlsClient(server, ssl.create_default_context(cafile=authority.cert)) as client:
            return bool(client.ask(12))
    except ssl.SSLCertVerificationError:
        return False


def test_sighup_reads_the_certificate_again(
    server: Server, files: Pair, authority: Authority, context: ssl.SSLContext, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    with joined(server, context, "ann") as ann:
        put(other.issue("renewed"), files)
        assert peers_authority(server, authority)
        server.tell(signal.SIGHUP)
        server.wait_for_log(RELOADED)
        assert peers_authority(server, other)
        assert not peers_authority(server, authority)
        files.key.write_text("not a key")
        server.tell(signal.SIGHUP)
        (line,) = server.wait_for_log(KEPT)
        assert f"tls-key: {files.key}: there is no key in PEM in it; the certificate" in line
        assert peers_authority(server, other)
        assert ann.ask(12)["msgid"] == 12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tls-cert", "{cert}"], "tls-cert and tls-key: both are needed, or neither"),
        (["--tls-cert", "{cert}", "--tls-key", "/missing"], "tls-key: /missing: No such file or directory"),
        (
            ["--tls-cert", "{key}", "--tls-key", "{key}"],
            "tls-cert: {key}: there is no certificate in PEM in it",
        ),
    ],
)
def test_a_certificate_that_cannot_be_used_ends_the_start_with_a_line(
    tmp_path: Path, files: Pair, options: list[str], said: str
) -> None:
    names = {"cert": files.cert, "key": files.key}
    arguments = [option.format(**names) for option in options]
    assert run(0, *arguments, folder=tmp_path) == (2, "", f"greenchat: {said.format(**names)}\n")
    assert not (tmp_path / "greenchat.db").exists()


# -- The library


def user(server: Server, tls: ssl.SSLContext | None, host: str = "localhost") -> Library:
    return Library(host, server.port, tls=tls, backoff=Backoff(0.05, 0.2), timeout=DEADLINE)


def test_the_library_talks_over_tls_and_comes_back(server: Server, context: ssl.SSLContext) -> None:
    with user(server, context) as ann, user(server, context, "127.0.0.1") as bob:
        for client, name in ((ann, "ann"), (bob, "bob")):
            client.register(name, "secret")
            client.login(name, "secret")
        sent = [ann.chat(2, str(number) + "x" * 4000).seq for number in range(30)]
        server.kill()
        server.start()
        sent += [ann.chat(2, str(number) + "x" * 4000).seq for number in range(30)]
        got = []
        for push in bob.pushes(DEADLINE):
            got += [push.seq] if isinstance(push, Message) else []
            if len(got) == 60:
                break
        assert sent == got == list(range(1, 61))


def refusal(server: Server, tls: ssl.SSLContext, host: str = "localhost") -> str:
    """Return what a client says that does not get as far as a login."""
    with user(server, tls, host) as client, pytest.raises(errors.Disconnected) as caught:
        client.login("ann", "secret")
    return caught.value.reason


def test_a_server_that_is_not_trusted_is_not_talked_to(
    start: Start, server: Server, authority: Authority, context: ssl.SSLContext
) -> None:
    said = "the server's certificate is not trusted: "
    ours = ssl.create_default_context()
    assert refusal(server, ours) == said + "unable to get local issuer certificate"
    elsewhere = encrypted(start, authority.issue("elsewhere", "DNS:chat.example"))
    for host, reason in (
        ("localhost", "Hostname mismatch, certificate is not valid for 'localhost'"),
        ("127.0.0.1", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ):
        assert refusal(elsewhere, context, host) == said + reason


def test_a_server_without_tls_is_told(start: Start, context: ssl.SSLContext) -> None:
    """What it makes of a ClientHello depends on the bytes that were drawn for that."""
    server = start(expected=(DIALECT,))
    assert refusal(server, context) in (
        "the server does not answer as one with TLS does",
        "the server closed the connection during the TLS handshake",
        "there is no TLS with this server: wrong version number",
    )
    with Client(server) as plain:
        assert plain.ask(12)["msgid"] == 12


# -- The terminal


def terminal(
    server: Server, *options: object, host: str = "localhost", lines: str = ""
) -> tuple[int, str, str]:
    """Run the terminal client on these lines; return its exit status and what it printed."""
    ran = subprocess.run(
        [sys.executable, "-m", "greenchat.client", host, str(server.port), *map(str, options)],
        input=lines,
        env=environment(),
        timeout=DEADLINE,
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


def test_the_terminal_talks_over_tls(server: Server, authority: Authority) -> None:
    lines = "2\nann\nsecret\n1\nann\nsecret\nquit\n"
    status, said, errors = terminal(server, "--tls", "--tls-ca", authority.cert, lines=lines)
    assert (status, errors) == (0, "")
    assert "Welcome, ann!" in said


def test_the_terminal_says_in_a_sentence_what_is_wrong_with_tls(
    server: Server, authority: Authority, tmp_path: Path, files: Pair
) -> None:
    where = f"greenchat.client: cannot reach localhost:{server.port}: "
    assert terminal(server, "--tls") == (
        1,
        "",
        where + "the server's certificate is not trusted: unable to get local issuer certificate"
        " (--tls-ca FILE names another authority)\n",
    )
    for options, said in (
        (["--tls-ca", authority.cert], "--tls-ca needs --tls"),
        (["--tls", "--tls-ca", "/missing.pem"], "--tls-ca: /missing.pem: No such file or directory"),
        (["--tls", "--tls-ca", files.key], f"--tls-ca: {files.key}: the file has no certificate in PEM form"),
    ):
        assert terminal(server, *options) == (2, "", f"greenchat.client: {said}; try --help\n")


def test_the_terminal_without_tls_sends_no_password_to_a_server_that_has_it(server: Server) -> None:
    status, said, errors = terminal(server, lines="1\nann\nsecret\n3\n")
    assert (status, said) == (1, "")
    assert errors.startswith(f"greenchat.client: cannot reach localhost:{server.port}: the server ")
    assert errors.endswith(" (for one with TLS add --tls)\n")

"""The library over TLS, against a server that speaks it with the standard library's sockets."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any

import pytest

from greenchat.client import Client, ConnectionEvent, Message
from greenchat.client.dial import connect
from greenchat.client.tls import TlsClientSocket, TlsError, UntrustedCertificate
from greenchat.errors import Disconnected
from greenchat.protocol.messages import MsgId
from tests.certificates import Authority, Pair
from tests.client.conftest import SOON, New
from tests.client.fake_server import DEADLINE, FakeServer, Peer, chat_from

Run = Callable[..., Future[Any]]


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.cert)


@pytest.fixture
def ours(certificate: Pair) -> ssl.SSLContext:
    """The server's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def server(ours: ssl.SSLContext) -> Iterator[FakeServer]:
    fake = FakeServer(ours)
    yield fake
    fake.close()


@pytest.fixture
def client(new: New, server: FakeServer, context: ssl.SSLContext, run: Run) -> Iterator[Client]:
    with new("localhost", server.port, tls=context, backoff=SOON) as made:
        yield made
        server.close()


@pytest.fixture
def peer(server: FakeServer, client: Client, run: Run) -> Peer:
    """The server's end of the client's connection, logged in as user 1, ann."""
    login = run(client.login, "ann", "secret")
    accepted = server.accept()
    accepted.welcome()
    assert login.result(DEADLINE).id == 1
    assert next(client.pushes(DEADLINE)).kind == "connected"  # type: ignore[union-attr]
    return accepted


def test_requests_and_pushes_go_both_ways(client: Client, peer: Peer, run: Run) -> None:
    chat = run(client.chat, 2, "hi")
    peer.stored(peer.get(MsgId.ONE_CHAT), 1)
    assert chat.result(DEADLINE).seq == 1
    peer.send(chat_from(2, 2))
    message = next(client.pushes(DEADLINE))
    assert isinstance(message, Message)
    assert message.text == "hi"


def test_a_lost_connection_comes_back_over_tls(server: FakeServer, client: Client, peer: Peer) -> None:
    peer.close()
    server.accept().welcome()
    assert kinds(client, 2) == ["lost", "back"]


def kinds(client: Client, count: int) -> list[str]:
    """Return the kinds of the next events."""
    return [push.kind for push in islice(client.pushes(DEADLINE), count) if isinstance(push, ConnectionEvent)]


def test_a_client_that_is_closed_says_so(client: Client, peer: Peer, run: Run) -> None:
    closing = run(client.close)
    assert peer.at_end()
    peer.close()
    closing.result(DEADLINE)


def test_much_at_a_time_in_both_directions_is_not_mixed_up(
    ours: ssl.SSLContext, context: ssl.SSLContext
) -> None:
    """One thread reads while another writes, and both are always in the middle of a record."""
    mine, theirs = socket.socketpair()
    stream = b"".join(b"%d " % number for number in range(2_000_000))
    wrapped: list[ssl.SSLSocket] = []
    accepting = threading.Thread(target=lambda: wrapped.append(ours.wrap_socket(theirs, server_side=True)))
    accepting.start()
    mine.settimeout(DEADLINE)
    tls = TlsClientSocket(mine, context, "localhost")
    accepting.join(DEADLINE)
    (other,) = wrapped
    mirror = threading.Thread(target=reflect, args=(other,))
    mirror.start()
    writer = threading.Thread(target=write_in_pieces, args=(tls, stream))
    writer.start()
    got = bytearray()
    while data := tls.recv(65_536):
        got += data
    assert got == stream
    writer.join(DEADLINE)
    mirror.join(DEADLINE)
    for sock in (tls, other):
        sock.close()


def reflect(sock: ssl.SSLSocket) -> None:
    """Send back what comes, then end as it ended."""
    while data := sock.recv(65_536):
        sock.sendall(data)
    sock.unwrap().shutdown(socket.SHUT_WR)


def write_in_pieces(tls: TlsClientSocket, stream: bytes) -> None:
    for place in range(0, len(stream), 10_007):
        tls.sendall(stream[place : place + 10_007])
    tls.shutdown(socket.SHUT_WR)


# -- What goes wrong


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(DEADLINE)
        yield listening


def test_what_comes_with_the_end_of_the_handshake_is_read(
    listener: socket.socket, ours: ssl.SSLContext, context: ssl.SSLContext, run: Run
) -> None:
    """With TLS 1.2 the server has the last word in it, and a BYE may follow at once."""
    ours.maximum_version = ssl.TLSVersion.TLSv1_2
    connecting = run(connect, "localhost", listener.getsockname()[1], DEADLINE, context)
    accepted = listener.accept()[0]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ours.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            accepted.sendall(outgoing.read())
            incoming.write(accepted.recv(65_536))
    tls.write(b"bye")
    accepted.sendall(outgoing.read())
    connected = connecting.result(DEADLINE)
    assert connected.recv(100) == b"bye"
    connected.close()
    accepted.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "the server closed the connection during the TLS handshake"),
        (b'{"msgid":14,"errno":3}\n', "there is no TLS with this server: wrong version number"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "there is no TLS with this server: sslv3 alert handshake failure"),
    ],
)
def test_a_server_that_will_not_is_told_in_a_sentence(
    new: New, listener: socket.socket, context: ssl.SSLContext, run: Run, answer: bytes, said: str
) -> None:
    with new("localhost", listener.getsockname()[1], tls=context) as client:
        login = run(client.login, "ann", "secret")
        accepted = listener.accept()[0]
        accepted.recv(65_536)
        accepted.sendall(answer)
        accepted.close()
        with pytest.raises(Disconnected) as caught:
            login.result(DEADLINE)
    assert caught.value.reason == said


def test_a_server_that_does_not_answer_is_not_waited_for_long(
    listener: socket.socket, context: ssl.SSLContext
) -> None:
    with pytest.raises(TlsError, match="the server does not answer as one with TLS does"):
        connect("localhost", listener.getsockname()[1], 0.05, context)


def test_a_server_without_a_trusted_certificate_is_told_so_too(server: FakeServer, run: Run) -> None:
    connecting = run(connect, "localhost", server.port, DEADLINE, ssl.create_default_context())
    with pytest.raises(ssl.SSLError, match="alert unknown ca"):
        server.accept()
    with pytest.raises(UntrustedCertificate):
        connecting.result(DEADLINE)


def test_a_connection_that_is_tampered_with_is_lost(server: FakeServer, client: Client, peer: Peer) -> None:
    with peer.detach() as raw:
        raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        lost = next(client.pushes(DEADLINE))
        assert isinstance(lost, ConnectionEvent)
        assert (lost.kind, lost.reason) == (
            "lost",
            "TLS with the server broke: decryption failed or bad record mac",
        )
    server.accept().welcome()
    assert kinds(client, 1) == ["back"]

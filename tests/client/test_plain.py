"""A password goes in clear to a server that speaks our protocol, and to nobody else."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from greenchat import errors
from greenchat.client import ConnectionEvent
from greenchat.client.core.greeting import MAX_ANSWER, WrongProtocol
from greenchat.client.dial import connect
from tests.certificates import Pair
from tests.client.conftest import SOON, New
from tests.client.fake_server import DEADLINE

Run = Callable[..., Future[Any]]

ECHO = b'{"msgid":12}\n'


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(DEADLINE)
        yield listening


def drain(sock: socket.socket) -> bytes:
    """Return all that the client sends until it ends the connection."""
    sock.settimeout(DEADLINE)
    data = b""
    while more := sock.recv(65_536):
        data += more
    return data


def test_a_server_with_tls_gets_no_password(
    new: New, listener: socket.socket, certificate: Pair, run: Run
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with new("127.0.0.1", listener.getsockname()[1]) as client:
        login = run(client.login, "ann", "secret")
        accepted = listener.accept()[0]
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(accepted, server_side=True)
        with pytest.raises(errors.Disconnected, match=r"without an answer|does not speak"):
            login.result(DEADLINE)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "the server closed the connection without an answer"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "the server does not speak greenchat's protocol"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "the server does not speak greenchat's protocol"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server does not speak greenchat's protocol"),
        (b'{"error":"what?"}\n', "the server does not speak greenchat's protocol"),
        (b"{" + b" " * MAX_ANSWER, "the server does not speak greenchat's protocol"),
        (b"{" * 60_000 + b"\n", "the server does not speak greenchat's protocol"),
    ],
)
def test_who_does_not_speak_our_protocol_gets_no_password(
    new: New, listener: socket.socket, run: Run, answer: bytes, said: str
) -> None:
    with new("127.0.0.1", listener.getsockname()[1]) as client:
        login = run(client.login, "ann", "secret")
        accepted = listener.accept()[0]
        accepted.settimeout(DEADLINE)
        assert accepted.recv(65_536) == ECHO
        accepted.sendall(answer)
        accepted.shutdown(socket.SHUT_WR)
        assert drain(accepted) == b""
        with pytest.raises(errors.Disconnected) as caught:
            login.result(DEADLINE)
        assert caught.value.reason == said
        accepted.close()


def test_a_server_that_says_nothing_gets_no_password(listener: socket.socket) -> None:
    with pytest.raises(WrongProtocol, match="the server does not answer"):
        connect("127.0.0.1", listener.getsockname()[1], 0.05, None)
    assert drain(listener.accept()[0]) == ECHO


def test_a_greeting_in_pieces_and_what_follows_it_are_read(listener: socket.socket, run: Run) -> None:
    connecting = run(connect, "127.0.0.1", listener.getsockname()[1], DEADLINE, None)
    accepted = listener.accept()[0]
    for byte in b"\r\n" + ECHO[:-1]:
        accepted.sendall(bytes([byte]))
    accepted.sendall(b"\nmore")
    connected = connecting.result(DEADLINE)
    read = b""
    while not read.endswith(b"more"):
        read += connected.recv(65_536)
    assert read == b"\r\n" + ECHO + b"more"
    connected.close()
    accepted.close()


def test_a_server_that_lets_us_not_in_may_say_when_to_come(
    new: New, listener: socket.socket, run: Run
) -> None:
    """Too many connections: ERROR and BYE come instead of the echo, and their time is kept."""
    bye = {"msgid": 24, "reason": "evicted", "retry_after": 0.01}
    with new("127.0.0.1", listener.getsockname()[1], backoff=SOON) as client:
        login = run(client.login, "ann", "secret")
        accepted = listener.accept()[0]
        accepted.sendall(b'{"msgid":14,"errno":11,"error":"rate_limited","errmsg":"too many"}\n')
        accepted.sendall(json.dumps(bye).encode() + b"\n")
        accepted.shutdown(socket.SHUT_WR)
        with pytest.raises(errors.Disconnected, match="evicted"):
            login.result(DEADLINE)
        accepted.close()
        assert not [push for push in client.pushes(0) if isinstance(push, ConnectionEvent)]

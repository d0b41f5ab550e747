"""HTTP on the port of chat clients: answered 400 and closed, and no line of it is a request."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.network.support import Served

Serve = Callable[..., Served]

BODY = b'{"msgid":3,"name":"mallory","password":"pw"}\n'

POST = b"POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 45\r\n\r\n" + BODY


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST / HTTP/1.1\r\n",
        b"GET /api/v1/me?x=1 HTTP/1.0\n",
        b"\r\n\r\nOPTIONS * HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"CONNECT chat:443 HTTP/1.1\r\n",
        b"m-search http://chat/ HTTP/1.1\r\n",
    ],
)
def test_a_line_of_http_is_answered_and_none_after_it_is_handled(serve: Serve, request_line: bytes) -> None:
    client, session = serve().pair()
    client.send(request_line + BODY * 3)
    answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert b"mallory" not in answer
    assert session.ended.wait()
    assert session.frames == []
    assert session.reasons == ["another protocol"]


def test_it_may_come_byte_by_byte(serve: Serve) -> None:
    client, session = serve().pair()
    for place in range(len(POST)):
        try:
            client.send(POST[place : place + 1])
        except OSError:
            break
    assert client.rest().startswith(b"HTTP/1.1 400 ")
    assert session.ended.wait()
    assert session.frames == []


def test_a_refused_client_that_speaks_http_is_not_told_json(serve: Serve) -> None:
    served = serve(max_connections=1, patience=5.0)
    served.pair()
    client = served.connect()
    client.send(POST)
    assert client.rest().startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "line", [b'{"text":"GET / HTTP/1.1"}', b"GET /", b"hello HTTP/1.1", b"GET / HTTP/1.1 x", b"GET  HTTP/1.1"]
)
def test_other_lines_are_frames_as_before(serve: Serve, line: bytes) -> None:
    client, session = serve().pair()
    client.send(line + b"\n")
    assert client.frame() == line
    assert session.frames == [line]


def test_of_a_classic_client_it_is_a_frame(serve: Serve) -> None:
    client, session = serve().pair()
    client.send(b"GET / HTTP/1.1\0\n")
    assert client.frame(b"\0") == b"GET / HTTP/1.1"
    assert session.is_classic

"""The web port without sockets: any bytes get whole answers, the same however they are cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NamedTuple

from greenchat.errors import NoSuchUser, RateLimited
from greenchat.http.answers import SECURITY
from greenchat.http.call import Call, Response, Route, text
from greenchat.http.connection import HttpConnection
from greenchat.http.limits import HttpLimits
from greenchat.http.origin import Origins
from greenchat.http.routes import Routes
from greenchat.http.site import Site
from greenchat.http.static import static_routes

STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) [ -~]+")
FIELD = re.compile(rb"([A-Za-z0-9-]+): ([ -~\xa0-\xff]*)")

MOST = 8_192
"""Bytes of an input: no head in it is too large, which would depend on how it is cut."""


class Answer(NamedTuple):
    """An answer, without its date."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes


class FakeSocket:
    """A socket that has all its input at once, in pieces, and takes all output."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self.output = b""
        self.closed = False

    def recv(self, size: int) -> bytes:
        return next(self._pieces, b"")

    def send(self, data: bytes | memoryview) -> int:
        self.output += bytes(data)
        return len(data)

    def shutdown(self, how: int) -> None:
        pass

    def close(self) -> None:
        assert not self.closed
        self.closed = True

    def fileno(self) -> int:
        raise AssertionError("nothing is waited for")


class FakeVisitor:
    """A client from loopback, which is a proxy too."""

    address = "127.0.0.1:999"
    refusal = None
    encrypted = False
    local_host = "127.0.0.1"

    def __init__(self, sock: FakeSocket) -> None:
        self.sock = sock
        self.opened = monotonic()

    def move(self, address: str, shared: bool = False) -> RateLimited | None:
        self.address = address
        return None

    def hand_over(self) -> None:
        raise AssertionError


def http(data: bytes) -> None:
    """Send bytes whole, in pieces and one by one: the answers are well formed, and the same."""
    data = data[:MOST]
    whole = list(answers(_serve([data] if data else [])))
    step = 1 + len(data) % 7
    for size in {1, step}:
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert list(answers(_serve(pieces))) == whole, f"cut into pieces of {size}"
    for answer in whole:
        assert 200 <= answer.status < 500 or answer.status in (501, 505), "a bug"


def _serve(pieces: list[bytes]) -> bytes:
    sock = FakeSocket(pieces)
    assert HttpConnection(_site(), FakeVisitor(sock)).run() is None
    assert sock.closed
    return sock.output


def answers(output: bytes) -> Iterator[Answer]:
    """Read the answers as a client does that knows them well; only HEAD it has to guess."""
    while output:
        head, end, output = output.partition(b"\r\n\r\n")
        assert end, "a head is cut off"
        first, *lines = head.split(b"\r\n")
        status = STATUS_LINE.fullmatch(first)
        assert status, first
        fields = {}
        for line in lines:
            found = FIELD.fullmatch(line)
            assert found, line
            name = found[1].lower()
            assert name not in fields, f"{name!r} stands twice"
            fields[name] = found[2]
        number = int(status[1])
        if number == 100:
            assert not fields
            continue
        assert fields.pop(b"date")
        for name, value in SECURITY:
            assert fields[name.encode()] == value.encode()
        size = int(fields.get(b"content-length", b"0"))
        body = b""
        if not output.startswith(b"HTTP/1.1 ") or size == 0:
            body, output = output[:size], output[size:]
            assert len(body) in (0, size), "a body is cut off"
        if fields.get(b"connection", b"").lower() == b"close":
            assert not output, "an answer stands behind the last one"
        yield Answer(number, fields, body)


def _echo(call: Call) -> Response:
    return Response(200, [("content-type", "application/octet-stream")], call.body)


def _show(call: Call) -> Response:
    return text(f"{dict(call.parameters)!a} {dict(call.query)!a} {call.address} {call.secure} {call.host!a}")


def _fail(call: Call) -> Response:
    raise NoSuchUser


@cache
def _site() -> Site:
    with TemporaryDirectory() as name:
        (Path(name) / "index.html").write_bytes(b"<p>0123456789" * 50)
        rows = [
            *static_routes(Path(name)),
            Route("GET", "/show/{one}", _show),
            Route("POST", "/echo", _echo, max_body=1_000),
            Route("GET", "/fail", _fail),
        ]
    limits = HttpLimits(max_target=1_000, max_headers=20)
    return Site(Routes(rows), Origins([], [], "127.0.0.1"), None, limits, _loopback())


def _loopback() -> list[IPv4Network | IPv6Network]:
    return [ip_network("127.0.0.0/8")]

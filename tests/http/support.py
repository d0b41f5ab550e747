"""A web port with rows of the test's own, and clients for it, all in one unpatched process."""

from __future__ import annotations

import json
import socket as stdlib
import ssl
import struct
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network
from typing import Any, NamedTuple

import gevent
from gevent import socket
from gevent.event import Event

from greenchat.client.tls import TlsClientSocket
from greenchat.http.answers import refused
from greenchat.http.call import Call, HttpError, Response, Route, TakenOver, text
from greenchat.http.forwarded import Networks
from greenchat.http.limits import HttpLimits
from greenchat.http.origin import Origins
from greenchat.http.routes import Routes
from greenchat.http.server import HttpServer
from greenchat.http.site import Site
from greenchat.network.connections import Connections
from greenchat.network.limits import Limits
from greenchat.network.web import WebListener

DEADLINE = 30.0
"""Seconds that a test may take: generous, because nothing waits for it when all is well."""


class Answer(NamedTuple):
    """An answer as a client reads it."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Client:
    """A client that writes bytes and reads answers."""

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self.sock = socket.socket()
        self.sock.connect(address)
        self.wire = TlsClientSocket(self.sock, tls, "localhost") if tls else self.sock
        self.buffer = b""

    def send(self, data: bytes) -> None:
        self.wire.sendall(data)

    def get(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> Answer:
        self.ask(path, *headers, method=method, body=body)
        return self.answer(method)

    def ask(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> None:
        lines = [f"{method} {path} HTTP/1.1", *headers]
        if not any(line.lower().startswith("host:") for line in headers):
            lines.append("Host: localhost")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def until(self, mark: bytes) -> bytes:
        """Read up to a mark; all there is if the stream ends before."""
        while mark not in self.buffer:
            data = self.wire.recv(65_536)
            if not data:
                break
            self.buffer += data
        found, mark, self.buffer = self.buffer.partition(mark)
        return found

    def answer(self, method: str = "GET") -> Answer:
        """Read one answer, not 100 Continue; an empty one at the end of the stream."""
        head = self.until(b"\r\n\r\n").decode("latin-1")
        if not head:
            raise EOFError
        first, *lines = head.split("\r\n")
        version, status, _ = first.split(" ", 2)
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert len(headers) == len(lines), f"a header stands twice: {lines}"
        size = int(headers.get("content-length", "0"))
        if method == "HEAD" or int(status) in (100, 101, 204, 304):
            size = 0
        while len(self.buffer) < size:
            data = self.wire.recv(65_536)
            assert data, "the body is cut off"
            self.buffer += data
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return Answer(version, int(status), headers, body)

    def at_end(self) -> bool:
        """Wait for the end of the stream; return True if nothing came before it."""
        try:
            return not self.buffer and not self.wire.recv(1)
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Rows:
    """The rows that tests ask.

    Attributes:
        calls: those that reached a handler.
        go: lets ``/slow`` answer.
        began: set once ``/slow`` was asked.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.taken: list[TakenOver] = []
        self.go = Event()
        self.began = Event()

    def all(self) -> Iterable[Route]:
        yield Route("GET", "/", lambda call: text("home"))
        yield Route("GET", "/who", self.who)
        yield Route("GET", "/health", lambda call: text("ok"), price=0.0, any_host=True)
        yield Route("POST", "/echo", self.echo, max_body=1_000_000)
        yield Route("PUT", "/items/{id}/{part}", self.item, max_body=100)
        yield Route("GET", "/bug", self.bug)
        yield Route("GET", "/slow", self.slow)
        yield Route("GET", "/large", lambda call: text("x" * 3_000_000))
        yield Route("GET", "/pieces", self.pieces)
        yield Route("GET", "/over", self.over)
        yield Route("POST", "/mine", self.echo, requires=self.nobody, max_body=100)

    def who(self, call: Call) -> Response:
        self.calls.append(call)
        return text(f"{call.address} {'https' if call.secure else 'http'} {call.host}")

    def echo(self, call: Call) -> Response:
        self.calls.append(call)
        return Response(200, [("content-type", "application/octet-stream")], call.body)

    def item(self, call: Call) -> Response:
        return text(json.dumps([dict(call.parameters), dict(call.query)]))

    def bug(self, call: Call) -> Response:
        raise ZeroDivisionError("secret detail")

    def slow(self, call: Call) -> Response:
        self.began.set()
        self.go.wait()
        return text("late")

    def pieces(self, call: Call) -> Response:
        return Response(200, [("content-length", "300000")], (b"y" * 100_000 for _ in range(3)))

    def over(self, call: Call) -> Response:
        def take(taken: TakenOver) -> None:
            taken.hand_over()
            self.taken.append(taken)

        return Response(101, [("upgrade", "x"), ("connection", "upgrade")], takeover=take)

    def nobody(self, call: Call) -> None:
        raise HttpError(401, "nobody may")


class Service:
    """What handlers find as ``Call.service``."""

    draining = False


class Served:
    """A running web listener."""

    def __init__(
        self,
        *,
        rows: Iterable[Route] | None = None,
        hosts: Sequence[str] = (),
        origins: Sequence[str] = (),
        trusted: Sequence[str] = (),
        certificate: Any = None,
        tls: ssl.SSLContext | None = None,
        proxies: Sequence[str] | None = None,
        login_timeout: float = 10.0,
        connections: dict[str, Any] | None = None,
        **limits: Any,
    ) -> None:
        self.tls = tls
        self.rows = Rows()
        networks: Networks = [ip_network(text) for text in trusted]
        self.connections = Connections(Limits(**(connections or {})), login_timeout=login_timeout)
        self.origins = Origins(hosts, origins, "127.0.0.1")
        self.site = Site(
            Routes(self.rows.all() if rows is None else rows),
            self.origins,
            Service(),
            HttpLimits(**limits),
            networks,
        )
        self.http = HttpServer(self.site)
        self.listener = WebListener(
            ("127.0.0.1", 0),
            self.connections,
            self.http.serve,
            refused,
            proxies=None if proxies is None else [ip_network(text) for text in proxies],
            certificate=certificate,
            forwarders=networks,
        )
        self.listener.start()
        self.clients: list[Client] = []

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", int(self.listener.address[1]))

    def connect(self) -> Client:
        client = Client(self.address, self.tls)
        self.clients.append(client)
        return client

    def get(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> Answer:
        """Ask once, on a connection of its own."""
        return self.connect().get(path, *headers, method=method, body=body)

    def raw(self, data: bytes) -> Answer:
        """Send bytes on a connection of its own, and read one answer."""
        client = self.connect()
        client.send(data)
        return client.answer()

    def stop(self) -> None:
        self.listener.stop()
        self.rows.go.set()
        for client in self.clients:
            client.close()
        self.listener.handshakes.close()
        self.http.drain()
        assert self.http.wait_closed(DEADLINE)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another greenlet does; the test's deadline bounds it."""
    while not condition():
        gevent.sleep(0.001)

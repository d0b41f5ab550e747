"""A served port with a fake service behind it, and clients for it, all in one unpatched process."""

from __future__ import annotations

import json
import socket as stdlib
import ssl
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event
from gevent.queue import Queue

from greenchat.client.tls import TlsClientSocket
from greenchat.network.connection import Session
from greenchat.network.connections import Connections
from greenchat.network.limits import Limits
from greenchat.network.listener import ChatServer
from greenchat.protocol.classic.clients import ClassicClients
from greenchat.protocol.classic.wire import NUL, ClassicWire
from greenchat.protocol.lines import NEWLINE
from greenchat.protocol.opening import TcpOpening
from greenchat.protocol.wire import Wire

DEADLINE = 60.0
"""Seconds that a test may take: generous, because nothing waits for it when all is well."""


class FakeSession(Session):
    """Remember all that the network says; do with a frame what the test wants."""

    user: int | None = None

    def __init__(self, service: FakeService, peer: Any, wire: Wire) -> None:
        self.service = service
        self.peer = peer
        self.wire = wire
        self.user = service.user
        self.frames: list[bytes] = []
        self.reasons: list[str] = []
        self.ended = Event()

    @property
    def is_classic(self) -> bool:
        """True if the first frame has told that the client is a classic one."""
        return isinstance(self.wire, ClassicWire)

    def say(self, frame: bytes) -> None:
        """Send a frame, with the terminator of the client's frames."""
        self.peer.send(frame + (NUL if self.is_classic else NEWLINE))

    def receive(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.service.handler(self, frame)

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self.ended.set()


def echo(session: FakeSession, frame: bytes) -> None:
    session.say(frame)


def silent(session: FakeSession, frame: bytes) -> None:
    pass


class FakeService:
    def __init__(self, handler: Callable[[FakeSession, bytes], None], user: int | None) -> None:
        self.handler = handler
        self.user = user
        self.sessions: Queue[FakeSession] = Queue()

    def open_session(self, peer: Any, wire: Wire) -> FakeSession:
        session = FakeSession(self, peer, wire)
        self.sessions.put(session)
        return session


class Client:
    """A client that reads frames; any wait is bounded by the test's deadline.

    Attributes:
        sock: the socket.
        wire: what is written to and read from: the socket, or TLS on it.
    """

    def __init__(
        self, address: tuple[str, int], receive_buffer: int | None, tls: ssl.SSLContext | None
    ) -> None:
        family = stdlib.AF_INET6 if ":" in address[0] else stdlib.AF_INET
        self.sock = socket.socket(family)
        if receive_buffer:
            self.sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, receive_buffer)
        self.sock.connect(address)
        self.wire = TlsClientSocket(self.sock, tls, "localhost") if tls else self.sock
        self.buffer = b""

    def send(self, data: bytes) -> None:
        self.wire.sendall(data)

    def frame(self, terminator: bytes = b"\n") -> bytes:
        """Read one frame; b"" at the end of the stream."""
        while terminator not in self.buffer:
            data = self.wire.recv(65_536)
            if not data:
                return b""
            self.buffer += data
        frame, _, self.buffer = self.buffer.partition(terminator)
        return frame

    def rest(self) -> bytes:
        """Read to the end of the stream."""
        parts = [self.buffer]
        while data := self.wire.recv(1_048_576):
            parts.append(data)
        self.buffer = b""
        return b"".join(parts)

    def last_words(self) -> dict[str, Any]:
        """Read to the end of the stream and return its last frame."""
        data = self.rest()
        assert data.endswith(b"\n")
        return dict(json.loads(data.splitlines()[-1]))

    def finish(self) -> None:
        self.wire.shutdown(stdlib.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Served:
    """A running ChatServer with its fake service."""

    def __init__(
        self,
        handler: Callable[[FakeSession, bytes], None],
        user: int | None,
        host: str,
        options: dict[str, Any],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        limits = Limits(**{name: options.pop(name) for name in Limits._fields if name in options})
        self.service = FakeService(handler, user)
        opening = partial(TcpOpening, ClassicClients())
        supervision = ("heartbeat_interval", "max_missed", "login_timeout")
        supervised = {name: options.pop(name) for name in supervision if name in options}
        self.connections = Connections(limits, **supervised)
        self.server = ChatServer((host, 0), self.connections, self.service.open_session, opening, **options)
        self.server.start()
        self.connections.heartbeat.start()
        self.clients: list[Client] = []

    def connect(self, host: str = "127.0.0.1", receive_buffer: int | None = None) -> Client:
        client = Client((host, self.server.address[1]), receive_buffer, self.tls)
        self.clients.append(client)
        return client

    def pair(self, receive_buffer: int | None = None) -> tuple[Client, FakeSession]:
        """A client and the session that the server opened for it."""
        client = self.connect(receive_buffer=receive_buffer)
        return client, self.service.sessions.get()

    def stop(self) -> None:
        self.server.stop()
        self.connections.heartbeat.stop()
        for client in self.clients:
            client.close()
        self.server.handshakes.close()
        self.connections.close_all("stopped", lambda: 0.0)
        while len(self.server.handshakes):
            gevent.sleep(0)
        self.connections.wait_closed(1.0)  # so that the next test does not find their ends in its log

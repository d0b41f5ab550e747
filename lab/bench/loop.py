"""The load generator: thousands of connections in one epoll loop.

Frames that are sent in one turn of the loop go out in one ``send`` a socket.
"""

from __future__ import annotations

import gc
import select
import socket
from collections.abc import Callable
from itertools import count
from time import monotonic

from lab.bench import wire
from lab.servers.program import LabError

DEADLINE = 30.0
"""Seconds that anything may take that ends by itself."""

_CHUNK = 1 << 18
_SLOTS = 20
"""Parts of an interval over which the heartbeats are spread."""

Heard = Callable[[wire.Batch], None]


class LoadError(LabError):
    """Raised if the server broke the protocol, so that there is nothing to measure."""


class Connection:
    """A connection to a server.

    Args:
        loop: serves it.
        sock: connected, or about to be; does not block.
        heard: called with the frames that come together.
    """

    __slots__ = ("_loop", "_out", "_tail", "_waits", "heard", "silent", "sock")

    def __init__(self, loop: Loop, sock: socket.socket, heard: Heard) -> None:
        self._loop = loop
        self._out: list[bytes] = []
        self._tail = b""
        self._waits = False
        self.sock = sock
        self.heard = heard
        self.silent = True

    def send(self, data: bytes) -> None:
        """Send whole frames, at the end of the turn."""
        if not self._out:
            self._loop.dirty.append(self)
        self._out.append(data)

    def flush(self) -> None:
        """Write the queued frames; those that the socket does not take stay queued."""
        if not self._out:
            return
        data = b"".join(self._out)
        self._out.clear()
        self.silent = False
        try:
            left = data[self.sock.send(data) :]
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            left = data  # of a connection that has ended, reading tells
        if left:
            self._out.append(left)
        if bool(left) != self._waits:
            self._waits = bool(left)
            self._loop.watch(self, writing=self._waits)

    def read(self) -> None:
        """Read, and hand over the complete frames."""
        try:
            data = self.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise LoadError(f"a connection broke: {error.strerror}") from None
        if not data:
            raise LoadError("the server closed a connection")
        if self._tail:
            data = self._tail + data
        lines, self._tail = self.split(data)
        if lines:
            self.heard(self._loop.batch(lines))

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the complete lines, and what comes behind them."""
        end = data.rfind(b"\n") + 1
        return data[:end], data[end:]

    def beat(self) -> None:
        """Show life after a silent interval."""
        self.send(wire.HEARTBEAT_FRAME)
        self.flush()


class Loop:
    """The loop.

    Args:
        heartbeat: seconds of silence after which a connection sends a HEARTBEAT.
        kind: the class of its connections.
    """

    def __init__(self, heartbeat: float, kind: type[Connection] = Connection) -> None:
        self._kind = kind
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._slots: list[list[Connection]] = [[] for _ in range(_SLOTS)]
        self._slot = count()
        self._timers: list[tuple[float, float, Callable[[], None]]] = []
        self._last: tuple[bytes, wire.Batch] = (b"", wire.Batch(b""))
        self.dirty: list[Connection] = []
        self.every(heartbeat / _SLOTS, self._beat)

    def __enter__(self) -> Loop:
        gc.disable()  # its pauses would be the server's latencies
        return self

    def __exit__(self, *error: object) -> None:
        gc.enable()
        for connection in self._connections.values():
            connection.sock.close()
        self._epoll.close()

    def connect(self, address: tuple[str, int], heard: Heard) -> Connection:
        """Begin to connect; frames sent meanwhile go out when the connection is there."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect(address)
        except BlockingIOError:
            pass
        connection = self._kind(self, sock, heard)
        self._connections[sock.fileno()] = connection
        self._slots[next(self._slot) % _SLOTS].append(connection)
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return connection

    def watch(self, connection: Connection, *, writing: bool) -> None:
        """Watch for room to write, or no more."""
        events = select.EPOLLIN | (select.EPOLLOUT if writing else 0)
        self._epoll.modify(connection.sock.fileno(), events)

    def batch(self, lines: bytes) -> wire.Batch:
        """Decode; the members of a group get the same bytes one after the other, and those once."""
        if lines != self._last[0]:
            self._last = lines, wire.Batch(lines)
        return self._last[1]

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something every so many seconds from now on."""
        self._timers.append((monotonic() + seconds, seconds, call))
        self._timers.sort(key=lambda timer: timer[0])

    def turn(self, wait: float = 1.0) -> None:
        """Wait for input for at most ``wait`` seconds, and handle it."""
        self._flush()
        wait = min(wait, self._timers[0][0] - monotonic())
        # epoll_wait counts in milliseconds; select waits for the epoll descriptor itself, and finer.
        if wait > 0:
            select.select([self._epoll], [], [], wait)
        for file, events in self._epoll.poll(0):
            connection = self._connections[file]
            if events & select.EPOLLOUT:
                connection.flush()
            if events & ~select.EPOLLOUT:
                connection.read()
        self._call_timers()
        self._flush()

    def run(self, seconds: float) -> None:
        """Go on for some time."""
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0:
            self.turn(left)

    def until(self, done: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
        """Go on until something is so.

        Raises:
            LoadError: it was not in time.
        """
        end = monotonic() + seconds
        while not done():
            if monotonic() > end:
                raise LoadError(f"waited {seconds:.0f} s in vain for {what}")
            self.turn(0.1)

    def fall_silent(self) -> None:
        """Have all send heartbeats from now on, as if they had been silent for an interval."""
        for connection in self._connections.values():
            connection.silent = True

    def _flush(self) -> None:
        dirty, self.dirty = self.dirty, []
        for connection in dirty:
            connection.flush()

    def _call_timers(self) -> None:
        now = monotonic()
        while self._timers[0][0] <= now:
            _, seconds, call = self._timers.pop(0)
            call()
            self.every(seconds, call)

    def _beat(self) -> None:
        slot = self._slots.pop(0)
        self._slots.append(slot)
        for connection in slot:
            if connection.silent:
                connection.beat()
            connection.silent = True

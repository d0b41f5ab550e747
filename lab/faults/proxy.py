"""A TCP proxy with the faults of networks: delays, narrow lines, cuts, and silence.

It stands between one node and one of its backends, so that this node alone can be cut off.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import deque
from contextlib import suppress

from lab.background import Background

READ_SIZE = 65_536

HELD = 262_144
"""Bytes of one direction that a delay or a narrow line may hold; beyond, the sender is not read."""

SLICE = 0.05
"""Seconds of a narrow line that are written at a time."""

COMMIT = b"\x07\x00\x00\x00\x03COMMIT"
"""COMMIT as a client of MySQL sends it: the length, the number of the packet, the command, the text."""

DOUBTED = 0.3
"""Of the COMMITs on a doubtful line.  Half of these are carried out and their answers lost, half are lost."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST."""


class FaultProxy:
    """Carries connections from a port of its own to another port of 127.0.0.1.

    All faults but ``cut``, ``swallow`` and ``doubt`` lose nothing: TCP would bring it, late.  They hold for
    the connections that exist and for those that come, and until ``heal``.

    Args:
        aside: where it runs.
        target: the port that it leads to.

    Attributes:
        port: where it listens; kept while it refuses.
        carried: bytes that went through, both ways.
        doubted: COMMITs with a lost answer: the client cannot know whether they were carried out.
    """

    def __init__(self, aside: Background, target: int) -> None:
        self.target = target
        self.carried = 0
        self.latency = 0.0
        self.rate = 0.0
        self.swallowing = False
        self.doubtful = False
        self.doubted = 0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._aside = aside
        self._connections: set[_Connection] = set()
        # Bound but not listening: the port is ours, and connections are refused.
        self._place = _bound(0)
        self.port: int = self._place.getsockname()[1]
        self._server: asyncio.Server | None = None
        aside.run(self._listen())

    # -- The faults, for any thread

    def delay(self, seconds: float) -> None:
        """Let all that is sent arrive so much later, each way."""
        self._aside.run(self._set(latency=seconds))

    def throttle(self, rate: float) -> None:
        """Let so many bytes a second through, each way of each connection."""
        self._aside.run(self._set(rate=rate))

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._aside.run(self._cut())

    def stall(self) -> None:
        """Carry nothing and say nothing; bytes sent meanwhile arrive after ``heal``."""
        self._aside.run(self._set(stalled=True))

    def swallow(self) -> None:
        """Accept everything and carry nothing; connections that lost bytes are reset at ``heal``."""
        self._aside.run(self._set(swallowing=True))

    def doubt(self) -> None:
        """Reset connections at some of their COMMITs, before these are carried out or after, at random."""
        self._aside.run(self._set(doubtful=True))

    def heal(self) -> None:
        """Be a good line again."""
        self._aside.run(self._heal())

    def close(self) -> None:
        """End it and its connections."""
        self._aside.run(self._cut())
        self._place.close()

    @property
    def connections(self) -> int:
        """The number of connections that it carries."""
        return len(self._connections)

    # -- On the loop

    async def _set(
        self,
        latency: float = 0.0,
        rate: float = 0.0,
        stalled: bool = False,
        swallowing: bool = False,
        doubtful: bool = False,
    ) -> None:
        self.latency, self.rate, self.swallowing, self.doubtful = latency, rate, swallowing, doubtful
        if stalled:
            self.flowing.clear()
        else:
            self.flowing.set()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=_bound(self.port))

    async def _cut(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.abort()

    async def _heal(self) -> None:
        await self._set()
        for connection in self._connections:
            if connection.lossy:
                connection.abort()
        if self._server is None:
            await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.carry()
        finally:
            self._connections.discard(connection)


class _Connection:
    """Two sockets, each of which is sent the bytes of the other.

    Attributes:
        lossy: True if bytes of it were swallowed, so that it is of no use any more.
        mute: True if the next answer is lost, and the connection with it.
    """

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lossy = False
        self.mute = False
        self._proxy = proxy
        self._near = reader, writer
        self._writers = [writer]
        self._task = asyncio.current_task()

    def abort(self) -> None:
        """Reset both sides."""
        for writer in self._writers:
            _reset(writer)
        if self._task:
            self._task.cancel()

    async def carry(self) -> None:
        """Carry bytes both ways until both sides have ended, or one broke: then so does the other."""
        with suppress(OSError, asyncio.CancelledError):
            if self._proxy.swallowing:
                await self._swallow_all()
            await self._proxy.flowing.wait()
            far = await asyncio.open_connection("127.0.0.1", self._proxy.target)
            self._writers.append(far[1])
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pipe(self._near[0], far[1], True))
                both.create_task(self._pipe(far[0], self._near[1], False))
            for writer in self._writers:
                writer.close()
            return
        for writer in self._writers:
            _reset(writer)

    async def _swallow_all(self) -> None:
        """Be the end of a connection that leads nowhere, until it is reset."""
        self.lossy = True
        while await self._near[0].read(READ_SIZE):
            pass
        raise ConnectionResetError

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asks: bool) -> None:
        try:
            await _Pipe(self, self._proxy, reader, writer, asks).run()
        except OSError:
            self.abort()


class _Pipe:
    """One direction of a connection: bytes wait here until it is their time."""

    def __init__(
        self,
        connection: _Connection,
        proxy: FaultProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asks: bool,
    ) -> None:
        self._asks = asks
        self._connection = connection
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Carry until the sender ends."""
        loop = asyncio.get_running_loop()
        writing = loop.create_task(self._write(loop))
        try:
            while data := await self._reader.read(READ_SIZE):
                await self._take(data, loop.time() + self._proxy.latency)
            await self._take(b"", loop.time() + self._proxy.latency)
            await writing
        finally:
            writing.cancel()

    async def _take(self, data: bytes, due: float) -> None:
        if self._proxy.doubtful and self._loses(data):
            raise ConnectionResetError
        if self._proxy.swallowing:
            self._connection.lossy = True
            return
        self._waiting.append((due, data))
        self._held += len(data)
        self._changed.set()
        while self._held > HELD:
            self._changed.clear()
            await self._changed.wait()

    def _loses(self, data: bytes) -> bool:
        """Return True if the connection is lost with this, a COMMIT or the answer to one."""
        if not self._asks:
            return self._connection.mute
        if not data.endswith(COMMIT) or random.random() >= DOUBTED:
            return False
        self._proxy.doubted += 1
        self._connection.mute = random.random() < 0.5
        return not self._connection.mute

    async def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            while not self._waiting:
                self._changed.clear()
                await self._changed.wait()
            due, data = self._waiting.popleft()
            await asyncio.sleep(due - loop.time())
            await self._proxy.flowing.wait()
            if not data:
                self._writer.write_eof()
                return
            await self._write_slowly(data)
            self._held -= len(data)
            self._changed.set()

    async def _write_slowly(self, data: bytes) -> None:
        while data:
            rate = self._proxy.rate
            size = max(1, int(rate * SLICE)) if rate else len(data)
            part, data = data[:size], data[size:]
            self._writer.write(part)
            await self._writer.drain()
            self._proxy.carried += len(part)
            if rate:
                await asyncio.sleep(len(part) / rate)


def _bound(port: int) -> socket.socket:
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.bind(("127.0.0.1", port))
    return place


def _reset(writer: asyncio.StreamWriter) -> None:
    place = writer.get_extra_info("socket")
    with suppress(OSError):  # it is closed already
        place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()

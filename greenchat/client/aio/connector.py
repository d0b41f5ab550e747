"""The task that connects, reads, and connects again, until no login waits."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

from greenchat.client.aio.changes import Changes
from greenchat.client.aio.connection import AioConnection
from greenchat.client.core.connections import (
    CLOSE_TIMEOUT,
    CONNECT_TIMEOUT,
    Close,
    Connect,
    Read,
    keep_connected,
    unreachable,
)
from greenchat.client.core.session import ClientSession
from greenchat.errors import Disconnected

Outcome = bytes | OSError | AioConnection | Disconnected | None


class AioConnector:
    """Run a session's connections.

    Args:
        host, port: address of the server.
        tls: for connections with TLS.
        session: gets the bytes.
        changes: told when a push was queued or the session has changed.
    """

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None, session: ClientSession, changes: Changes
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._session = session
        self._changes = changes
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._current: AioConnection | None = None

    async def connect(self) -> None:
        """Connect for the first time, unless there is a connection.

        Raises:
            Disconnected: the server cannot be reached, or the session is closed.
        """
        async with self._starting:
            if self._current:
                return
            await finished(self._task)  # one reader at a time
            connection = await self._open()
            if self._session.is_closed:
                self._end(connection)
                raise Disconnected("closed")
            self._session.connected(connection)
            self._task = asyncio.create_task(self._run(connection), name="greenchat-reader")

    async def close(self) -> None:
        """Send the queued frames, then end the connection and the task."""
        connection = self._current
        try:
            if connection:
                connection.finish()
                await finished(self._task, CLOSE_TIMEOUT)
        finally:
            if connection:
                connection.abort()
        await finished(self._task)

    async def _open(self) -> AioConnection:
        connection = AioConnection(self._session.tick)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                sock = await _connected(self._host, self._port)
            await asyncio.get_running_loop().create_connection(lambda: connection, sock=sock)
            await (connection.start_tls(self._tls, self._host) if self._tls else connection.greet())
        except TimeoutError:
            connection.abort()
            raise Disconnected("timed out") from None
        except OSError as error:
            connection.abort()
            raise unreachable(error) from None
        except BaseException:
            connection.abort()
            raise
        self._current = connection
        return connection

    async def _run(self, connection: AioConnection) -> None:
        steps = keep_connected(self._session, connection)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration:
                return
            finally:
                self._changes.notify()
            outcome = await self._take(step)

    async def _take(self, step: Read[AioConnection] | Close[AioConnection] | Connect) -> Outcome:
        """Take a step; return its outcome."""
        if isinstance(step, Read):
            received: bytes | OSError = await step.connection.read()
            return received
        if isinstance(step, Close):
            self._end(step.connection)
            return None
        if await self._changes.wait_for(lambda: not self._session.is_wanted, step.delay):
            return None
        try:
            return await self._open()
        except Disconnected as error:
            return error

    def _end(self, connection: AioConnection) -> None:
        if connection is self._current:
            self._current = None
        connection.abort()


async def _connected(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to the first address of a host that accepts it.

    ``create_connection`` would join the errors of all addresses into one sentence without an errno.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    refusal: OSError = OSError("the host has no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            refusal = OSError(error.errno, os.strerror(error.errno)) if error.errno else error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise refusal


async def finished(task: asyncio.Task[None] | None, timeout: float = CONNECT_TIMEOUT + CLOSE_TIMEOUT) -> None:
    """Wait for a task to end, unless it never began or is the caller's own."""
    if task and task is not asyncio.current_task():
        await asyncio.wait([task], timeout=timeout)

"""One connection to the server on an event loop: bytes in, frames out, and a timer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable

from greenchat.client.core.connections import CONNECT_TIMEOUT, LOGIN_TIMEOUT
from greenchat.client.core.greeting import HEARTBEAT_LINE, NO_ANSWER, SILENT, Greeting, WrongProtocol
from greenchat.client.core.sender import ClientTransport
from greenchat.client.tls import CLOSED_IN_HANDSHAKE, NO_TLS_ANSWER, TlsError, tls_broke, tls_error
from greenchat.protocol.lines import NEWLINE

HELD = 1_048_576
"""Bytes of the server that may wait to be read; beyond, the socket is not read."""


class AioConnection(asyncio.Protocol, ClientTransport):
    """Carry frames until either side ends the connection.

    Args:
        tick: called when the connection was woken and when time has come.  It sends all that is due and
            returns the seconds until its next call, or None.
    """

    def __init__(self, tick: Callable[[], float | None]) -> None:
        self._tick = tick
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.Handle | None = None
        self._silence = LOGIN_TIMEOUT
        self._received: deque[bytes] = deque()
        self._size = 0
        self._is_lost = False
        self._is_finished = False
        self._error: OSError | None = None
        self._reader: asyncio.Future[None] | None = None

    # -- For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep bytes until they are read."""
        self._received.append(data)
        self._size += len(data)
        if self._size > HELD and self._transport:
            self._transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> None:
        """End the connection, as the server has."""
        self._lose(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end of the connection."""
        self._lose(error)

    # -- For the connector

    async def greet(self) -> None:
        """Exchange a heartbeat without TLS.

        Raises:
            WrongProtocol: the server does not answer, or not with a frame.
        """
        assert self._transport
        greeting = Greeting()
        self._transport.write(HEARTBEAT_LINE)
        self._silence = CONNECT_TIMEOUT
        while True:
            answer = await self.read()
            if isinstance(answer, TimeoutError):
                raise WrongProtocol(SILENT)
            if isinstance(answer, OSError):  # OpenSSL resets a connection that does not begin with TLS
                raise WrongProtocol(NO_ANSWER)
            if greeting.feed(answer):
                break
        self._silence = LOGIN_TIMEOUT
        self._received.appendleft(greeting.received)
        self._size += len(greeting.received)

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Begin TLS.

        Raises:
            UntrustedCertificate: the certificate does not prove the name of the host.
            TlsError: the handshake failed for another reason.
        """
        assert self._transport
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                upgraded = await self._loop.start_tls(self._transport, self, context, server_hostname=host)
        except ssl.SSLError as error:
            raise tls_error(error) from None
        except TimeoutError:
            raise TlsError(NO_TLS_ANSWER) from None
        except ConnectionError as error:
            raise (error if error.errno else TlsError(CLOSED_IN_HANDSHAKE)) from None
        if upgraded is None:  # the server was gone before the handshake began
            raise TlsError(CLOSED_IN_HANDSHAKE)
        self._transport = upgraded

    async def read(self) -> bytes | OSError:
        """Wait for bytes of the server; return none at the end, and the error if the connection broke.

        TimeoutError says that the server was silent for longer than the read timeout.
        """
        if not (self._received or self._is_lost):
            self._reader = self._loop.create_future()
            try:
                async with asyncio.timeout(self._silence):
                    await self._reader
            except TimeoutError as error:
                return error
            finally:
                self._reader = None
        if not self._received:
            return self._error or b""
        data = self._received.popleft()
        if self._size > HELD and self._size - len(data) <= HELD and self._transport:
            self._transport.resume_reading()
        self._size -= len(data)
        return data

    def finish(self) -> None:
        """Send the queued frames, then end this side of the connection; the server ends the other."""
        self._is_finished = True
        if self._transport and not self._transport.is_closing():
            if self._transport.can_write_eof():
                with contextlib.suppress(OSError):  # the server was faster
                    self._transport.write_eof()
            else:
                self._transport.close()

    # -- For the session

    def send(self, frame: bytes) -> None:
        """Send a frame, without its newline."""
        if self._transport and not (self._is_finished or self._transport.is_closing()):
            self._transport.write(frame + NEWLINE)

    def wake(self) -> None:
        """Call ``tick`` soon."""
        self._arm(0.0)

    def set_read_timeout(self, seconds: float) -> None:
        """Set the longest silence of the server, from the next read on."""
        self._silence = seconds

    def abort(self) -> None:
        """Drop the queued frames and end the connection; ``read`` returns soon."""
        self._lose(None)
        if self._transport:
            self._transport.abort()

    # -- Within

    def _lose(self, error: Exception | None) -> None:
        if isinstance(error, ssl.SSLError):
            error = tls_broke(error)
        if not self._is_lost and isinstance(error, OSError):
            self._error = error
        self._is_lost = self._is_finished = True
        if self._timer:
            self._timer.cancel()
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._reader and not self._reader.done():
            self._reader.set_result(None)

    def _arm(self, delay: float) -> None:
        if self._timer:
            self._timer.cancel()
        if not self._is_finished:
            self._timer = self._loop.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        delay = self._tick()
        if delay is not None:
            self._arm(delay)

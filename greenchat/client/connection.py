"""One connection to the server: bytes in, and frames out by a thread that also keeps time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from greenchat.client.core.connections import READ_SIZE
from greenchat.client.core.sender import ClientTransport
from greenchat.client.dial import Socket
from greenchat.protocol.lines import NEWLINE


class ClientConnection(ClientTransport):
    """Carry frames until either side ends the connection.

    One thread calls ``read``, and ``close`` at the end.  Any thread may call the others.

    Args:
        sock: connected; its timeout is the longest silence of the server.
        tick: called by the writer's thread when it was woken and when time has come.  It sends all that is
            due and returns the seconds until its next call, or None.
    """

    def __init__(self, sock: Socket, tick: Callable[[], float | None]) -> None:
        self._socket = sock
        self._tick = tick
        self._changed = threading.Condition()
        self._is_woken = False
        self._is_ended = False
        self._error: OSError | None = None
        self._outbox: list[bytes] = []
        self._writer = threading.Thread(target=self._write, name="greenchat-writer", daemon=True)
        self._writer.start()

    def read(self) -> bytes | OSError:
        """Wait for bytes of the server; return none at the end, and the error if the connection broke.

        TimeoutError says that the server was silent for longer than the read timeout.
        """
        try:
            data = self._socket.recv(READ_SIZE)
        except OSError as error:
            return error
        return data or self._error or data

    def set_read_timeout(self, seconds: float) -> None:
        """Set the longest silence of the server, from the next read on."""
        self._socket.settimeout(seconds)

    def send(self, frame: bytes) -> None:
        """Queue a frame, without its newline."""
        with self._changed:
            self._outbox += (frame, NEWLINE)
            self._wake()

    def wake(self) -> None:
        """Call ``tick`` soon."""
        with self._changed:
            self._wake()

    def finish(self) -> None:
        """Send the queued frames, then end this side of the connection; the server ends the other."""
        with self._changed:
            self._is_ended = True
            self._wake()

    def abort(self) -> None:
        """Drop the queued frames and end the connection; ``read`` returns soon."""
        with self._changed:
            self._outbox.clear()
            self._is_ended = True
            self._wake()
        with contextlib.suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection, its writer and its socket; for the thread that calls ``read``."""
        self.abort()
        self._writer.join()
        self._socket.close()

    def _wake(self) -> None:
        self._is_woken = True
        self._changed.notify()

    def _write(self) -> None:
        try:
            while data := self._gather():
                self._socket.sendall(data)
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            # The system reports a reset once, to either thread; the reader is the one that tells it.
            self._error = error
            self.abort()

    def _gather(self) -> bytes:
        """Wait for frames and return them; return nothing once this side has ended."""
        while True:
            # Outside of the lock: tick takes the session's lock, under which others call send.
            delay = self._tick()
            with self._changed:
                if not (self._is_woken or self._is_ended):
                    self._changed.wait(delay)
                self._is_woken = False
                data = b"".join(self._outbox)
                self._outbox.clear()
                if data or self._is_ended:
                    return data

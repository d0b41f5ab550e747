"""One connection to the server: frames in by iteration, frames out by a thread that also keeps time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import simplejson

from greenchat.client.core.pushes import Frame
from greenchat.client.core.sender import ClientTransport
from greenchat.client.dial import Socket
from greenchat.client.tls import READ_SIZE
from greenchat.protocol.lines import MAX_SERVER_FRAME, NEWLINE, Lines


class ClientConnection(ClientTransport):
    """Carry frames until either side ends the connection.

    One thread iterates over ``frames`` and calls ``close`` at the end.  Any thread may call the others.

    Args:
        sock: connected; its timeout is the longest silence of the server.
        tick: called by the writer's thread when it was woken and when time has come.  It sends all that is
            due and returns the seconds until its next call, or None.
    """

    def __init__(self, sock: Socket, tick: Callable[[], float | None]) -> None:
        self._socket = sock
        self._decoder = Lines(MAX_SERVER_FRAME)
        self._tick = tick
        self._changed = threading.Condition()
        self._is_woken = False
        self._is_ended = False
        self._error: OSError | None = None
        self._outbox: list[bytes] = []
        self._writer = threading.Thread(target=self._write, name="greenchat-writer", daemon=True)
        self._writer.start()

    def frames(self) -> Iterator[Frame]:
        """Yield the server's frames until it ends the connection.

        Raises:
            TimeoutError: the server was silent for longer than the read timeout.
            OSError: the connection broke.
            FrameTooLarge, ValueError, RecursionError: the server sent an invalid frame.
        """
        while data := self._socket.recv(READ_SIZE):
            for frame in self._decoder.feed(data):
                decoded = simplejson.loads(frame)
                if not isinstance(decoded, dict):
                    raise ValueError("a frame is no JSON object")
                yield decoded
        if self._error:
            raise self._error

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
        """Drop the queued frames and end the connection; ``frames`` ends soon."""
        with self._changed:
            self._outbox.clear()
            self._is_ended = True
            self._wake()
        with contextlib.suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection, its writer and its socket; for the thread that has read ``frames``."""
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
            # The system reports a reset once, to either thread; the reader is the one that raises it.
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

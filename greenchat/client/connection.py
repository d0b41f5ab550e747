"""One TCP connection to the server: frames in by iteration, frames out by a writer that also keeps time."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import simplejson

from greenchat.client.pushes import Frame
from greenchat.client.tls import READ_SIZE, Socket
from greenchat.protocol.lines import MAX_SERVER_FRAME, NEWLINE, FrameDecoder


class Link:
    """Carry frames until either side ends the connection.

    One thread, the reader, iterates over ``frames`` and calls ``close`` at the end.  Any thread may
    call the other methods.

    Args:
        sock: connected; its timeout is the patience of ``frames``.
        tick: called by the writer whenever it was woken or time has come; it does what is due
            and returns the seconds until it is to be called again, or None.
    """

    def __init__(self, sock: Socket, tick: Callable[[], float | None]) -> None:
        self._socket = sock
        self._decoder = FrameDecoder(MAX_SERVER_FRAME)
        self._tick = tick
        self._woken = threading.Condition()
        self._wanted = False
        self._ended = False
        self._error: OSError | None = None
        self._outbox: list[bytes] = []
        self._writer = threading.Thread(target=self._write, name="greenchat-writer", daemon=True)
        self._writer.start()

    def frames(self) -> Iterator[Frame]:
        """Yield the objects that the server sends, until it ends the connection.

        Raises:
            TimeoutError: nothing came for the time set by ``patience``.
            OSError: the connection broke.
            FrameTooLarge, ValueError, RecursionError: the server sent what is no frame.
        """
        while data := self._socket.recv(READ_SIZE):
            for frame in self._decoder.feed(data):
                decoded = simplejson.loads(frame)
                if not isinstance(decoded, dict):
                    raise ValueError("a frame is no JSON object")
                yield decoded
        if self._error:
            raise self._error

    def patience(self, seconds: float) -> None:
        """Set how long the server may be silent, from the next read on."""
        self._socket.settimeout(seconds)

    def send(self, frame: bytes) -> None:
        """Queue a frame; never waits, never raises."""
        with self._woken:
            self._outbox += (frame, NEWLINE)
            self._wake()

    def wake(self) -> None:
        """Have ``tick`` called soon, because something may be due earlier than it said."""
        with self._woken:
            self._wake()

    def finish(self) -> None:
        """Send what is queued, then say that there is no more; the server ends the connection."""
        with self._woken:
            self._ended = True
            self._wake()

    def abort(self) -> None:
        """End the connection at once; the reader sees its end."""
        with self._woken:
            self._outbox.clear()
            self._ended = True
            self._wake()
        with contextlib.suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of socket and writer; for the reader, when ``frames`` has ended."""
        self.abort()
        self._writer.join()
        self._socket.close()

    def _wake(self) -> None:
        self._wanted = True
        self._woken.notify()

    def _write(self) -> None:
        try:
            while data := self._gather():
                self._socket.sendall(data)
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._error = error  # a reset is told once, to the reader or to us: the reader says why
            self.abort()

    def _gather(self) -> bytes:
        """Wait for something to send; empty when there is no more to come."""
        while True:
            delay = self._tick()
            with self._woken:
                if not (self._wanted or self._ended):
                    self._woken.wait(delay)
                self._wanted = False
                data = b"".join(self._outbox)
                self._outbox.clear()
                if data or self._ended:
                    return data

"""A web client's bytes, read and written by one greenlet, with a deadline for every wait."""

from __future__ import annotations

import socket
from time import monotonic
from typing import Any, Protocol

import gevent

CHUNK = 16_384
"""Bytes read at a time."""

READABLE, WRITABLE = 1, 2
"""libev's io events."""

PATIENCE = 10.0
"""Seconds that a client has for whatever it must send or take, before its bytes count."""

SLOWEST = 1_024
"""Bytes a second beyond that: with a body of 1 MiB a client may take its time, and one that sends a byte now
and then may not."""

LINGER = 2.0
"""Seconds in which a client may read the last answer while what it still sends is thrown away.  Closing with
unread input makes the kernel send RST, and the client never sees the answer (RFC 9112, 9.6)."""

LINGER_BYTES = 262_144
"""Bytes that are thrown away in that time, at most."""


class Socket(Protocol):
    """The part of a non-blocking socket that a stream uses; TLS implements it too.

    ``send`` MUST be called again with the bytes that it did not take, and nothing else.
    """

    __slots__ = ()

    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes | memoryview, /) -> int: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...
    def fileno(self) -> int: ...


class TimeUp(Exception):
    """Raised if a client did not send, or take, what it had to in time."""


class Gone(Exception):
    """Raised if a client has ended the connection, or it is broken."""


class Stopped(Exception):
    """Raised if the server ends a wait for the client."""


class Stream:
    """Read and write a socket from one greenlet.

    Args:
        sock: connected and non-blocking.

    Attributes:
        sock: as given.
    """

    __slots__ = ("_hub", "_loop", "_stopped", "_waiting", "sock")

    def __init__(self, sock: Socket) -> None:
        self.sock = sock
        self._hub = gevent.get_hub()
        self._loop = self._hub.loop
        self._waiting: Any = None  # the greenlet, while ``read`` may be interrupted
        self._stopped = False

    def read(self, deadline: float, interruptible: bool = False) -> bytes:
        """Return the next bytes.  May switch.

        Args:
            deadline: on the monotonic clock.
            interruptible: ``stop`` ends the wait.

        Raises:
            TimeUp: there were none until then.
            Gone: there will be none.
            Stopped
        """
        while True:
            try:
                data = self.sock.recv(CHUNK)
            except BlockingIOError:
                if interruptible and self._stopped:
                    raise Stopped from None
                self._wait(READABLE, deadline, interruptible)
                continue
            except OSError:
                raise Gone from None
            if not data:
                raise Gone
            return data

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes; a client that takes them too slowly is given up.  May switch.

        Raises:
            TimeUp, Gone
        """
        view = memoryview(data)
        deadline = monotonic() + PATIENCE
        while view:
            try:
                sent = self.sock.send(view)
            except BlockingIOError:
                self._wait(WRITABLE, deadline, False)
            except OSError:
                raise Gone from None
            else:
                view = view[sent:]
                deadline += sent / SLOWEST

    def stop(self) -> None:
        """End the wait of an interruptible ``read``, now or as soon as there is one."""
        self._stopped = True
        self._loop.run_callback(self._interrupt)

    def _interrupt(self) -> None:
        # Nothing else has woken the greenlet meanwhile: it may be waiting elsewhere by now.
        if self._waiting is not None:
            self._waiting.switch(STOP)

    def close(self, linger: bool) -> None:
        """End our half and close the socket; the client may be waited for.  May switch.

        Args:
            linger: the client may still be sending: what it sends is read, and thrown away.
        """
        try:
            self.sock.shutdown(socket.SHUT_WR)
            if linger:
                self._discard()
        except OSError:
            pass
        finally:
            self.sock.close()

    def _discard(self) -> None:
        deadline, left = monotonic() + LINGER, LINGER_BYTES
        try:
            while left > 0:
                left -= len(self.read(deadline))
        except (TimeUp, Gone):
            pass

    def _wait(self, event: int, deadline: float, interruptible: bool) -> None:
        """Wait for the socket, or until the deadline."""
        seconds = deadline - monotonic()
        if seconds <= 0:
            raise TimeUp
        me = gevent.getcurrent()
        watcher, timer = self._loop.io(self.sock.fileno(), event), self._loop.timer(seconds)
        if interruptible:
            self._waiting = me
        try:
            watcher.start(me.switch, READY)
            timer.start(me.switch, LATE)
            why = self._hub.switch()
        finally:
            self._waiting = None
            watcher.close()
            timer.close()
        if why is LATE:
            raise TimeUp
        if why is STOP:
            raise Stopped


READY, LATE, STOP = object(), object(), object()
"""Causes that end a wait."""

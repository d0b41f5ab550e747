"""The thread that connects, reads, and connects again, until no login waits."""

from __future__ import annotations

import threading
from collections.abc import Callable

from greenchat.client.connection import ClientConnection
from greenchat.client.core.connections import (
    CLOSE_TIMEOUT,
    CONNECT_TIMEOUT,
    LOGIN_TIMEOUT,
    Close,
    Connect,
    Read,
    keep_connected,
    unreachable,
)
from greenchat.client.core.session import ClientSession
from greenchat.client.dial import Socket
from greenchat.errors import Disconnected

Outcome = bytes | OSError | ClientConnection | Disconnected | None


class Connector:
    """Run a session's connections.

    Args:
        dial: connects within so many seconds, or raises OSError.
        session: gets the bytes.
        changed: lock of the session; notified when a push was queued or the session has changed.
    """

    def __init__(
        self, dial: Callable[[float], Socket], session: ClientSession, changed: threading.Condition
    ) -> None:
        self._dial = dial
        self._session = session
        self._changed = changed
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._current: ClientConnection | None = None

    def connect(self) -> None:
        """Connect for the first time, unless there is a connection.

        Raises:
            Disconnected: the server cannot be reached, or the session is closed.
        """
        with self._starting:
            if self._current:
                return
            join(self._thread)  # one reader at a time
            connection = self._open()
            with self._changed:
                is_closed = self._session.is_closed
                if not is_closed:
                    self._session.connected(connection)
            if is_closed:
                self._end(connection)
                raise Disconnected("closed")
            self._thread = threading.Thread(
                target=self._run, args=(connection,), name="greenchat-reader", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Send the queued frames, then end the connection and the thread."""
        connection = self._current
        if connection:
            connection.finish()
            join(self._thread, CLOSE_TIMEOUT)
            connection.abort()
        join(self._thread)

    def _open(self) -> ClientConnection:
        try:
            connection = ClientConnection(self._dial(CONNECT_TIMEOUT), self._tick)
        except OSError as error:
            raise unreachable(error) from None
        connection.set_read_timeout(LOGIN_TIMEOUT)
        self._current = connection
        return connection

    def _tick(self) -> float | None:
        with self._changed:
            return self._session.tick()

    def _run(self, connection: ClientConnection) -> None:
        steps = keep_connected(self._session, connection)
        outcome: Outcome = None
        while True:
            with self._changed:
                try:
                    step = steps.send(outcome)
                except StopIteration:
                    return
                finally:
                    self._changed.notify_all()
            outcome = self._take(step)

    def _take(self, step: Read[ClientConnection] | Close[ClientConnection] | Connect) -> Outcome:
        """Take a step; return its outcome."""
        if isinstance(step, Read):
            received: bytes | OSError = step.connection.read()
            return received
        if isinstance(step, Close):
            self._end(step.connection)
            return None
        with self._changed:
            if self._changed.wait_for(lambda: not self._session.is_wanted, step.delay):
                return None
        try:
            return self._open()
        except Disconnected as error:
            return error

    def _end(self, connection: ClientConnection) -> None:
        if connection is self._current:
            self._current = None
        connection.close()


def join(thread: threading.Thread | None, timeout: float = CONNECT_TIMEOUT + CLOSE_TIMEOUT) -> None:
    """Wait for a thread to end, unless it never began or is the caller's own."""
    if thread and thread.is_alive() and thread is not threading.current_thread():
        thread.join(timeout)

"""The thread that connects, reads, and connects again, until no login waits."""

from __future__ import annotations

import threading
from collections.abc import Callable

from greenchat.client.connection import ClientConnection
from greenchat.client.core.session import RENEWAL, ClientSession
from greenchat.client.dial import Socket
from greenchat.errors import Disconnected, GreenchatError

CONNECT_TIMEOUT = 5.0
"""Seconds that connecting may take."""

CLOSE_TIMEOUT = 1.0
"""Seconds that the server has to end a connection after this side has."""

LOGIN_TIMEOUT = 30.0
"""Longest silence before a login, in seconds.  The server closes a connection without a login after 10 s."""


class Connector:
    """Run a session's connections.

    Args:
        dial: connects within so many seconds, or raises OSError.
        session: gets the frames.
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
        self._retired: ClientConnection | None = None  # left for a renewal, and still open

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
                self._current = None
                connection.close()
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
            raise Disconnected(_reason(error)) from None
        connection.set_read_timeout(LOGIN_TIMEOUT)
        self._current = connection
        return connection

    def _tick(self) -> float | None:
        with self._changed:
            return self._session.tick()

    def _run(self, connection: ClientConnection | None) -> None:
        while connection:
            reason = self._read(connection)
            self._current = None
            self._close_retired()
            if reason == RENEWAL:
                self._retired = connection
            else:
                connection.close()
            with self._changed:
                delay = self._session.disconnected(reason)
                self._changed.notify_all()
            connection = self._reconnect(delay)
        self._close_retired()

    def _read(self, connection: ClientConnection) -> str:
        """Read until the connection ends or is to be left; return the reason."""
        try:
            for frame in connection.frames():
                with self._changed:
                    reason = self._session.receive(frame)
                    is_online = self._session.is_online
                    self._changed.notify_all()
                if reason:
                    return reason
                if self._retired and is_online:
                    self._close_retired()  # the server has put the new connection in its place
        except TimeoutError:
            return "the server gave no sign of life"
        except OSError as error:
            return _reason(error)
        except (GreenchatError, ValueError, RecursionError):
            return "the server sent a frame that is not valid"
        return "the server closed the connection"

    def _reconnect(self, delay: float | None) -> ClientConnection | None:
        """Wait and connect until it succeeds; return None if no login waits any more."""
        while delay is not None:
            with self._changed:
                if self._changed.wait_for(lambda: not self._session.is_wanted, delay):
                    return None
            try:
                connection = self._open()
            except Disconnected as error:
                with self._changed:
                    delay = self._session.connect_failed(error.reason)
                    self._changed.notify_all()
                self._close_retired()
                continue
            with self._changed:
                is_wanted = self._session.is_wanted
                if is_wanted:
                    self._session.connected(connection)
            if is_wanted:
                return connection
            self._current = None
            connection.close()
            return None
        return None

    def _close_retired(self) -> None:
        retired, self._retired = self._retired, None
        if retired:
            retired.close()


def join(thread: threading.Thread | None, timeout: float = CONNECT_TIMEOUT + CLOSE_TIMEOUT) -> None:
    """Wait for a thread to end, unless it never began or is the caller's own."""
    if thread and thread.is_alive() and thread is not threading.current_thread():
        thread.join(timeout)


def _reason(error: OSError) -> str:
    return (error.strerror or "").lower() or str(error) or type(error).__name__

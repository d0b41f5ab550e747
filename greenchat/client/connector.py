"""The one thread that reads: connection after connection, until there is nothing to come back for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from greenchat.client.connection import Link
from greenchat.client.pushes import Frame
from greenchat.client.tls import Socket
from greenchat.errors import Disconnected, GreenchatError

CONNECT_TIMEOUT = 5.0
"""Seconds that connecting may take."""

FAREWELL = 1.0
"""Seconds that the server has to end a connection that we have finished."""

RENEWAL = "the token is renewed"
"""Why a connection is left that is kept open until the next one is logged in: friends notice nothing."""

UNGREETED = 30.0
"""Seconds of silence before a login.  The server itself closes who has not logged in after 10 s."""


class Owner(Protocol):
    """The reader's client.  Its methods take its lock by themselves."""

    @property
    def online(self) -> bool:
        """True if there is a connection that is logged in."""

    def tick(self) -> float | None:
        """Do what is due by the clock (see ``Link``)."""

    def adopt(self, link: Link, again: bool) -> bool:
        """Use this connection, which may be one ``again``; False if it is not wanted any more."""

    def handle(self, frame: Frame) -> str | None:
        """Take a frame in; return why the connection is to be ended, or None to read on."""

    def broken(self, reason: str) -> float | None:
        """Note that the connection ended; return the seconds until the next attempt, None for none."""

    def unreachable(self, reason: str) -> float | None:
        """Note that an attempt failed; return as ``broken``."""

    def rest(self, delay: float) -> bool:
        """Wait so many seconds; True, at once, if there is nothing to come back for any more."""


class Reader:
    """Connect, read, and connect again, for an owner.

    Args:
        dial: connects to the server within so many seconds, or raises OSError.
        owner: who gets the frames.
    """

    def __init__(self, dial: Callable[[float], Socket], owner: Owner) -> None:
        self._dial = dial
        self._owner = owner
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._link: Link | None = None
        self._left: Link | None = None  # for a renewal, and still open

    def connect(self) -> None:
        """Connect for the first time, unless there is a connection.

        Raises:
            Disconnected: the server cannot be reached.
        """
        with self._starting:
            if self._link:
                return
            join(self._thread)  # there is one reader at any time
            link = self._open()
            if not self._owner.adopt(link, again=False):
                self._link = None
                link.close()
                raise Disconnected("closed")
            self._thread = threading.Thread(
                target=self._serve, args=(link,), name="greenchat-reader", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Send what is queued, end the connection and the thread."""
        link = self._link
        if link:
            link.finish()
            join(self._thread, FAREWELL)
            link.abort()
        join(self._thread)

    def _open(self) -> Link:
        try:
            link = Link(self._dial(CONNECT_TIMEOUT), self._owner.tick)
        except OSError as error:
            raise Disconnected(_word(error)) from None
        link.patience(UNGREETED)
        self._link = link
        return link

    def _serve(self, link: Link | None) -> None:
        while link:
            reason = self._read(link)
            self._link = None
            self._let_go()
            if reason == RENEWAL:
                self._left = link
            else:
                link.close()
            delay, link = self._owner.broken(reason), None
            while delay is not None and link is None:
                link, delay = self._come_back(delay)
                if link is None:
                    self._let_go()
        self._let_go()

    def _let_go(self) -> None:
        """Close the connection that was left for a renewal, if there is one."""
        left, self._left = self._left, None
        if left:
            left.close()

    def _read(self, link: Link) -> str:
        """Read until the connection ends, and return why it did."""
        try:
            for frame in link.frames():
                if end := self._owner.handle(frame):
                    return end
                if self._left and self._owner.online:
                    self._let_go()  # the server has put the new one in its place
        except TimeoutError:
            return "the server gave no sign of life"
        except OSError as error:
            return _word(error)
        except (GreenchatError, ValueError, RecursionError):
            return "the server sent a frame that is not valid"
        return "the server closed the connection"

    def _come_back(self, delay: float) -> tuple[Link | None, float | None]:
        """Wait and connect; return the connection, or when to try next, or neither when it is over."""
        if self._owner.rest(delay):
            return None, None
        try:
            link = self._open()
        except Disconnected as error:
            return None, self._owner.unreachable(error.reason)
        if self._owner.adopt(link, again=True):
            return link, None
        self._link = None
        link.close()
        return None, None


def join(thread: threading.Thread | None, timeout: float = CONNECT_TIMEOUT + FAREWELL) -> None:
    """Wait for a thread to end; not for one that never began, nor for the caller's own."""
    if thread and thread.is_alive() and thread is not threading.current_thread():
        thread.join(timeout)


def _word(error: OSError) -> str:
    return (error.strerror or "").lower() or str(error) or type(error).__name__

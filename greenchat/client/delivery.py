"""Handing pushes to the application, in order, by iteration or by callback."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from greenchat.client.inbox import Inbox
from greenchat.client.pushes import Entry, Event, Push
from greenchat.client.reader import join

log = logging.getLogger(__name__)


class Delivery:
    """The queue between the reader and the application.

    Args:
        lock: of the Line; ``put``, ``drop`` and ``empty`` are called under it.
        on_push: called with each push, one at a time, on a thread of its own; None for ``next``.
        on_handed: called under the lock after a push was handed over; its argument tells whether
            there is something new to be acknowledged.
    """

    def __init__(
        self, lock: threading.RLock, on_push: Callable[[Push], None] | None, on_handed: Callable[[bool], None]
    ) -> None:
        self._lock = lock
        self._on_handed = on_handed
        self._arrived = threading.Condition(lock)
        self._queue: deque[tuple[Inbox | None, Push]] = deque()
        self._closed = False
        self._thread: threading.Thread | None = None
        if on_push:
            self._thread = threading.Thread(
                target=self._dispatch, args=(on_push,), name="greenchat-dispatcher", daemon=True
            )
            self._thread.start()

    @property
    def empty(self) -> bool:
        """Whether all was handed over."""
        return not self._queue

    def put(self, push: Push, inbox: Inbox | None = None) -> None:
        """Queue a push; ``inbox`` is where it counts as handed over."""
        if not self._closed:
            self._queue.append((inbox, push))
            self._arrived.notify()

    def next(self, timeout: float | None) -> Push | None:
        """Wait for the next push; None after ``timeout`` seconds without one, or when closed."""
        inbox, push = self._take(timeout)
        self._handed(inbox, push)
        return push

    def drop(self) -> None:
        """Forget what belongs to a login that ended: the server offers it again at the next."""
        self._queue = deque((inbox, push) for inbox, push in self._queue if isinstance(push, Event))

    def close(self) -> None:
        """Hand over no more, and wait for a callback that is running."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            self._arrived.notify_all()
        join(self._thread)

    def _take(self, timeout: float | None) -> tuple[Inbox | None, Push | None]:
        """Wait for a push that is news; our own messages that come back are passed over."""
        with self._lock:
            while self._arrived.wait_for(lambda: self._queue or self._closed, timeout) and self._queue:
                inbox, push = self._queue.popleft()
                if not (inbox and isinstance(push, Entry) and inbox.is_own(push)):
                    return inbox, push
                self._handed(inbox, push)
        return None, None

    def _handed(self, inbox: Inbox | None, push: Push | None) -> None:
        with self._lock:
            due = bool(inbox and push and inbox.handed(push, time.monotonic()))
            self._on_handed(due)

    def _dispatch(self, on_push: Callable[[Push], None]) -> None:
        while (taken := self._take(None))[1] is not None:
            inbox, push = taken
            try:
                on_push(push)  # type: ignore[arg-type]
            except Exception:  # the application's bug harms nobody else
                log.exception("on_push failed")
            self._handed(inbox, push)

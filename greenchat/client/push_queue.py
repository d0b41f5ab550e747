"""Handing pushes to the application, in order, by iteration or by callback.

A push is *done* when the callback has returned, or when the thread that took it asks for the next one; only
then is it acknowledged to the server.  So a program that dies in between is offered it again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from greenchat.client.connector import join
from greenchat.client.inbox import Inbox
from greenchat.client.pushes import Entry, Event, Push

log = logging.getLogger(__name__)


class Item(NamedTuple):
    """A push in the queue, and the inbox where it counts; None for what no server has sent."""

    inbox: Inbox | None
    push: Push


class _Hand(threading.local):
    """The push that a thread has taken and is not done with.

    An attribute of the thread, and not keyed by its id, which the system gives to the next thread when one
    has died: what that one had in hand must not count as done.
    """

    item: Item | None = None


class Delivery:
    """The queue between the reader and the application.

    Args:
        lock: of the Line; ``put``, ``drop`` and ``empty`` are called under it.
        on_push: called with each push, one at a time, on a thread of its own; None for ``next``.
        on_change: called under the lock after a push was taken or is done; its argument tells
            whether there is something new to be acknowledged.
    """

    def __init__(
        self, lock: threading.RLock, on_push: Callable[[Push], None] | None, on_change: Callable[[bool], None]
    ) -> None:
        self._lock = lock
        self._on_change = on_change
        self._arrived = threading.Condition(lock)
        self._queue: deque[Item] = deque()
        self._hand = _Hand()
        self._closed = False
        self._thread: threading.Thread | None = None
        if on_push:
            self._thread = threading.Thread(
                target=self._dispatch, args=(on_push,), name="greenchat-dispatcher", daemon=True
            )
            self._thread.start()

    @property
    def empty(self) -> bool:
        """True if all was handed over."""
        return not self._queue

    def put(self, push: Push, inbox: Inbox | None = None) -> None:
        """Queue a push; ``inbox`` is where it counts as done."""
        if not self._closed:
            self._queue.append(Item(inbox, push))
            self._arrived.notify()

    def next(self, timeout: float | None) -> Push | None:
        """Be done with the push that this thread took last, and wait for the next one.

        Returns:
            The push; None after ``timeout`` seconds without one, or when closed.
        """
        self.acknowledge()
        self._hand.item = self._take(timeout)
        return self._hand.item.push if self._hand.item else None

    def acknowledge(self) -> None:
        """Be done with the push that this thread took last, if any."""
        item, self._hand.item = self._hand.item, None
        if item:
            self._done(item)

    def drop(self) -> None:
        """Forget what belongs to a login that ended: the server offers it again at the next."""
        for inbox, push in self._queue:
            if inbox:
                inbox.lapse(push)
        self._queue = deque(item for item in self._queue if isinstance(item.push, Event))

    def close(self) -> None:
        """Hand over no more, and wait for a callback that is running."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            self._arrived.notify_all()
        join(self._thread)

    def _take(self, timeout: float | None) -> Item | None:
        """Wait for a push that is news; our own messages that come back are passed over."""
        with self._lock:
            while self._arrived.wait_for(lambda: self._queue or self._closed, timeout) and self._queue:
                item = self._queue.popleft()
                if not (item.inbox and isinstance(item.push, Entry) and item.inbox.is_own(item.push)):
                    self._on_change(False)
                    return item
                self._done(item)
        return None

    def _done(self, item: Item) -> None:
        with self._lock:
            self._on_change(bool(item.inbox and item.inbox.done(item.push, time.monotonic())))

    def _dispatch(self, on_push: Callable[[Push], None]) -> None:
        while item := self._take(None):
            try:
                on_push(item.push)
            except Exception:  # the application's bug harms no other push
                log.exception("on_push failed; a message is offered to it again at the next login")
                with self._lock:
                    if item.inbox:
                        item.inbox.lapse(item.push)
            else:
                self._done(item)

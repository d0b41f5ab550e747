"""Delivery of pushes to the application, in order, by iteration or by callback.

A push is *handled* when the callback has returned, or when the thread that took it asks for the next one.
Only then is it acknowledged: a program that dies before is offered it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from greenchat.client.connector import join
from greenchat.client.core.pushes import Push
from greenchat.client.core.receiver import QueuedPush, Receiver

log = logging.getLogger(__name__)


class _Taken(threading.local):
    """The push that a thread has taken and not handled.

    A thread-local attribute, not a dictionary by thread id: the system gives the id of a dead thread to a
    new one, which must not acknowledge the dead one's push.
    """

    item: QueuedPush | None = None


class PushQueue:
    """Hand out the receiver's pushes.

    Args:
        receiver: holds the pushes.
        changed: lock of the receiver; notified when a push was queued, or by ``close``.
        on_push: called with each push, one at a time, on a thread of its own; None for ``next``.
    """

    def __init__(
        self, receiver: Receiver, changed: threading.Condition, on_push: Callable[[Push], None] | None
    ) -> None:
        self._receiver = receiver
        self._changed = changed
        self._taken = _Taken()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        if on_push:
            self._thread = threading.Thread(
                target=self._dispatch, args=(on_push,), name="greenchat-dispatcher", daemon=True
            )
            self._thread.start()

    def next(self, timeout: float | None) -> Push | None:
        """Acknowledge the push that this thread took last, and wait for the next one.

        Returns:
            The push; None after ``timeout`` seconds without one, or once closed.
        """
        self.acknowledge()
        self._taken.item = self._take(timeout)
        return self._taken.item.push if self._taken.item else None

    def acknowledge(self) -> None:
        """Acknowledge the push that this thread took last, if any."""
        item, self._taken.item = self._taken.item, None
        if item:
            with self._changed:
                self._receiver.acknowledge(item)

    def close(self) -> None:
        """Hand out no more pushes, and wait for a callback that is running."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        join(self._thread)

    def _take(self, timeout: float | None) -> QueuedPush | None:
        with self._changed:
            while self._changed.wait_for(lambda: self._receiver.queue or self._is_closed, timeout):
                if self._is_closed:
                    return None
                if item := self._receiver.take():  # nothing if all were this client's own messages
                    return item
        return None

    def _dispatch(self, on_push: Callable[[Push], None]) -> None:
        while item := self._take(None):
            try:
                on_push(item.push)
            except Exception:  # a bug of the application must not stop the pushes after it
                log.exception("on_push failed; a message is offered to it again at the next login")
                with self._changed:
                    self._receiver.reject(item)
            else:
                with self._changed:
                    self._receiver.acknowledge(item)

"""Delivery of pushes to the application, in order, by iteration or by callback.

A push is *handled* when the callback has returned, or when the task or the iterator that took it asks for the
next one.  Only then is it acknowledged: a program that dies before is offered it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from greenchat.client.aio.changes import Changes
from greenchat.client.aio.connector import finished
from greenchat.client.core.pushes import Push
from greenchat.client.core.receiver import QueuedPush, Receiver

log = logging.getLogger(__name__)

Callback = Callable[[Push], Awaitable[object]]


class _Taken:
    """A push that was taken; None once it is acknowledged."""

    def __init__(self, item: QueuedPush) -> None:
        self.item: QueuedPush | None = item


class AioPushQueue:
    """Hand out the receiver's pushes.

    Args:
        receiver: holds the pushes.
        changes: told when a push was queued.
        on_push: called with each push, one at a time, in a task of its own; None for ``pushes``.
    """

    def __init__(self, receiver: Receiver, changes: Changes, on_push: Callback | None) -> None:
        self._receiver = receiver
        self._changes = changes
        self._on_push = on_push
        self._taken: WeakKeyDictionary[asyncio.Task[Any], _Taken] = WeakKeyDictionary()
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to call ``on_push``."""
        if self._on_push and not (self._task or self._is_closed):
            self._task = asyncio.create_task(self._dispatch(self._on_push), name="greenchat-dispatcher")

    async def pushes(self, timeout: float | None) -> AsyncIterator[Push]:
        """Yield pushes until ``timeout`` seconds pass without any, or the queue is closed."""
        while True:
            self.acknowledge()
            item = await self._take(timeout)
            if item is None:
                return
            taken = self._remember(item)
            yield item.push
            # The iterator is asked for the next one, perhaps by another task than before: up to Python 3.11,
            # wait_for makes one for each call.
            self._handled(taken)

    def acknowledge(self) -> None:
        """Acknowledge the push that this task took last, if any."""
        task = asyncio.current_task()
        taken = self._taken.pop(task, None) if task else None
        if taken:
            self._handled(taken)

    async def close(self) -> None:
        """Hand out no more pushes, and wait for a callback that is running."""
        self._is_closed = True
        self._changes.notify()
        await finished(self._task)

    def _remember(self, item: QueuedPush) -> _Taken:
        taken = _Taken(item)
        if task := asyncio.current_task():
            self._taken[task] = taken
        return taken

    def _handled(self, taken: _Taken) -> None:
        item, taken.item = taken.item, None
        if item:
            self._receiver.acknowledge(item)

    async def _take(self, timeout: float | None) -> QueuedPush | None:
        await asyncio.sleep(0)  # a loop over many pushes that awaits nothing else must not stop the others
        while await self._changes.wait_for(lambda: self._receiver.queue or self._is_closed, timeout):
            if self._is_closed:
                return None
            if item := self._receiver.take():  # nothing if all were this client's own messages
                return item
        return None

    async def _dispatch(self, on_push: Callback) -> None:
        while item := await self._take(None):
            try:
                await on_push(item.push)
            except Exception:  # a bug of the application must not stop the pushes after it
                log.exception("on_push failed; a message is offered to it again at the next login")
                self._receiver.reject(item)
            else:
                self._receiver.acknowledge(item)

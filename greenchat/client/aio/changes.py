"""Waiting for a change of the session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


class Changes:
    """Wake the tasks that wait until something is so; a ``threading.Condition`` of one event loop."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Have all tasks that wait look again."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for(self, is_so: Callable[[], object], timeout: float | None) -> bool:
        """Wait until ``is_so``, for ``timeout`` seconds at most; return if it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not is_so():
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiting.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiting.discard(waiter)
        return bool(is_so())

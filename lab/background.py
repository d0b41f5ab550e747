"""An asyncio loop on a thread of its own, for work beside a test or a script."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

DEADLINE = 60.0
"""Seconds that anything asked of the loop may take."""


class Background:
    """A thread that runs an asyncio loop.

    Attributes:
        loop: the loop; other threads reach it by ``run`` only.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="background", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, and return its value or raise its exception.

        Raises:
            TimeoutError: it took longer than ``DEADLINE``.
        """
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    def close(self) -> None:
        """Cancel all tasks, and end the thread."""
        self.run(_cancel_the_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE)
        self.loop.close()


@contextmanager
def background() -> Iterator[Background]:
    """Run a loop for the block."""
    aside = Background()
    try:
        yield aside
    finally:
        aside.close()


async def _cancel_the_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)

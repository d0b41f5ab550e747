"""One native thread for slow computations, with a bounded queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from gevent.threadpool import ThreadPool

from greenchat.errors import Busy

T = TypeVar("T")

SECONDS_EACH = 0.03
"""What a password hash takes (measured), to say when to come back."""


class Offload:
    """Run computations beside the loop, one at a time.

    A single thread: gevent's default pool of ten starves the loop when all ten hash (measured: lag
    of up to 1.4 s; with one, 8 ms at the 99th percentile).

    Args:
        queue: calls that may wait at most.
    """

    def __init__(self, queue: int) -> None:
        self._pool = ThreadPool(1)
        self._queue = queue
        self._waiting = 0

    def __call__(self, function: Callable[..., T], *args: object) -> T:
        """Return the function's result.  Switches.

        Raises:
            Busy: too many calls wait.
        """
        if self._waiting >= self._queue:
            raise Busy("too many people log in just now", retry_after=round(self._queue * SECONDS_EACH, 1))
        self._waiting += 1
        try:
            result, error = self._pool.apply(_caught, (function, *args))
        finally:
            self._waiting -= 1
        if error is not None:
            raise error
        return cast(T, result)


def _caught(function: Callable[..., T], *args: object) -> tuple[T | None, Exception | None]:
    """Return what is raised as a value: gevent prints a traceback of each error in a thread."""
    try:
        return function(*args), None
    except Exception as error:
        return None, error

"""One native thread for slow computations, with a bounded queue that is fair."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

from greenchat.errors import Busy
from greenchat.model.records import Share
from greenchat.server.fair_queue import FairQueue

T = TypeVar("T")

SECONDS_EACH = 0.03
"""Seconds that a password hash takes (measured), for ``retry_after``."""


class Offload:
    """Run computations beside the loop, one at a time, of addresses and accounts in turn.

    A single thread: gevent's default pool of ten starves the loop when all ten hash (measured: lag
    of up to 1.4 s; with one, 8 ms at the 99th percentile).

    Args:
        queue: calls that may wait at most, the one that runs included.
    """

    def __init__(self, queue: int) -> None:
        self._pool = ThreadPool(1)
        self._size = queue
        self._queue: FairQueue[AsyncResult[None]] = FairQueue(queue - 1)
        self._runs = False

    def __call__(self, share: Share, function: Callable[..., T], *args: object) -> T:
        """Return the function's result.  Switches.

        Args:
            share: the owner of the computation, for the queue.
            function: computes something.
            args: its arguments.

        Raises:
            Busy: too many calls wait, and no share has more of them.
        """
        if self._runs:
            self._wait(share)
        self._runs = True
        try:
            result, error = self._pool.apply(_caught, (function, *args))
        finally:
            self._end_turn()
        if error is not None:
            raise error
        return cast(T, result)

    def _wait(self, share: Share) -> None:
        """Wait until it is this call's turn."""
        turn: AsyncResult[None] = AsyncResult()
        dropped = self._queue.put(share, turn)
        if dropped is not None:
            seconds = round(self._size * SECONDS_EACH, 1)
            dropped.set_exception(Busy("too many people log in just now", retry_after=seconds))
        try:
            turn.get()
        except BaseException:
            if turn.successful():  # the caller was killed in the moment of its turn
                self._end_turn()
            elif not turn.ready():
                self._queue.remove(share, turn)
            raise

    def _end_turn(self) -> None:
        turn = self._queue.take()
        if turn is None:
            self._runs = False
        else:
            turn.set(None)


def _caught(function: Callable[..., T], *args: object) -> tuple[T | None, Exception | None]:
    """Call, and return an exception as a value: gevent prints a traceback of each error in a thread."""
    try:
        return function(*args), None
    except Exception as error:
        return None, error

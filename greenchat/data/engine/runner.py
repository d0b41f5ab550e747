"""Runs the store's calls: in greenlets, on native threads beside the loop, or in place for tests."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple, Protocol, TypeVar

import gevent
from gevent.event import AsyncResult, Event
from gevent.threadpool import ThreadPool

log = logging.getLogger(__name__)

T = TypeVar("T")

READ_WAIT = 3.0
"""Seconds that a read by a greenlet may take, so that the heartbeats of a client that waits for it go on."""

REST = 1.0
"""Seconds after one that took longer, in which others are not tried: a client may have many under way.  There
are none if the database has answered another read since, and the next answer ends them."""

LATE = 0.25
"""Seconds by which a timer is late when the process stood still (it was stopped, or other programs had the
CPU), so that the answer to a read may have come and could not be taken."""

READS_AT_A_TIME = 8
"""Reads that go to their thread together: the first is told when the last is done."""


class Waiter(Protocol):
    """The place for the result of an operation."""

    def set(self, value: Any) -> None:
        """Leave the returned value."""

    def set_exception(self, exception: BaseException) -> None:
        """Leave the exception."""

    def get(self) -> Any:
        """Wait for it and return or raise it.  May switch."""


class Runner(Protocol):
    """Runs the calls that block, and the committer."""

    def start(self, work: Callable[[], object]) -> None:
        """Get ready to call ``work`` after each ``wake``, never twice at a time."""

    def wake(self) -> None:
        """Have ``work`` called soon."""

    def waiter(self) -> Waiter:
        """Return a place for the result of an operation that ``work`` will do."""

    def read(self, call: Callable[..., T], *args: Any) -> T:
        """Call something that reads from the database.  May switch."""

    def write(self, call: Callable[..., T], *args: Any) -> T:
        """Call something that writes to the database; one at a time.  May switch."""

    def breathe(self) -> None:
        """Let the loop turn once.  May switch."""

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call something once, some seconds from now, where it may switch."""

    def close(self) -> None:
        """Finish ``work`` and end the threads."""


class Greenlets(Runner):
    """Every call in the greenlet that makes it: for a client that lets the others run while it waits."""

    wake: Callable[[], None]

    def __init__(self) -> None:
        self._event = Event()
        self.wake = self._event.set  # for each message, so without a call of Python
        self._rests_until = 0.0
        self._answered = 0.0  # when a read was

    def start(self, work: Callable[[], object]) -> None:
        """Start the greenlet that works."""
        self._closing = False
        self._worker = gevent.spawn(self._work, work)

    def waiter(self) -> Waiter:
        """Return an AsyncResult."""
        result: Waiter = AsyncResult()
        return result

    def read(self, call: Callable[..., T], *args: Any) -> T:
        """Call it, but not for long; once more if the process stood still until the time was over.

        Raises:
            TimeoutError: the database does not answer.
        """
        for is_last in (False, True):
            began = monotonic()
            if began < self._rests_until:
                break
            timeout = gevent.Timeout(READ_WAIT)
            try:
                with timeout:
                    result = call(*args)
            except gevent.Timeout as expired:
                if expired is not timeout:
                    raise
                if not is_last and monotonic() > began + READ_WAIT + LATE:
                    continue
                if self._answered < began:
                    self._rests_until = monotonic() + REST
                break
            self._answered, self._rests_until = monotonic(), 0.0
            return result
        raise TimeoutError("the database does not answer")

    def write(self, call: Callable[..., T], *args: Any) -> T:
        """Call it."""
        return call(*args)

    def breathe(self) -> None:
        """Let the other greenlets go on, and the loop poll once for input."""
        hub = gevent.get_hub()
        with hub.loop.timer(0) as timer:
            hub.wait(timer)  # fires when the loop has looked
        gevent.sleep(0)  # ends when the input that it found is handled

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call in a greenlet of its own."""
        gevent.spawn_later(seconds, call)

    def close(self) -> None:
        """Let the greenlet finish the queue."""
        self._closing = True
        self._event.set()
        self._worker.join()

    def _work(self, work: Callable[[], object]) -> None:
        while not self._closing:
            self._event.wait()
            self._event.clear()
            try:
                work()
            except Exception:
                # It must not die: without it nothing is ever stored again.
                log.exception("a bug in the committer")


class Threads(Greenlets):
    """One native thread that writes and one that reads, so that no read waits for an fsync.

    Reads that wait together go to their thread together: the way there and back takes as much CPU as
    a short read does.

    Args:
        apart: whether reads have a thread of their own.
    """

    def __init__(self, *, apart: bool = True) -> None:
        super().__init__()
        self._apart = apart
        self._reads: deque[_Read] = deque()
        self._unread = Event()

    def start(self, work: Callable[[], object]) -> None:
        """Start the threads and the greenlets that work."""
        self._writer = ThreadPool(1)
        self._reader = ThreadPool(1) if self._apart else self._writer
        super().start(work)
        self._reading = gevent.spawn(self._read_waiting)

    def read(self, call: Callable[..., T], *args: Any) -> T:
        """Call on the reading thread."""
        read = _Read(call, args, AsyncResult())
        self._reads.append(read)
        self._unread.set()
        result: T
        result, error = read.outcome.get()
        if error is not None:
            raise error
        return result

    def write(self, call: Callable[..., T], *args: Any) -> T:
        """Call on the writing thread."""
        result: T
        result, error = self._writer.apply(_caught, (call, *args))
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Let the greenlets finish their queues, then end the threads."""
        super().close()
        self._unread.set()
        self._reading.join()
        for pool in {self._writer, self._reader}:
            pool.kill()

    def _read_waiting(self) -> None:
        while self._reads or not self._closing:
            self._unread.wait()
            self._unread.clear()
            while self._reads:
                some = [self._reads.popleft() for _ in range(min(len(self._reads), READS_AT_A_TIME))]
                try:
                    outcomes = self._reader.apply(_read_all, (some,))
                except Exception as error:  # no thread, say: this must go on, or nothing is ever read again
                    outcomes = [(None, error)] * len(some)
                for read, outcome in zip(some, outcomes, strict=True):
                    read.outcome.set(outcome)


class _Read(NamedTuple):
    """A read that waits for its thread."""

    call: Callable[..., Any]
    args: tuple[Any, ...]
    outcome: AsyncResult


def _read_all(reads: list[_Read]) -> list[tuple[Any, Exception | None]]:
    return [_caught(read.call, *read.args) for read in reads]


def _caught(call: Callable[..., T], *args: Any) -> tuple[T, None] | tuple[None, Exception]:
    """Call, and return an exception instead of raising it: gevent prints those that a thread raises."""
    try:
        return call(*args), None
    except Exception as error:
        return None, error


class Inline(Runner):
    """Runs everything in place, with no loop: the queue waits until ``work`` is called.

    An operation calls it at once.  For tests of rooms that use a store.
    """

    def start(self, work: Callable[[], object]) -> None:
        """Keep the function to call."""
        self._work = work

    def wake(self) -> None:
        """Do nothing: the test says when."""

    def waiter(self) -> Waiter:
        """Return a waiter that works until it has its result."""
        return _Inline(self._work)

    def read(self, call: Callable[..., T], *args: Any) -> T:
        """Call it."""
        return call(*args)

    def write(self, call: Callable[..., T], *args: Any) -> T:
        """Call it."""
        return call(*args)

    def breathe(self) -> None:
        """Do nothing."""

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Do nothing: the test says when."""

    def close(self) -> None:
        """Finish the queue."""
        self._work()


class _Inline(Waiter):
    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None

    def set(self, value: Any) -> None:
        self._done, self._value = True, value

    def set_exception(self, exception: BaseException) -> None:
        self._done, self._error = True, exception

    def get(self) -> Any:
        while not self._done:
            self._work()
        if self._error is not None:
            raise self._error
        return self._value

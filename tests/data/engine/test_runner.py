"""Reads on their native thread: together, and each on its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest
from gevent.threadpool import ThreadPool

from greenchat.data.engine import runner
from greenchat.data.engine.runner import LATE, READS_AT_A_TIME, Greenlets, Threads

DEADLINE = 60.0


class Pool(ThreadPool):  # type: ignore[misc]
    """A pool of threads that tells of each trip to them."""

    before: Callable[[list[Any]], object] = len
    """Is given the calls that go together."""

    def apply(self, call: Callable[..., Any], args: tuple[Any]) -> Any:
        Pool.before(args[0])
        return super().apply(call, args)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Threads]:
    monkeypatch.setattr(runner, "ThreadPool", Pool)
    monkeypatch.setattr(Pool, "before", len)
    threads = Threads()
    threads.start(lambda: None)
    yield threads
    threads.close()


def test_a_read_returns_what_it_finds_and_raises_what_it_raises(threads: Threads) -> None:
    assert threads.read(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        threads.read(divmod, 7, 0)


def test_of_reads_that_wait_together_one_that_fails_harms_no_other(threads: Threads) -> None:
    reads = [gevent.spawn(threads.read, divmod, 6, number) for number in (0, 1, 0, 2, 3)]
    gevent.joinall(reads, timeout=DEADLINE)
    assert [read.value for read in reads] == [None, (6, 0), None, (3, 0), (2, 0)]
    assert [type(read.exception) for read in reads[:3:2]] == [ZeroDivisionError] * 2


def test_reads_that_come_meanwhile_share_a_trip_in_order_and_not_too_many(threads: Threads) -> None:
    trips: list[int] = []
    Pool.before = lambda reads: trips.append(len(reads))
    gate = threading.Event()
    first = gevent.spawn(threads.read, gate.wait, DEADLINE)
    while not trips:
        gevent.sleep(0)
    done: list[int] = []
    others = [gevent.spawn(threads.read, done.append, number) for number in range(READS_AT_A_TIME + 2)]
    gevent.sleep(0)
    gate.set()
    gevent.joinall([first, *others], timeout=DEADLINE, raise_error=True)
    assert done == list(range(READS_AT_A_TIME + 2))
    assert trips == [1, READS_AT_A_TIME, 2]


def test_a_trip_that_fails_is_told_and_the_next_is_made(threads: Threads) -> None:
    failures = [OSError("no thread")]

    def fail_once(reads: list[Any]) -> None:
        if failures:
            raise failures.pop()

    Pool.before = fail_once
    with pytest.raises(OSError, match="no thread"):
        threads.read(divmod, 7, 2)
    assert threads.read(divmod, 7, 2) == (3, 1)


def throw(error: Exception) -> None:
    raise error


def test_what_waits_is_read_before_the_end() -> None:
    threads = Threads()
    threads.start(lambda: None)
    gate = threading.Event()
    reads = [gevent.spawn(threads.read, gate.wait, DEADLINE) for _ in range(3)]
    gevent.sleep(0)
    closing = gevent.spawn(threads.close)
    gevent.sleep(0)
    gate.set()
    gevent.joinall([*reads, closing], timeout=DEADLINE, raise_error=True)
    assert [read.value for read in reads] == [True] * 3


# -- Reads by greenlets


WAIT = 0.2
"""Seconds that a read of these tests may take."""


@pytest.fixture
def greenlets(monkeypatch: pytest.MonkeyPatch) -> Greenlets:
    monkeypatch.setattr(runner, "READ_WAIT", WAIT)
    return Greenlets()


def unanswered(greenlets: Greenlets) -> None:
    """Read what nobody answers, to the end of the patience with it."""
    with pytest.raises(TimeoutError, match="does not answer"):
        greenlets.read(gevent.sleep, DEADLINE)


def test_after_a_read_without_an_answer_the_next_is_not_tried_at_once(greenlets: Greenlets) -> None:
    unanswered(greenlets)
    with pytest.raises(TimeoutError, match="does not answer"):
        greenlets.read(divmod, 7, 2)


def test_one_slow_read_keeps_nobody_from_a_database_that_answers(greenlets: Greenlets) -> None:
    slow = gevent.spawn(unanswered, greenlets)
    gevent.sleep(0)
    while not slow.ready():
        assert greenlets.read(divmod, 7, 2) == (3, 1)
        gevent.sleep(WAIT / 10)
    slow.get()
    assert greenlets.read(divmod, 7, 2) == (3, 1)


def test_the_first_answer_ends_the_time_in_which_none_is_tried(greenlets: Greenlets) -> None:
    slow = gevent.spawn(unanswered, greenlets)
    gevent.sleep(WAIT / 2)
    answer = gevent.event.AsyncResult()
    other = gevent.spawn(greenlets.read, answer.get)
    slow.get()
    answer.set(42)
    assert other.get() == 42
    assert greenlets.read(divmod, 7, 2) == (3, 1)


def test_the_time_in_which_the_process_stood_still_counts_against_no_read(greenlets: Greenlets) -> None:
    stops = [WAIT + LATE + 0.1]

    def stands_still() -> str:
        if stops:
            time.sleep(stops.pop())  # stops the loop, as SIGSTOP does
            gevent.sleep(DEADLINE)
        return "answered"

    assert greenlets.read(stands_still) == "answered"

"""Slow computations beside the loop: one at a time, and only so many in line."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import gevent
import pytest
from gevent.event import AsyncResult

from greenchat.errors import Busy
from greenchat.server.offload import Offload

DEADLINE = 20.0


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """No test hangs."""
    with gevent.Timeout(DEADLINE):
        yield


class Slow:
    """A computation that takes as long as the test wants."""

    def __init__(self) -> None:
        self.go = threading.Event()  # a native one: the computation is on a native thread
        self.running = 0
        self.most = 0

    def __call__(self, number: int) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        self.go.wait(DEADLINE)
        self.running -= 1
        return number


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.go.set()


def test_it_returns_what_the_function_returns() -> None:
    assert Offload(1)(divmod, 17, 5) == (3, 2)


def test_the_function_runs_on_another_thread() -> None:
    assert Offload(1)(threading.get_ident) != threading.get_ident()


def test_the_loop_goes_on_meanwhile(slow: Slow) -> None:
    waiting = gevent.spawn(Offload(1), slow, 7)
    turn: AsyncResult[str] = AsyncResult()
    gevent.spawn(turn.set, "the loop turned")
    assert turn.get() == "the loop turned"
    assert not waiting.ready()
    slow.go.set()
    assert waiting.get() == 7


def test_calls_run_one_at_a_time_and_in_order(slow: Slow) -> None:
    done: list[int] = []

    def call(number: int) -> None:
        done.append(offload(slow, number))

    offload = Offload(8)
    calls = [gevent.spawn(call, number) for number in range(8)]
    gevent.sleep(0)
    slow.go.set()
    gevent.joinall(calls, raise_error=True)
    assert done == list(range(8))
    assert slow.most == 1


def test_one_more_than_may_wait_is_refused_at_once_and_told_when_to_come_back(slow: Slow) -> None:
    offload = Offload(3)
    calls = [gevent.spawn(offload, slow, number) for number in range(3)]
    gevent.sleep(0)
    with pytest.raises(Busy) as caught:
        offload(slow, 4)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 0
    slow.go.set()
    assert [call.get() for call in calls] == [0, 1, 2]
    assert offload(slow, 5) == 5, "there is room again"


def fail() -> None:
    raise ValueError("no")


def test_what_the_function_raises_reaches_the_caller_and_nothing_is_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    offload = Offload(1)
    for _ in range(3):  # and it leaves no one waiting
        with pytest.raises(ValueError, match="no"):
            offload(fail)
    assert offload(divmod, 1, 1) == (1, 0)
    assert capfd.readouterr() == ("", "")


def test_a_caller_that_is_killed_leaves_its_place(slow: Slow) -> None:
    offload = Offload(1)
    caller = gevent.spawn(offload, slow, 1)
    gevent.sleep(0)
    caller.kill()
    slow.go.set()
    assert offload(slow, 2) == 2

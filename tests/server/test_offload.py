"""Slow computations beside the loop: one at a time, and only so many in line."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import gevent
import pytest
from gevent.event import AsyncResult

from greenchat.errors import Busy
from greenchat.model.records import Share
from greenchat.server.offload import Offload

DEADLINE = 60.0

ANN, BOB, CEM = Share("one", "ann"), Share("one", "bob"), Share("other", "cem")


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
    assert Offload(1)(ANN, divmod, 17, 5) == (3, 2)


def test_the_function_runs_on_another_thread() -> None:
    assert Offload(1)(ANN, threading.get_ident) != threading.get_ident()


def test_the_loop_goes_on_meanwhile(slow: Slow) -> None:
    waiting = gevent.spawn(Offload(1), ANN, slow, 7)
    turn: AsyncResult[str] = AsyncResult()
    gevent.spawn(turn.set, "the loop turned")
    assert turn.get() == "the loop turned"
    assert not waiting.ready()
    slow.go.set()
    assert waiting.get() == 7


def test_calls_run_one_at_a_time_and_in_order(slow: Slow) -> None:
    done: list[int] = []

    def call(number: int) -> None:
        done.append(offload(ANN, slow, number))

    offload = Offload(8)
    calls = [gevent.spawn(call, number) for number in range(8)]
    gevent.sleep(0)
    slow.go.set()
    gevent.joinall(calls, raise_error=True)
    assert done == list(range(8))
    assert slow.most == 1


def test_one_more_than_may_wait_is_refused_at_once_and_told_when_to_come_back(slow: Slow) -> None:
    offload = Offload(3)
    calls = [gevent.spawn(offload, ANN, slow, number) for number in range(3)]
    gevent.sleep(0)
    with pytest.raises(Busy) as caught:
        offload(ANN, slow, 4)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 0
    slow.go.set()
    assert [call.get() for call in calls] == [0, 1, 2]
    assert offload(ANN, slow, 5) == 5, "there is room again"


def fail() -> None:
    raise ValueError("no")


def test_what_the_function_raises_reaches_the_caller_and_nothing_is_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    offload = Offload(1)
    for _ in range(3):  # and it leaves no one waiting
        with pytest.raises(ValueError, match="no"):
            offload(ANN, fail)
    assert offload(ANN, divmod, 1, 1) == (1, 0)
    assert capfd.readouterr() == ("", "")


def test_a_caller_that_is_killed_leaves_its_place(slow: Slow) -> None:
    offload = Offload(1)
    caller = gevent.spawn(offload, ANN, slow, 1)
    gevent.sleep(0)
    caller.kill()
    slow.go.set()
    assert offload(ANN, slow, 2) == 2


def test_one_that_waits_gives_way_to_a_share_that_has_fewer(slow: Slow) -> None:
    offload = Offload(3)
    calls = [gevent.spawn(offload, ANN, slow, number) for number in range(3)]
    gevent.sleep(0)
    late = gevent.spawn(offload, BOB, slow, 3)
    with pytest.raises(Busy):
        calls[2].get()
    slow.go.set()
    assert [call.get() for call in (*calls[:2], late)] == [0, 1, 3]


def test_a_call_that_is_killed_in_the_moment_of_its_turn_passes_it_on(slow: Slow) -> None:
    offload = Offload(3)
    first, second, third = [gevent.spawn(offload, ANN, slow, number) for number in range(3)]
    gevent.sleep(0)
    first.link(lambda _: second.kill(block=False))
    slow.go.set()
    assert (first.get(), third.get()) == (0, 2)
    assert offload(CEM, slow, 3) == 3


def test_a_call_that_is_killed_while_it_waits_leaves_its_place(slow: Slow) -> None:
    offload = Offload(2)
    first, second = [gevent.spawn(offload, ANN, slow, number) for number in range(2)]
    gevent.sleep(0)
    second.kill()
    third = gevent.spawn(offload, ANN, slow, 2)
    gevent.sleep(0)
    slow.go.set()
    assert (first.get(), third.get()) == (0, 2)

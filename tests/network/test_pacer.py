"""The pace of original clients: one frame at a time, by a hand-turned timer."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from greenchat.network.pacer import CROWDED, ROOM, Pacer
from greenchat.protocol.classic.wire import PACE


class Timer:
    """A timer that the test turns."""

    def __init__(self) -> None:
        self.active = False
        self.call: Callable[[], None] = lambda: None

    def again(self, call: Callable[[], None], update: bool) -> None:
        assert update
        self.active, self.call = True, call

    def stop(self) -> None:
        self.active = False

    def close(self) -> None:
        self.active = False


class Paced:
    """A pacer, and the socket that it writes to."""

    def __init__(self) -> None:
        self.timer = Timer()
        self.takes = True
        self.written: list[bytes] = []
        self.events: list[str] = []
        loop = SimpleNamespace(timer=lambda after, repeat: self.timer)
        self.pacer = Pacer(loop, PACE, self.write, lambda: self.events.append("eased"))

    def write(self, frame: bytes, calls: list[Callable[[], None]]) -> bool:
        if self.takes:
            self.written.append(frame)
            for call in calls:
                call()
        return self.takes

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.timer.active
            self.timer.call()


@pytest.fixture
def paced() -> Paced:
    return Paced()


def test_the_first_frame_goes_at_once_and_each_other_after_a_pause(paced: Paced) -> None:
    for frame in (b"1", b"2", b"3"):
        paced.pacer.add(frame)
    assert paced.written == [b"1"]
    paced.turn()
    assert paced.written == [b"1", b"2"]
    paced.turn()
    assert paced.written == [b"1", b"2", b"3"]


def test_a_frame_right_behind_the_last_one_waits_too(paced: Paced) -> None:
    paced.pacer.add(b"1")
    paced.pacer.add(b"2")
    assert paced.written == [b"1"]
    paced.turn(2)
    assert not paced.timer.active
    paced.pacer.add(b"3")
    assert paced.written == [b"1", b"2", b"3"]


def test_a_call_is_made_when_its_frame_has_its_turn_and_not_before(paced: Paced) -> None:
    called: list[str] = []
    paced.pacer.add(b"0")
    for frame in (b"1", b"2"):
        paced.pacer.add(frame)
        paced.pacer.when_written(lambda frame=frame: called.append(frame.decode()))  # type: ignore[misc]
    assert called == []
    paced.turn()
    assert called == ["1"]
    paced.turn()
    assert called == ["1", "2"]


def test_a_frame_may_have_several_calls(paced: Paced) -> None:
    called: list[int] = []
    paced.pacer.add(b"0")
    paced.pacer.add(b"1")
    for number in range(2):
        paced.pacer.when_written(lambda number=number: called.append(number))  # type: ignore[misc]
    paced.turn()
    assert called == [0, 1]


def test_what_the_socket_does_not_take_is_tried_again(paced: Paced) -> None:
    paced.takes = False
    paced.pacer.add(b"1")
    paced.turn(3)
    assert (paced.written, len(paced.pacer)) == ([], 1)
    paced.takes = True
    paced.turn()
    assert (paced.written, len(paced.pacer)) == ([b"1"], 0)


def test_what_waits_at_the_end_is_dropped_and_its_calls_are_not_made(paced: Paced) -> None:
    events: list[str] = []
    paced.pacer.add(b"1")
    paced.pacer.add(b"2")
    paced.pacer.when_written(lambda: events.append("written"))
    paced.pacer.when_empty(lambda: events.append("empty"))
    paced.pacer.close()
    assert (events, paced.written, len(paced.pacer)) == (["empty"], [b"1"], 0)


def test_what_was_for_somebody_who_has_left_is_dropped_and_the_pause_stays(paced: Paced) -> None:
    events: list[str] = []
    paced.pacer.add(b"1")
    for _ in range(CROWDED + 2):
        paced.pacer.add(b"2")
        paced.pacer.when_written(lambda: events.append("written"))
    paced.pacer.when_empty(lambda: events.append("empty"))
    paced.pacer.drop()
    assert (events, len(paced.pacer)) == (["empty"], 0)
    assert paced.events == ["eased"]
    paced.pacer.add(b"3")
    assert paced.written == [b"1"]
    paced.turn()
    assert paced.written == [b"1", b"3"]


def test_entries_have_room_for_half_a_second_and_the_longest_if_nothing_waits(paced: Paced) -> None:
    assert paced.pacer.has_room(10 * ROOM, 0)
    assert paced.pacer.has_room(1, ROOM - 1)
    assert not paced.pacer.has_room(1, ROOM)
    for _ in range(ROOM):
        paced.pacer.add(b"x")
    assert paced.pacer.has_room(1, 0)  # the first one has gone
    assert not paced.pacer.has_room(2, 0)
    assert not paced.pacer.has_room(1, 1)
    assert PACE * ROOM <= 0.5


def test_who_waits_for_an_empty_queue_is_told_once(paced: Paced) -> None:
    events: list[str] = []
    paced.pacer.add(b"1")
    paced.pacer.add(b"2")
    paced.pacer.when_empty(lambda: events.append("empty"))
    paced.turn(2)
    paced.pacer.add(b"3")
    paced.turn()
    assert events == ["empty"]


def test_a_crowded_queue_tells_when_it_is_not_any_more(paced: Paced) -> None:
    for _ in range(CROWDED + 2):
        paced.pacer.add(b"x")
    assert paced.pacer.is_crowded
    paced.turn()
    assert not paced.pacer.is_crowded
    assert paced.events == ["eased"]

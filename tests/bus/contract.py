"""The contract of every backend: of its bus (also one that is alone), counters, and cache of friends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic

import gevent

from greenchat.bus import Backend
from greenchat.errors import Busy
from greenchat.model.guards import Guard
from greenchat.model.records import Node
from greenchat.ports.bus import BusListener


def until(ready: Callable[[], object]) -> None:
    """Wait for something."""
    end = monotonic() + 10
    while not ready():
        assert monotonic() < end, "it does not come"
        gevent.sleep(0.01)


class Recorder(BusListener):
    """A listener that remembers what its bus tells.

    Attributes:
        here: who is online here, and with which devices.
        events: what came from other nodes.
        caught_up: how often it was told to look into the database.
        buried: the nodes that it was to clean up after.
        moved_users: the users that it was told to have moved, and how long they may take.
        failing: the database is away.
        failed: how often it was in vain.
        ended: True once another server has taken the name.
        shown: the nodes that the database shows users at.
    """

    def __init__(self) -> None:
        self.here: dict[int, list[str]] = {}
        self.events: list[bytes] = []
        self.caught_up = 0
        self.buried: list[Node] = []
        self.moved_users: list[tuple[set[int], float]] = []
        self.failing = False
        self.failed = 0
        self.ended = False
        self.shown: list[Node] = []

    def devices(self, userid: int) -> list[str]:
        return self.here.get(userid, [])

    def users(self) -> Iterable[int]:
        return self.here.keys()

    def receive(self, event: bytes) -> None:
        self.events.append(event)

    def catch_up(self) -> None:
        self.caught_up += 1

    def moved(self, users: Iterable[int], seconds: float) -> None:
        self.moved_users.append((set(users), seconds))

    def gone(self, node: Node) -> None:
        if self.failing:
            self.failed += 1
            raise Busy
        self.buried.append(node)

    def nodes(self) -> list[Node]:
        return self.shown

    def superseded(self) -> None:
        self.ended = True


class Loader:
    """Reads friends, and counts how often."""

    def __init__(self, *friends: int) -> None:
        self.friends = list(friends)
        self.calls = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self) -> list[int]:
        self.calls += 1
        friends = list(self.friends)
        self.meanwhile()
        return friends


def nobody_is_elsewhere(backend: Backend, listener: Recorder) -> None:
    """A node that is by itself finds nobody, and nothing that it sends comes to itself."""
    listener.here[1] = ["phone"]
    assert backend.bus.refresh(1) == []
    assert backend.bus.online([1, 2]) == set()
    assert list(backend.bus.nodes()) == list(backend.bus.nodes([1])) == []
    backend.bus.send(backend.bus.nodes(), b"event")
    backend.bus.wait_acknowledged()
    assert listener.events == []
    assert not backend.bus.away
    assert backend.bus.trouble == ""


def friends_are_read_once(backend: Backend, listener: Recorder) -> None:
    """The store is asked for the friends of a user the first time, and after a change."""
    load, nobody = Loader(2, 3), Loader()
    for _ in range(3):
        assert backend.friends.are_friends(1, [3, 4, 2], load) == {2, 3}
        assert backend.friends.are_friends(5, [1], nobody) == set()
    assert backend.friends.are_friends(1, [], load) == set()
    assert (load.calls, nobody.calls) == (1, 1)
    load.friends.append(4)
    backend.friends.forget_friends(1)
    assert backend.friends.are_friends(1, [3, 4, 5], load) == {3, 4}
    assert load.calls == 2


def a_change_while_friends_are_read_is_not_overlooked(backend: Backend, listener: Recorder) -> None:
    """What was read before a change is not kept."""
    load = Loader(2)
    load.meanwhile = lambda: backend.friends.forget_friends(1)
    assert backend.friends.are_friends(1, [2, 3], load) == {2}
    load.meanwhile = lambda: None
    load.friends = [3]
    assert backend.friends.are_friends(1, [2, 3], load) == {3}


def counters_start_anew(backend: Backend, listener: Recorder) -> None:
    """A counter lasts from its first count on."""
    assert [backend.counters.count("a", 60) for _ in range(3)] == [1, 2, 3]
    assert backend.counters.count("b", 60) == 1
    assert backend.counters.count("short", 0.05) == 1
    until(lambda: backend.counters.count("short", 0.05) == 1)


def guards(*keys: str, allowed: int = 2, seconds: float = 60, longest: float = 900) -> list[Guard]:
    """Return guards of some keys; the first of them forgives."""
    return [Guard(key, key, allowed, seconds, longest, key == keys[0]) for key in keys]


def failures_lock_for_longer_and_longer(backend: Backend, listener: Recorder) -> None:
    """As many as are allowed lock nothing, and each further one twice as long as the one before."""
    those = guards("a", "b", longest=3)
    locked = []
    for number in range(6):
        until(lambda: backend.counters.begin_attempt(those, "n") == 0.0)
        locked.append(backend.counters.end_attempt(those, "n", right=False))
        if number == 2:
            left = backend.counters.begin_attempt(guards("x", "b"), "n")
            assert left is not None
            assert 0 < left <= 1
            assert backend.counters.begin_attempt(guards("x"), "n") == 0
        if number == 3:
            break
    assert locked == [[0, 0], [0, 0], [1, 1], [2, 2]]
    until(lambda: backend.counters.begin_attempt(those, "n") == 0.0)
    assert backend.counters.end_attempt(those, "n", right=False) == [3, 3]


def a_right_one_forgives(backend: Backend, listener: Recorder) -> None:
    """The failures of the account are forgotten, and those of the address are not."""
    those = guards("c", "d")
    for right in (False, False, None, True, False):
        assert backend.counters.begin_attempt(those, "n") == 0
        locks = backend.counters.end_attempt(those, "n", right)
    assert locks == [0, 1]


def failures_end(backend: Backend, listener: Recorder) -> None:
    """They count for a time from the first one on."""
    those = guards("e", allowed=1, seconds=0.05)
    assert backend.counters.begin_attempt(those, "n") == 0
    assert backend.counters.end_attempt(those, "n", right=False) == [0]
    until(
        lambda: (
            backend.counters.begin_attempt(those, "n") == 0
            and backend.counters.end_attempt(those, "n", right=False) == [0]
        )
    )


def attempts_in_parallel_are_as_many_as_one_after_the_other(backend: Backend, listener: Recorder) -> None:
    """Failures and attempts under way are together at most one more than the failures allowed."""
    those = guards("f", "g")
    assert [backend.counters.begin_attempt(those, name) for name in "1234"] == [0, 0, 0, None]
    assert backend.counters.begin_attempt(guards("x", "g"), "5") is None
    backend.counters.end_attempt(those, "1", right=None)
    assert backend.counters.begin_attempt(those, "4") == 0
    backend.counters.end_attempt(those, "4", right=False)
    assert backend.counters.begin_attempt(those, "5") is None
    backend.counters.end_attempt(those, "2", right=True)
    assert backend.counters.begin_attempt(guards("f"), "5") == 0
    assert [backend.counters.begin_attempt(guards("g"), name) for name in "67"] == [0, None]


def failures_that_lock_leave_one_attempt_at_a_time(backend: Backend, listener: Recorder) -> None:
    """Once the lock is over, the next attempt is alone, however many come at once."""
    those = guards("h", allowed=1, longest=0.05)
    for _ in range(2):
        assert backend.counters.begin_attempt(those, "n") == 0
        backend.counters.end_attempt(those, "n", right=False)
    until(lambda: backend.counters.begin_attempt(those, "1") == 0)
    assert backend.counters.begin_attempt(those, "2") is None


def it_can_be_closed_twice(backend: Backend, listener: Recorder) -> None:
    """And is of no harm then."""
    backend.bus.close()
    backend.bus.close()
    assert backend.bus.refresh(1) == []


CONTRACT = [
    nobody_is_elsewhere,
    friends_are_read_once,
    a_change_while_friends_are_read_is_not_overlooked,
    counters_start_anew,
    failures_lock_for_longer_and_longer,
    a_right_one_forgives,
    failures_end,
    attempts_in_parallel_are_as_many_as_one_after_the_other,
    failures_that_lock_leave_one_attempt_at_a_time,
    it_can_be_closed_twice,
]

"""Greenlets that run one at a time, whose next turn the test chooses: every interleaving, without a loop."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from random import Random
from typing import Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

Ready = Callable[[], object]

Candidate = TypeVar("Candidate", bound=Hashable)

MANY = 100_000
"""Turns after which something goes round in circles."""


class Task:
    """Something that is under way.

    Attributes:
        owner: whose it is: it ends with its owner, wherever it stands.
        ready: what it waits for; None if it can go on.
    """

    def __init__(self, turns: Turns, call: Callable[[], object], owner: object) -> None:
        self.owner = owner
        self.ready: Ready | None = None
        self.greenlet = greenlet(call, turns.main)

    @property
    def runs(self) -> bool:
        """Whether it can have the next turn."""
        return self.ready is None or bool(self.ready())


class Turns:
    """Runs tasks, each from one switch to the next, and keeps the time.

    What the test itself calls never gives way; if it must wait, the tasks run meanwhile.

    Attributes:
        now: seconds since the beginning; only ``pass_time`` moves them.
        owner: whose task has its turn.
    """

    def __init__(self) -> None:
        self.main = getcurrent()
        self.now = 0.0
        self.owner: object = None
        self._tasks: list[Task] = []
        self._timers: list[tuple[float, int, Callable[[], object], object]] = []
        self._count = 0
        self._over: list[Task] = []
        self._closing = False

    # -- What the code under test calls

    def spawn(self, call: Callable[..., object], *args: Any, owner: object = None) -> None:
        """Have something called in a turn of its own."""
        self._tasks.append(Task(self, partial(call, *args), owner or self.owner))

    def later(self, seconds: float, call: Callable[..., object], *args: Any, owner: object = None) -> None:
        """Have something called so many seconds from now."""
        if seconds <= 0:
            self.spawn(call, *args, owner=owner)
        else:
            self._count += 1
            timer = (self.now + seconds, self._count, partial(call, *args), owner or self.owner)
            self._timers.append(timer)

    def switch(self) -> None:
        """Let others have their turns."""
        if getcurrent() is not self.main and not self._closing:
            self.main.switch(None)

    def wait(self, ready: Ready) -> None:
        """Let others have their turns until something is so."""
        if self._closing:
            raise GreenletExit
        if getcurrent() is not self.main:
            self.main.switch(ready)
        else:
            while not ready():
                assert self.turn(), "nobody can go on"

    def sleep(self, seconds: float) -> None:
        """Let others have their turns for so many seconds."""
        until = self.now + seconds
        self.later(seconds, lambda: None)
        self.wait(lambda: self.now >= until)

    # -- What the test calls

    @contextmanager
    def owned(self, owner: object) -> Iterator[None]:
        """Have what is spawned here be an owner's."""
        before, self.owner = self.owner, owner
        try:
            yield
        finally:
            self.owner = before

    def turn(self, number: int = 0) -> bool:
        """Give one of the tasks that can go on its turn; return whether there was one."""
        able = self.able()
        if able:
            self.give(able[number % len(able)])
        return bool(able)

    def give(self, task: Task) -> None:
        """Give a task its turn."""
        with self.owned(task.owner):
            task.ready = task.greenlet.switch()
        if task.greenlet.dead and task in self._tasks:
            self._tasks.remove(task)

    def able(self) -> list[Task]:
        """Return the tasks that can go on, in the order of their coming."""
        return [task for task in self._tasks if task.runs]

    def run(self) -> bool:
        """Run all that can go on, in the order of its coming; return whether there was anything."""
        for turns in range(MANY):
            if not self.turn():
                return turns > 0
        raise AssertionError("this never ends")

    def due(self) -> float | None:
        """Return how long it is until the next timer."""
        return min(self._timers)[0] - self.now if self._timers else None

    def pass_time(self, seconds: float) -> None:
        """Let time pass; the tasks of timers that are due can have their turns from then on."""
        self.now += seconds
        due = sorted(timer for timer in self._timers if timer[0] <= self.now)
        self._timers = [timer for timer in self._timers if timer[0] > self.now]
        for _, _, call, owner in due:
            self.spawn(call, owner=owner)

    def end(self, owner: object) -> None:
        """Stop all that is an owner's, wherever it stands, as a SIGKILL does: nothing is tidied up."""
        self._over += [task for task in self._tasks if task.owner is owner]
        self._tasks = [task for task in self._tasks if task.owner is not owner]
        self._timers = [timer for timer in self._timers if timer[3] is not owner]

    def close(self) -> None:
        """Let go of what is not over."""
        self._closing = True
        for task in (*self._tasks, *self._over):
            with suppress(BaseException):
                task.greenlet.throw()
        self._tasks.clear()
        self._over.clear()


class Priorities:
    """Chooses the next turn by random priorities: one candidate starves while all others go on.

    Each task and each wire draws a priority when it is first seen, the highest goes first, and now and
    then one of them drops below all others.  Races that need one step to be very late are found a hundred
    times sooner than by drawing each turn evenly (Burckhardt et al., "A Randomized Scheduler with
    Probabilistic Guarantees of Finding Bugs", 2010).

    Args:
        random: draws the priorities.
    """

    LOWERED = 0.04
    """How often the candidate that was chosen drops below all others."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._of: dict[Hashable, float] = {}
        self._lowest = 0.0

    def choose(self, candidates: Sequence[Candidate]) -> Candidate:
        """Return the candidate of the highest priority."""
        for candidate in candidates:
            if candidate not in self._of:
                self._of[candidate] = self._random.random()
        chosen = max(candidates, key=self._of.__getitem__)
        if self._random.random() < self.LOWERED:
            self._lowest -= 1
            self._of[chosen] = self._lowest
        return chosen

"""Counters, attempts and locks of this process: for a server that is alone, or while the bus is away."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from greenchat.model.guards import UNDER_WAY, Guard, lock_seconds
from greenchat.ports.counters import Counters

SIZE = 100_000
"""Counters, locks and guards that are kept: the oldest go first."""


class LocalCounters(Counters):
    """Counters, attempts and locks in memory.

    Args:
        clock: seconds, on a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._locks: OrderedDict[str, float] = OrderedDict()
        self._under: OrderedDict[str, dict[str, float]] = OrderedDict()

    def count(self, key: str, seconds: float) -> int:
        # The time runs from the first count and is not prolonged: a steady trickle must not add up for ever.
        count, end = self._counts.get(key, (0, 0.0))
        if end <= self._clock():
            self._counts.pop(key, None)
            count, end = 0, self._clock() + seconds
        self._counts[key] = count + 1, end
        _trim(self._counts)
        return count + 1

    def begin_attempt(self, guards: Sequence[Guard], attempt: str) -> float | None:
        now = self._clock()
        # All guards are asked before anything is written: a refused attempt leaves no trace.
        left = max(self._locks.get(guard.key, 0.0) - now for guard in guards)
        if left > 0:
            return left
        for guard in guards:
            under = [end for end in self._under.get(guard.key, {}).values() if end > now]
            failures, end = self._counts.get(guard.key, (0, 0.0))
            # An attempt that is alone is let in, however many failed: only a lock bars the right password.
            if under and len(under) + (failures if end > now else 0) > guard.allowed:
                return None
        for guard in guards:
            self._under.setdefault(guard.key, {})[attempt] = now + UNDER_WAY
        _trim(self._under)
        return 0.0

    def end_attempt(self, guards: Sequence[Guard], attempt: str, right: bool | None) -> list[float]:
        locks = []
        for guard in guards:
            under = self._under.get(guard.key, {})
            under.pop(attempt, None)
            # Keys are names and addresses that strangers choose: none may stay behind.
            if not under:
                self._under.pop(guard.key, None)
            if right and guard.forgiving:
                self._counts.pop(guard.key, None)
            failures = self.count(guard.key, guard.seconds) if right is False else 0
            locks.append(lock_seconds(guard, failures))
            if locks[-1]:
                # Anew, so that it is the youngest: ``_trim`` drops the oldest.
                self._locks.pop(guard.key, None)
                self._locks[guard.key] = self._clock() + locks[-1]
                _trim(self._locks)
        return locks


def _trim(kept: OrderedDict[str, Any]) -> None:
    if len(kept) > SIZE:
        kept.popitem(last=False)

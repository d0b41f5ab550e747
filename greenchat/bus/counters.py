"""Counters and locks of this process alone: for a server that is alone, and for while the bus is away."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from time import monotonic

SIZE = 100_000
"""Counters and locks that are kept: those that were begun first go first."""


class Counters:
    """What ``ports.Bus`` says of ``count``, ``uncount``, ``lock`` and ``locked``."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._locks: OrderedDict[str, float] = OrderedDict()

    def count(self, key: str, seconds: float) -> int:
        """Add one to a counter, and return it."""
        count, end = self._counts.get(key, (0, 0.0))
        if end <= monotonic():
            self._counts.pop(key, None)
            count, end = 0, monotonic() + seconds
        self._counts[key] = count + 1, end
        _trim(self._counts)
        return count + 1

    def uncount(self, key: str) -> None:
        """Set a counter to nothing."""
        self._counts.pop(key, None)

    def lock(self, key: str, seconds: float) -> None:
        """Lock something for some seconds from now."""
        self._locks.pop(key, None)
        self._locks[key] = monotonic() + seconds
        _trim(self._locks)

    def locked(self, keys: Iterable[str]) -> float:
        """Return for how many seconds one of some locks will last, 0 if none is there."""
        return max(0.0, *(self._locks.get(key, 0.0) - monotonic() for key in keys))


def _trim(kept: OrderedDict) -> None:
    if len(kept) > SIZE:
        kept.popitem(last=False)

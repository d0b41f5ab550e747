"""Exponential backoff with full jitter."""

from __future__ import annotations

import random
from typing import NamedTuple

BASE = 0.5
CAP = 30.0


class Backoff(NamedTuple):
    """Compute the waits between attempts.

    The bound doubles from ``base`` to ``cap`` seconds; each wait is drawn between zero and its bound.

    >>> [Backoff(base=0.5, cap=3).bound(attempt) for attempt in range(4)]
    [0.5, 1.0, 2.0, 3]
    """

    # Full jitter, because all clients of a server that restarts come back at the same moment.

    base: float = BASE
    cap: float = CAP

    def delay(self, attempt: int, at_least: float | None = None) -> float:
        """Return the seconds to wait before an attempt.

        Args:
            attempt: number of attempts that have failed, from 0.
            at_least: seconds that the server asked for; the result is this plus up to ``base`` of jitter.
        """
        if at_least is not None:
            return at_least + random.uniform(0, self.base)
        return random.uniform(0, self.bound(attempt))

    def bound(self, attempt: int) -> float:
        """Return the longest wait before an attempt, in seconds."""
        return min(self.cap, self.base * 2.0 ** min(attempt, 60))

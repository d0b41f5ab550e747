"""How long to wait before trying again: exponential backoff with full jitter."""

from __future__ import annotations

import random
from typing import NamedTuple

BASE = 0.5
CAP = 30.0


class Backoff(NamedTuple):
    """Waiting times that double from ``base`` to ``cap`` seconds, each drawn anew from zero to its bound.

    Full jitter, because after a restart everybody comes back at once.
    """

    base: float = BASE
    cap: float = CAP

    def delay(self, attempt: int, at_least: float | None = None) -> float:
        """Return the seconds to wait before an attempt.

        Args:
            attempt: how many failed already, from 0.
            at_least: seconds that the server asked for; they are honoured, with ``base`` of jitter.
        """
        if at_least is not None:
            return at_least + random.uniform(0, self.base)
        return random.uniform(0, self.bound(attempt))

    def bound(self, attempt: int) -> float:
        """Return the longest wait before an attempt, in seconds."""
        return min(self.cap, self.base * 2.0 ** min(attempt, 60))

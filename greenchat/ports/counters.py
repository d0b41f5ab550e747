"""The port to the counters, attempts and locks that the nodes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from greenchat.model.guards import Guard


class Counters(Protocol):
    """Counters for rate limits, and attempts to prove a password.

    The nodes of a cluster share them.  While the bus is away, each node counts and locks for itself.
    """

    __slots__ = ()

    def count(self, key: str, seconds: float) -> int:
        """Add one to a counter, and return it.  May switch.

        Args:
            key: the counter's name.
            seconds: the counter starts anew this long after its first count.
        """

    def begin_attempt(self, guards: Sequence[Guard], attempt: str) -> float | None:
        """Admit an attempt under some guards, on all nodes.  May switch.

        An attempt is admitted if no other one is under way, or if the attempts under way and the failures
        together are at most ``Guard.allowed``.

        Returns:
            0 if it is admitted; the seconds that a lock will last; None if it has to wait for another one.
        """

    def end_attempt(self, guards: Sequence[Guard], attempt: str, right: bool | None) -> list[float]:
        """End an admitted attempt, and count a failure.  May switch.

        Args:
            guards: as for ``begin_attempt``.
            attempt: as for ``begin_attempt``.
            right: True for a right password, False for a wrong one, None if that was not found out.

        Returns:
            For each guard the seconds that it has been locked for now, 0 if it has not.
        """

"""Guards count wrong passwords: when an account or an address is locked, and for how long."""

from __future__ import annotations

from typing import NamedTuple


class Guard(NamedTuple):
    """A counter of wrong passwords that locks when there are too many.

    Attributes:
        key: the guarded account or address.
        shown: the same, for the log.
        allowed: failures before each further one locks it, twice as long as the one before.
        seconds: how long failures count, from the first one on.
        longest: seconds of a lock at most.
        forgiving: a right password makes the failures be forgotten.
    """

    key: str
    shown: str
    allowed: int
    seconds: float
    longest: float
    forgiving: bool


UNDER_WAY = 30.0
"""Seconds after which an attempt under a guard counts as over: its node has died."""


def lock_seconds(guard: Guard, failures: int) -> float:
    """Return for how many seconds so many failures lock the account or address; 0 for no lock."""
    beyond = failures - guard.allowed
    return min(2.0 ** min(beyond - 1, 20), guard.longest) if beyond > 0 else 0.0

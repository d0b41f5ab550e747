"""A token bucket of bytes: a client over its rate is read less often, and is sent no error."""

from __future__ import annotations

from typing import Any

from greenchat.network.limits import Limits
from greenchat.protocol.addresses import host_of

LONGEST = 10.0
"""Seconds of a pause at most: nothing is heard of a peer meanwhile, not even that it has gone."""


class Shaper:
    """Say for how long a peer is not to be read after it sent so much (as ejabberd's shapers do).

    Bytes that were read are handled at once, and the pause follows, so no input is stored.

    Args:
        rate: bytes a second, on average.
        burst: bytes at once, after a rest.
        now: seconds, on a clock that never goes back.

    Attributes:
        timer: runs while the peer is not read; None otherwise.
    """

    __slots__ = ("_burst", "_rate", "_tokens", "_when", "timer")

    def __init__(self, rate: int, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._when = now
        self.timer: Any = None

    def take(self, size: int, now: float) -> float:
        """Take bytes out of the bucket, and return the seconds for which it is overdrawn by that."""
        tokens = min(self._burst, self._tokens + (now - self._when) * self._rate) - size
        self._tokens = tokens
        self._when = now
        return min(LONGEST, max(0.0, -tokens / self._rate))

    def end(self) -> None:
        """Let go of the timer."""
        if self.timer is not None:
            self.timer.close()
            self.timer = None


def shaper_of(limits: Limits, address: str, now: float) -> Shaper | None:
    """Return the shaper of a new connection; None where any amount is read."""
    if not limits.byte_rate or limits.is_exempt(host_of(address)):
        return None
    return Shaper(limits.byte_rate, limits.byte_burst, now)

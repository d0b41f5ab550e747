"""Who tries too often has to wait: guessed passwords, accounts without end, floods of requests."""

from __future__ import annotations

from greenchat.errors import RateLimited
from greenchat.ports import Bus, Limits
from greenchat.protocol.addresses import host_of, network_of

HOUR = 3_600.0
"""Seconds that a counter of failures or registrations lasts."""


class Bucket:
    """A token bucket: so many requests a second on average, and more after a rest.

    Args:
        rate: tokens a second.
        burst: tokens that it holds at most.
        now: seconds, on a clock that never goes back.
    """

    __slots__ = ("_burst", "_rate", "_tokens", "_when")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._when = now

    def check(self, now: float) -> None:
        """Take a token.

        Raises:
            RateLimited: there is none; it says when there will be one.
        """
        tokens = min(self._burst, self._tokens + (now - self._when) * self._rate)
        self._when = now
        self._tokens = tokens
        if tokens < 1:
            raise RateLimited(retry_after=_rounded((1 - tokens) / self._rate))
        self._tokens = tokens - 1


class Throttle:
    """Counts, on all nodes together, what an address or account has tried.

    Args:
        bus: keeps the counters and locks.
        limits: how much is too much.
    """

    def __init__(self, bus: Bus, limits: Limits) -> None:
        self._bus = bus
        self._limits = limits

    def begin_login(self, account: str, address: str) -> None:
        """Refuse a password while its account or address is locked, before it costs a hash.  May switch.

        It counts as a wrong one until it has proved right: many may be tried at a time.  Each beyond
        the allowed locks the account twice as long as the one before.

        Args:
            account: what tells it from others; for one that does not exist, what was asked for.
            address: ``HOST:PORT`` of the peer.

        Raises:
            RateLimited
        """
        left = self._bus.locked([f"login:{account}", *self._addresses("login", address)])
        if left:
            raise RateLimited("too many wrong passwords", retry_after=_rounded(left))
        self._count(f"login:{account}", self._limits.login_failures)

    def failed(self, address: str) -> None:
        """Count a wrong password of an address too.  May switch."""
        for key in self._addresses("login", address):
            self._count(key, self._limits.address_failures)

    def succeeded(self, account: str) -> None:
        """Forget the wrong passwords of an account.  May switch."""
        self._bus.uncount(f"login:{account}")

    def check_registration(self, address: str) -> None:
        """Refuse one more account from an address that has registered many.  May switch.

        Raises:
            RateLimited
        """
        allowed = self._limits.registrations_per_hour
        for key in self._addresses("registered", address) if allowed else ():
            if self._bus.count(key, HOUR) > allowed:
                raise RateLimited("too many accounts were registered from your address", retry_after=HOUR)

    def bucket(self, address: str, now: float) -> Bucket | None:
        """Return what limits the requests of a connection; None if nothing does."""
        rate = self._limits.request_rate
        if not rate or self._limits.is_exempt(host_of(address)):
            return None
        return Bucket(rate, max(1, self._limits.request_burst), now)

    def _count(self, key: str, allowed: int) -> None:
        beyond = self._bus.count(key, HOUR) - allowed
        if beyond > 0:
            self._bus.lock(key, min(2.0 ** min(beyond - 1, 20), self._limits.login_lock))

    def _addresses(self, what: str, address: str) -> list[str]:
        """Return the key of an address, if it counts at all."""
        host = host_of(address)
        return [] if self._limits.is_exempt(host) else [f"{what}:{network_of(host)}"]


def _rounded(seconds: float) -> float:
    """Return seconds for people, never too few."""
    return round(seconds + 0.05, 1)

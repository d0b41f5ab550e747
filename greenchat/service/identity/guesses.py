"""Wrong passwords are counted, for each account and each address, and lock it for longer and longer.

Failures are counted, not attempts: many devices may prove the right password at the same time.  Yet
guessing in parallel, at whatever nodes, must allow no more guesses than one after the other.  So each
attempt first takes a place (``Counters.begin_attempt``): failures and attempts under way together are at most
one more than the failures allowed, because that one sets the lock; beyond that, one attempt at a time.  An
attempt for which there is no place waits until another one is done.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import TypeVar

from greenchat.errors import Busy, RateLimited
from greenchat.model.guards import Guard
from greenchat.ports.counters import Counters
from greenchat.ports.limits import Limits
from greenchat.protocol.addresses import host_of, network_of

T = TypeVar("T")

HOUR = 3_600.0
"""Seconds that failures count, from the first one on."""

PAUSE = 0.05
"""Seconds before an attempt without a place tries again: two hashes take as long."""

MAX_PAUSES = 100
"""Pauses of an attempt before it is refused."""

MAX_WAITING = 8
"""Attempts of one account that wait for a place on this node: as many as devices may be online."""

_log = logging.getLogger("greenchat.accounts")


class Guesses:
    """Allow attempts to prove a password, and count the wrong ones on all nodes together.

    Args:
        counters: keeps the failures and the attempts, for all nodes.
        limits: how many failures lock, and for how long at most.
        pause: waits for some seconds; may switch.
    """

    def __init__(self, counters: Counters, limits: Limits, pause: Callable[[float], object]) -> None:
        self._counters = counters
        self._limits = limits
        self._pause = pause
        self._waiting: dict[str, int] = {}

    def attempt(self, account: str, address: str, prove: Callable[[], T | None]) -> T | None:
        """Return the result of ``prove``; None counts as a wrong password.  May switch.

        Args:
            account: the account's id; ``name:…`` for one that does not exist.
            address: ``HOST:PORT`` of the peer.
            prove: verifies the password; may switch.  If it raises, the attempt counts as nothing.

        Raises:
            RateLimited: the account or the address is locked.
            Busy: too many attempts wait for a place.
        """
        guards = self._guards(account, address)
        attempt = secrets.token_hex(8)
        self._begin(account, guards, attempt)
        right: bool | None = None
        try:
            proof = prove()
            right = proof is not None
        finally:
            locks = self._counters.end_attempt(guards, attempt, right)
        for guard, seconds in zip(guards, locks, strict=True):
            if seconds:
                _log.info("%s locked for %g s", guard.shown, seconds)
        return proof

    def _begin(self, account: str, guards: list[Guard], attempt: str) -> None:
        """Take a place for an attempt, and wait for one if there is none.  May switch."""
        if self._has_place(guards, attempt):
            return
        if self._waiting.get(account, 0) >= MAX_WAITING:
            raise Busy("too many logins of this account are under way", retry_after=1.0)
        self._waiting[account] = self._waiting.get(account, 0) + 1
        try:
            for _ in range(MAX_PAUSES):
                self._pause(PAUSE)
                if self._has_place(guards, attempt):
                    return
        finally:
            self._waiting[account] -= 1
            if not self._waiting[account]:
                del self._waiting[account]
        raise Busy("too many logins are under way", retry_after=1.0)

    def _has_place(self, guards: list[Guard], attempt: str) -> bool:
        left = self._counters.begin_attempt(guards, attempt)
        if left:
            raise RateLimited("too many wrong passwords", retry_after=round(left + 0.05, 1))
        return left is not None

    def _guards(self, account: str, address: str) -> list[Guard]:
        limits, host = self._limits, host_of(address)
        # The name of an account that does not exist may be a password in the wrong field.
        shown = f"account {account}" if account.isdecimal() else "an account that does not exist"
        guards = [Guard(f"login:{account}", shown, limits.login_failures, HOUR, limits.login_lock, True)]
        if not limits.is_exempt(host):
            network = str(network_of(host))
            guards.append(
                Guard(
                    f"login:{network}",
                    f"address {network}",
                    limits.address_failures,
                    HOUR,
                    limits.login_lock,
                    False,
                )
            )
        return guards

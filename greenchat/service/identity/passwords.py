"""Password hashes: argon2id, off the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import argon2

from greenchat.model.records import Share

Offload = Callable[..., Any]
"""``offload(share, function, *args)``: run it where it does not stall the loop, and return its result.

Shares have their turns one after the other.  May switch.  Raises ``Busy`` if too many calls wait already."""

HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""19 MiB, two passes, one lane: OWASP's Password Storage Cheat Sheet; 27 ms here (measured)."""

_NOBODY = HASHER.hash("")
"""The hash with which the password of an unknown user is compared, so that it takes the same time."""


class Passwords:
    """Hash and verify passwords.

    Args:
        offload: runs a hash off the loop.
    """

    def __init__(self, offload: Offload) -> None:
        self._offload = offload

    def hash(self, password: str, share: Share) -> str:
        """Return the hash of a password as a PHC string.  May switch.

        Raises:
            Busy: too many hashes wait.
        """
        hashed: str = self._offload(share, HASHER.hash, password)
        return hashed

    def verify(self, hashed: str | None, password: str, share: Share) -> bool:
        """Return True if the password fits the hash; never for None, in the same time.  May switch.

        Raises:
            Busy: too many hashes wait.
        """
        fits: bool = self._offload(share, _fits, hashed or _NOBODY, password)
        return fits and hashed is not None

    def outdated(self, hashed: str) -> bool:
        """Return whether a hash was made with other parameters than today's."""
        return HASHER.check_needs_rehash(hashed)


def _fits(hashed: str, password: str) -> bool:
    try:
        return HASHER.verify(hashed, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False

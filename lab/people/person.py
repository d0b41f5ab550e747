"""The user behind the devices of a load, and the weather that they all live in."""

from __future__ import annotations

from dataclasses import dataclass, field

CANDIDATES = 4
"""Passwords that are remembered: a change that is in doubt may be carried out late."""


@dataclass
class Person:
    """A user, as all devices of the user know them.

    Attributes:
        passwords: that which holds first, then those which may hold.
        busy: the things that a device of theirs is changing (see ``life.family``); no other does meanwhile.
        inside: the groups that they are in.
        blocked: the users that they have blocked.
    """

    id: int
    name: str
    passwords: list[str]
    busy: set[tuple[str, int]] = field(default_factory=set)
    inside: set[int] = field(default_factory=set)
    blocked: set[int] = field(default_factory=set)

    def prefer(self, password: str) -> None:
        """Take note that a password holds."""
        others = [one for one in self.passwords if one != password]
        self.passwords = [password, *others][:CANDIDATES]

    def consider(self, password: str) -> None:
        """Take note that a password may hold soon."""
        self.passwords.insert(1, password)


@dataclass
class Weather:
    """Tells the devices of the faults outside.

    Attributes:
        calm_since: since when nothing is broken; infinite while something is.
        still: devices begin nothing but to chat; those at rest come back.
        held: nor do those come back.
    """

    calm_since: float = 0.0
    still: bool = False
    held: bool = False

"""How far a device is in a conversation, by what it told us and what it sent itself."""

from __future__ import annotations


class Position:
    """What a device has of a conversation (see ``ports.Store.move_cursor``): all numbers are seqs, 0 is none.

    Attributes:
        received: up to where it told that it has all.
        own_from: where the last run of its own messages begins.
        own_to: where that ends.
    """

    __slots__ = ("own_from", "own_to", "received")

    def __init__(self) -> None:
        self.received = self.own_from = self.own_to = 0

    def sent(self, seq: int) -> bool:
        """Take note of the device's own message: it counts as received if nothing before it is pending.

        Returns:
            Whether that is new, and no repetition.
        """
        if seq <= self.own_to:
            return False
        if not self.own_to or seq != self.own_to + 1:
            if self.received >= self.own_from - 1:  # the run before this one is not ahead either
                self.received = max(self.received, self.own_to)
            self.own_from = seq
        self.own_to = seq
        return True

    def after(self, cursor: int) -> int:
        """Return up to where the device has the conversation, given its cursor in the database."""
        reached = max(cursor, self.received)
        return max(reached, self.own_to) if reached >= self.own_from - 1 else reached

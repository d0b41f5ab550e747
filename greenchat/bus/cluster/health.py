"""The state of the broker for this node: positions to itself come back, and writes are taken.

===========================  ==============================================  =========
event                        state after it                                  away
===========================  ==============================================  =========
``written``                  the lease is written on the open connection     if silent
``heard``, of this turn      heard now                                       unless not written
``heard``, of an older turn  unchanged: it came by a lost connection         unchanged
``AWAY`` seconds of silence  unchanged                                       yes
``lost`` (subscription)      next turn, not heard                            yes
``refused`` (commands)       next turn, not heard, not written               yes
===========================  ==============================================  =========
"""

from __future__ import annotations

from time import monotonic

AWAY = 0.7
"""Seconds without a position of this node coming back, after which the broker counts as away: it may be
stopped.  The bounds of docs/protocol.md for leaving and blocking rest on it; a false alarm costs a read of
the database."""

SILENT = "it does not answer"
"""The cause of being away, if nothing else is known."""


class BusHealth:
    """The state of the two connections to the broker.

    The broker counts as working while the lease was written on the command connection that is open now, and a
    position that was published since came back by the subscription: so both connections end at one server,
    which takes writes.  The loss of either connection, and a write that is refused, count at once.

    Attributes:
        turn: the number of the position that is expected back; a loss begins a new turn.
        cause: the reason of the last loss, for people.
    """

    def __init__(self) -> None:
        self.turn = 0
        self.cause = SILENT
        self._written = False
        self._heard = float("-inf")

    @property
    def age(self) -> float:
        """Seconds since the newest position came back; infinite after a loss."""
        return monotonic() - self._heard

    @property
    def away(self) -> bool:
        """True unless the broker is known to work now."""
        # Both: a demoted primary still passes positions on, and a write alone does not show where the
        # subscription ends.
        return not self._written or self.age > AWAY

    def written(self) -> None:
        """Note that the lease was written on the connection that is open now."""
        self._written = True

    def heard(self, turn: int) -> None:
        """Note that a position came back; one of an earlier turn went by a connection that is gone."""
        # An older one may have been in the socket when the connection was lost.
        if turn == self.turn:
            self._heard = monotonic()
            self.cause = SILENT

    def lost(self, cause: str) -> None:
        """Note that a subscription ended."""
        self.turn += 1
        self.cause = cause
        # Away at once, not after a silence: the bounds of leaving and blocking count from the loss.
        self._heard = float("-inf")

    def refused(self, cause: str) -> None:
        """Note that the command connection ended, or did not do as asked."""
        self.lost(cause)
        self._written = False

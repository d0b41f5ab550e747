"""Places for connections: who is one too many, in all, of one address, or of those not logged in."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic

from greenchat.errors import RateLimited
from greenchat.metrics import CONNECTIONS_REFUSED
from greenchat.network.connection import Connection
from greenchat.protocol.addresses import host_of, network_of

REFUSED_AT_ONCE = 64
"""Connections over a limit that are refused in good manners (a reason, and time to read it) at a time."""

RETRY_AFTER = (1.0, 5.0)
"""Seconds, spread evenly, after which a refused client may come back; in a wave the second grows."""

WAVE_SECONDS = 5.0
"""The refused of so long are a wave."""

SERVED_A_SECOND = 500
"""Of a wave, so many can be served when they come back: the spread grows by a second for as many."""

LONGEST_WAIT = 15.0
"""Seconds that nobody is asked to wait longer than: in a flood the innocent are asked too."""

SWEEP_AGAIN = 0.1
"""Seconds in which those that have logged in are looked for once: a look at 4,000 takes 0.3 ms, and in a
flood each newcomer would bring one."""


TOO_MANY = "too many connections to this server"


class TooManyConnections(Exception):
    """Raised if a newcomer is one too many, and there is no time for manners.

    Attributes:
        refusal: what it would have been told.
    """

    def __init__(self, refusal: RateLimited) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class Admission:
    """Count who is here, and refuse who is one too many.

    A newcomer enters as soon as its address is known, is seated when there is a connection for it, and
    leaves from wherever it is.  The refused count too while they are here, which is not for long.

    Args:
        most: connections in all.
        of_address: connections of an address (of IPv6: of a /64, which is what one household has,
            RFC 6177); 0 for any number.
        strangers: connections that are not logged in.
        is_exempt: whether a host is not held to what is said of addresses.
        give_way: ends a connection that can be spared for a newcomer, given how many connections the
            newcomer's address has; returns False if there is none.
    """

    def __init__(
        self,
        most: int,
        of_address: int,
        strangers: int,
        is_exempt: Callable[[str], bool],
        give_way: Callable[[int], bool] = lambda here: False,
    ) -> None:
        self._most = most
        self._of_address = of_address
        self._max_strangers = strangers
        self._is_exempt = is_exempt
        self._give_way = give_way
        self._here = 0
        self._refused_here = 0
        self._in_handshake = 0  # have entered, and are not seated yet
        self._addresses: dict[str, int] = {}
        self._strangers: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._swept = float("-inf")
        self._wave = 0
        self._wave_ends = float("-inf")

    def check_handshakes(self, handshakes: int) -> None:
        """Refuse at once who would have to be greeted first, if there are far too many already.

        Args:
            handshakes: how many are under way, whether they have entered or not.

        Raises:
            TooManyConnections
        """
        if self._here - self._in_handshake + handshakes >= self._most + REFUSED_AT_ONCE:
            raise self._refused_at_once(self._told(TOO_MANY))

    def enter(self, address: str) -> RateLimited | None:
        """Count a newcomer in.

        Args:
            address: its ``HOST:PORT``.

        Returns:
            Why it has to leave, None if it may stay.

        Raises:
            TooManyConnections: it has to leave at once, and is not counted.
        """
        key = self._key(address)
        refusal = self._refusal(key, host_of(address))
        if refusal is not None:
            if self._refused_here >= REFUSED_AT_ONCE:
                raise self._refused_at_once(refusal)
            CONNECTIONS_REFUSED.value += 1
            self._refused_here += 1
        self._here += 1
        self._in_handshake += 1
        self._addresses[key] = self._addresses.get(key, 0) + 1
        return refusal

    def register(self, connection: Connection, refusal: RateLimited | None) -> None:
        """Let a connection stand for who has entered."""
        self._in_handshake -= 1
        (self._strangers if refusal is None else self._refused).add(connection)

    def leave(self, connection: Connection) -> None:
        """Count a connection out."""
        self._strangers.discard(connection)
        refused = connection in self._refused
        self._refused.discard(connection)
        self._count_out(connection.address, refused)

    def leave_unregistered(self, address: str, refusal: RateLimited | None) -> None:
        """Count out who has entered and was never seated."""
        self._in_handshake -= 1
        self._count_out(address, refusal is not None)

    def _count_out(self, address: str, refused: bool) -> None:
        self._here -= 1
        self._refused_here -= refused
        key = self._key(address)
        left = self._addresses[key] - 1
        if left:
            self._addresses[key] = left
        else:
            del self._addresses[key]

    def _refused_at_once(self, refusal: RateLimited) -> TooManyConnections:
        CONNECTIONS_REFUSED.value += 1
        return TooManyConnections(refusal)

    def _refusal(self, key: str, host: str) -> RateLimited | None:
        here = self._addresses.get(key, 0)
        if self._of_address and here >= self._of_address and not self._is_exempt(host):
            return self._told("too many connections from your address")
        if self._here >= self._most and not self._give_way(here):
            return self._told(TOO_MANY)
        if self._too_many_strangers() and not self._give_way(here):
            return self._told("too many connections to this server that are not logged in")
        return None

    def _told(self, sentence: str) -> RateLimited:
        """Return what a newcomer is told: the more of them there are, the further they are spread."""
        now = monotonic()
        if now >= self._wave_ends:
            self._wave, self._wave_ends = 0, now + WAVE_SECONDS
        self._wave += 1
        soonest, latest = RETRY_AFTER
        latest = min(LONGEST_WAIT, latest + self._wave / SERVED_A_SECOND)
        return RateLimited(sentence, retry_after=round(random.uniform(soonest, latest), 1))

    def _too_many_strangers(self) -> bool:
        """Say whether one more would be too many; who has logged in is found when it matters, not before."""
        if self._in_handshake + len(self._strangers) < self._max_strangers:
            return False
        now = monotonic()
        if now - self._swept >= SWEEP_AGAIN:
            self._swept = now
            self._strangers = {connection for connection in self._strangers if connection.is_stranger}
        return self._in_handshake + len(self._strangers) >= self._max_strangers

    def _key(self, address: str) -> str:
        """Return by what an address is counted."""
        return network_of(host_of(address))

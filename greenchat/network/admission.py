"""Limits of the number of connections: in all, of one address, and of those that are not logged in."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from greenchat.errors import RateLimited
from greenchat.metrics import CONNECTIONS_REFUSED
from greenchat.protocol.addresses import host_of, network_of

REFUSED_AT_ONCE = 64
"""Refused connections that exist at a time: each is sent a reason, and has time to read it.  Beyond this
number a refused connection is closed at once."""

RETRY_AFTER = (1.0, 5.0)
"""Seconds (shortest, longest) after which a refused client may try again, spread evenly.  The longest grows
with the number of clients that are refused at about the same time."""

WAVE_SECONDS = 5.0
"""Seconds in which refused clients count as one wave: they will come back together."""

SERVED_A_SECOND = 500
"""Clients of a wave that the server can serve in a second: the spread grows by a second for each so many."""

LONGEST_WAIT = 15.0
"""Seconds that a refused client is asked to wait, at most.  In a flood, honest clients are refused too."""

SWEEP_AGAIN = 0.1
"""Seconds between two scans for connections that have logged in.  A scan of 4,000 takes 0.3 ms
(measured), and in a flood each new connection would cause one."""


TOO_MANY = "too many connections to this server"
TOO_MANY_HERE = "too many connections from your address"


class TooManyConnections(Exception):
    """Raised if a new connection is over a limit and is to be closed at once.

    Attributes:
        refusal: the error that the client would have been sent.
    """

    def __init__(self, refusal: RateLimited) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class Admitted(Protocol):
    """A counted connection, as far as this module knows it."""

    __slots__ = ()

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the client that it counts for."""

    @property
    def is_anonymous(self) -> bool:
        """True if nobody is logged in on it."""


class Admission:
    """Counts connections and refuses those over a limit.

    A connection is counted as soon as its address is known (``enter``), which is before a TLS handshake and
    behind a PROXY header.  It is registered when an object stands for it, and counted out when it
    ends, at whatever stage.  A refused connection counts as well, for the short time that it exists.

    Args:
        most: connections in all.
        of_address: connections of one address; 0 for any number.  An IPv6 address counts by its /64 network,
            which is the usual assignment to one site (RFC 6177).
        strangers: connections that are not logged in.
        is_exempt: returns True for a host to which ``of_address`` does not apply.
        give_way: ends a connection to make room for a new one, given how many connections the address of the
            new one has; returns False if no connection can be ended.
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
        self._max_anonymous = strangers
        self._is_exempt = is_exempt
        self._give_way = give_way
        self._count = 0
        self._refused_count = 0
        self._in_handshake = 0  # counted, and not registered yet
        self._addresses: dict[str, int] = {}
        self._anonymous: set[Admitted] = set()
        self._refused: set[Admitted] = set()
        self._swept = float("-inf")
        self._wave = 0
        self._wave_ends = float("-inf")

    def check_handshakes(self, handshakes: int) -> None:
        """Check that a new connection may begin a handshake: there are not far too many connections already.

        Args:
            handshakes: the number of handshakes under way, counted connections or not.

        Raises:
            TooManyConnections: there are; close the connection.
        """
        if self._count - self._in_handshake + handshakes >= self._most + REFUSED_AT_ONCE:
            raise self._refused_at_once(self._error(TOO_MANY))

    def enter(self, address: str, shared: bool = False) -> RateLimited | None:
        """Count a new connection.

        Args:
            address: ``HOST:PORT`` of the client.
            shared: it is a proxy's, for any number of clients: the limit of an address does not hold.

        Returns:
            The error with which to refuse it; None if it is admitted.

        Raises:
            TooManyConnections: it was not counted; close it at once.
        """
        host = host_of(address)
        key = network_of(host)
        refusal = self._refusal(key, host, shared)
        if refusal is not None:
            if self._refused_count >= REFUSED_AT_ONCE:
                raise self._refused_at_once(refusal)
            CONNECTIONS_REFUSED.value += 1
            self._refused_count += 1
        self._count += 1
        self._in_handshake += 1
        self._addresses[key] = self._addresses.get(key, 0) + 1
        return refusal

    def register(self, connection: Admitted, refusal: RateLimited | None) -> None:
        """Take the connection of a client that ``enter`` has counted."""
        self._in_handshake -= 1
        (self._anonymous if refusal is None else self._refused).add(connection)

    def unregister(self, connection: Admitted) -> None:
        """Take back ``register``: the connection stays counted, and another object will stand for it."""
        self._forget(connection)
        self._in_handshake += 1

    def move(self, old: str, new: str, shared: bool) -> RateLimited | None:
        """Count a connection for another client than so far: its proxy has named one.

        Args:
            old: ``HOST:PORT`` that it counts for.
            new: the same from now on.
            shared: as for ``enter``.

        Returns:
            The error with which to refuse the client, which has too many already; then nothing was moved.
        """
        key, host = network_of(host_of(new)), host_of(new)
        if key != network_of(host_of(old)):
            if not shared and self._is_full(key, host):
                return self._error(TOO_MANY_HERE)
            self._addresses[key] = self._addresses.get(key, 0) + 1
            self._leave_address(old)
        return None

    def leave(self, connection: Admitted) -> None:
        """Count a connection out."""
        self._count_out(connection.address, self._forget(connection))

    def leave_unregistered(self, address: str, refusal: RateLimited | None) -> None:
        """Count out a client that ``enter`` has counted and that never got a connection."""
        self._in_handshake -= 1
        self._count_out(address, refusal is not None)

    def _count_out(self, address: str, refused: bool) -> None:
        self._count -= 1
        self._refused_count -= refused
        self._leave_address(address)

    def _forget(self, connection: Admitted) -> bool:
        """Drop the object that stands for a connection; return True if the connection is a refused one."""
        self._anonymous.discard(connection)
        refused = connection in self._refused
        self._refused.discard(connection)
        return refused

    def _leave_address(self, address: str) -> None:
        key = network_of(host_of(address))
        left = self._addresses[key] - 1
        if left:
            self._addresses[key] = left
        else:
            del self._addresses[key]

    def _refused_at_once(self, refusal: RateLimited) -> TooManyConnections:
        CONNECTIONS_REFUSED.value += 1
        return TooManyConnections(refusal)

    def _refusal(self, key: str, host: str, shared: bool) -> RateLimited | None:
        here = self._addresses.get(key, 0)
        if not shared and self._is_full(key, host):
            return self._error(TOO_MANY_HERE)
        if self._count >= self._most and not self._give_way(here):
            return self._error(TOO_MANY)
        if self._too_many_anonymous() and not self._give_way(here):
            return self._error("too many connections to this server that are not logged in")
        return None

    def _is_full(self, key: str, host: str) -> bool:
        """Return True if an address has as many connections as it may have."""
        here = self._addresses.get(key, 0)
        return 0 < self._of_address <= here and not self._is_exempt(host)

    def _error(self, sentence: str) -> RateLimited:
        """Return the error for a refused client; a larger wave is spread over a longer time."""
        now = monotonic()
        if now >= self._wave_ends:
            self._wave, self._wave_ends = 0, now + WAVE_SECONDS
        self._wave += 1
        soonest, latest = RETRY_AFTER
        latest = min(LONGEST_WAIT, latest + self._wave / SERVED_A_SECOND)
        return RateLimited(sentence, retry_after=round(random.uniform(soonest, latest), 1))

    def _too_many_anonymous(self) -> bool:
        """Return True if the limit of connections that are not logged in is reached.

        Nothing tells this class of a login, so connections that have logged in are found only here, when the
        limit seems to be reached.
        """
        if self._in_handshake + len(self._anonymous) < self._max_anonymous:
            return False
        now = monotonic()
        if now - self._swept >= SWEEP_AGAIN:
            self._swept = now
            self._anonymous = {connection for connection in self._anonymous if connection.is_anonymous}
        return self._in_handshake + len(self._anonymous) >= self._max_anonymous

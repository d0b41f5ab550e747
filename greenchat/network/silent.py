"""Admission of connections to the longer time to log in: silent ones, and original clients.

People connect first and read a menu then.  They get an hour instead of seconds, as long as there is
room.  When room is needed the newest connection of the address with the most goes first, so that
an attacker with many connections loses them before a person loses one.
"""

from __future__ import annotations

from typing import Protocol

from greenchat.network.limits import Limits
from greenchat.protocol.addresses import host_of, network_of


class Stranger(Protocol):
    """A connection, as far as this module knows it."""

    __slots__ = ()

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the peer."""

    @property
    def opened(self) -> float:
        """The moment at which the peer came, on the monotonic clock."""

    def make_room(self) -> None:
        """End without a word: nobody knows yet which framing the peer would understand."""


class SilentConnections:
    """The connections that have been granted the longer time.

    Args:
        limits: ``silent_timeout``, ``max_silent``, ``max_silent_per_address``, and which hosts are exempt
            from the last one.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._of_address: dict[str, set[Stranger]] = {}
        self._addresses: dict[Stranger, str] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._addresses)

    def __contains__(self, connection: Stranger) -> bool:
        """Return True if a connection has the longer time."""
        return connection in self._addresses

    @property
    def timeout(self) -> float:
        """Seconds that such a connection may last."""
        return self._limits.silent_timeout

    def grant(self, connection: Stranger) -> bool:
        """Grant a connection the longer time.

        Returns:
            False if its address has as many as it may have, or it is the one that would have to go.
        """
        host = host_of(connection.address)
        key = network_of(host)
        limit = self._limits.max_silent_per_address
        if len(self._of_address.get(key, ())) >= limit and not self._limits.is_exempt(host):
            return False
        self._addresses[connection] = key
        self._of_address.setdefault(key, set()).add(connection)
        if len(self) <= self._limits.max_silent:
            return True
        first = self._first_to_go()
        self.remove(first)
        if first is not connection:
            first.make_room()
        return first is not connection

    def remove(self, connection: Stranger) -> None:
        """Forget a connection that has logged in or ended."""
        key = self._addresses.pop(connection, None)
        if key is not None:
            self._of_address[key].remove(connection)
            if not self._of_address[key]:
                del self._of_address[key]

    def give_way(self, here: int) -> bool:
        """End one connection to make room for a new one, if its address has more of them.

        Without that condition an attacker whose connections never last long enough to be among these
        would evict the people in it, one for each connection above a limit.

        Args:
            here: connections that the address of the new one has, without that one.

        Returns:
            False if there is none.
        """
        if not self._addresses or self._most() <= here + 1:
            return False
        first = self._first_to_go()
        self.remove(first)
        first.make_room()
        return True

    def _first_to_go(self) -> Stranger:
        """Return the newest connection of the address with the most; of several such, the newest of all."""
        most = self._most()
        return max(
            (one for one, address in self._addresses.items() if len(self._of_address[address]) == most),
            key=lambda one: one.opened,  # not by when they were granted it: a tick grants many, in any order
        )

    def _most(self) -> int:
        """Return how many the address with the most has."""
        return max(map(len, self._of_address.values()))

"""Stop reading from a connection while too many of its messages are under way to the database."""

from __future__ import annotations

from typing import Protocol

from greenchat.errors import Busy
from greenchat.model.records import NewEntry
from greenchat.ports.peer import Peer
from greenchat.ports.store import Delivery
from greenchat.service.service import Service


class WeightedDelivery(Delivery, Protocol):
    """A delivery that counts as ``weight`` messages while it is under way."""

    __slots__ = ()

    weight: int


class Flow:
    """The messages of one connection that are under way to the database.

    The connection is not read when ``max_in_flight`` of them are under way, or more than half of the commit
    queue is taken.  It is read again when half of ``max_in_flight`` or fewer are left; with one limit for
    both, reading would stop and go on with each message.

    Args:
        service: shared by the sessions of this node.
        peer: the connection.
    """

    __slots__ = ("_in_flight", "_is_paused", "_peer", "_service")

    def __init__(self, service: Service, peer: Peer) -> None:
        self._service = service
        self._peer = peer
        self._in_flight = 0
        self._is_paused = False

    def append(self, message: NewEntry, delivery: WeightedDelivery) -> None:
        """Give a message to the store; MUST be followed by ``done`` once it is stored or refused."""
        self._in_flight += delivery.weight
        service = self._service
        if service.draining:  # it might be stored after the last word to the other nodes
            delivery.failed(Busy("this server stops", retry_after=1.0))
            return
        queue_is_long = service.store.append(message, delivery)
        if queue_is_long or self._in_flight >= service.limits.max_in_flight:
            self._is_paused = True
            self._peer.pause()

    def done(self, weight: int) -> None:
        """Count a message of this weight as stored or refused."""
        self._in_flight -= weight
        service = self._service
        if self._is_paused and self._in_flight <= service.limits.max_in_flight // 2 and not service.draining:
            self._is_paused = False
            self._peer.resume()

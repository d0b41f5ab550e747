"""A cluster of one node."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from greenchat.model.records import Node, Seat
from greenchat.ports.bus import Bus, BusListener


class LocalBus(Bus):
    """The bus of a server that is alone (a null object)."""

    alone = True
    away = False
    trouble = ""
    lag = 0.0
    former: frozenset[str] = frozenset()

    def open(self, cluster: str, name: str) -> int:
        """Return 0: there is nothing to reach."""
        return 0

    def start(self, node: Node, listener: BusListener, others: Iterable[Node]) -> None:
        """Do nothing: there is no cluster to join."""

    def close(self) -> None:
        """Do nothing: there is no cluster to leave."""

    def refresh(self, userid: int) -> list[Seat]:
        """Return no devices: there is no other node."""
        return []

    def online(self, users: Iterable[int]) -> set[int]:
        """Return no users: there is no other node."""
        return set()

    def nodes(self, users: Iterable[int] | None = None) -> Collection[str]:
        """Return no nodes."""
        return ()

    def send(self, nodes: Collection[str], event: bytes) -> None:
        """Do nothing: there is no other node."""

    def wait_acknowledged(self) -> None:
        """Return at once: there is no other node."""

"""A cluster of one: nobody is anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from greenchat.ports import Event, Node


class LocalBus:
    """The bus of a server that is alone (a null object: see ``ports.Bus``)."""

    def start(self, node: Node, receive: Callable[[Iterable[int], Event], None]) -> None:
        """There is no one to join."""

    def close(self) -> None:
        """There is no one to leave."""

    def claim(self, userid: int, device: str, force: bool) -> None:
        """Nobody else can have it."""

    def release(self, userid: int, device: str) -> None:
        """Nobody else can want it."""

    def online(self, users: Iterable[int]) -> set[int]:
        """Nobody is online elsewhere."""
        return set()

    def publish(self, users: Iterable[int], event: Event, without: int = 0) -> None:
        """Nobody elsewhere is to hear it."""

"""A cluster of one: nobody is anywhere else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence

from greenchat.bus.local.counters import Counters
from greenchat.model.records import Node, Seat
from greenchat.ports.bus import BusListener

FRIENDS = 2_000
"""Users whose friends are remembered: those longest unasked go first."""


class LocalBus(Counters):
    """The bus of a server that is alone (a null object: see ``ports.Bus``)."""

    alone = True
    away = False
    trouble = ""
    lag = 0.0
    former: frozenset[str] = frozenset()

    def __init__(self, url: str = "local://") -> None:
        super().__init__()
        self._friends: OrderedDict[int, frozenset[int]] = OrderedDict()
        self._changes = 0

    def open(self, cluster: str, name: str) -> int:
        """There is nothing to reach."""
        return 0

    def start(self, node: Node, listener: BusListener, others: Iterable[Node]) -> None:
        """There is no one to join."""

    def close(self) -> None:
        """There is no one to leave."""

    def refresh(self, userid: int) -> list[Seat]:
        """Nobody is elsewhere."""
        return []

    def online(self, users: Iterable[int]) -> set[int]:
        """Nobody is online elsewhere."""
        return set()

    def nodes(self, users: Iterable[int] | None = None) -> Collection[str]:
        """There are no others."""
        return ()

    def send(self, nodes: Collection[str], event: bytes) -> None:
        """Nobody elsewhere is to hear it."""

    def settle(self) -> None:
        """Nobody is waited for."""

    def are_friends(self, userid: int, ids: Sequence[int], load: Callable[[], Iterable[int]]) -> set[int]:
        """Return which of some users are a user's friends, from memory if they are there."""
        friends = self._friends.get(userid)
        if friends is None:
            changes = self._changes
            friends = frozenset(load())
            if changes == self._changes:
                self._friends[userid] = friends
                if len(self._friends) > FRIENDS:
                    self._friends.popitem(last=False)
        else:
            self._friends.move_to_end(userid)
        return set(ids) & friends

    def forget_friends(self, userid: int) -> None:
        """Forget what was remembered, and what is just being read."""
        self._changes += 1
        self._friends.pop(userid, None)

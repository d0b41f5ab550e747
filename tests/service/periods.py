"""Memberships and blocks as the database has them: when each began and ended, and which nodes know it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from greenchat.model.records import Node
from tests.service.cluster import Cluster, ClusterNode

Key = tuple[int, int]
"""A group and its member, or a user who blocks and whom."""


class Period:
    """A membership or a block.

    Attributes:
        before: the last seq of the conversation before it began.
        upto: the last seq when it ended; None while it goes on.
        ended_at: the nodes that know of its end.
    """

    def __init__(self, before: int) -> None:
        self.before = before
        self.upto: int | None = None
        self.ended_at: set[Node] = set()

    def holds(self, seq: int) -> bool:
        """Return True if an entry was stored in it."""
        return self.before < seq and (self.upto is None or seq <= self.upto)


class _Word:
    """Word of an end, on its way to the other nodes.

    Attributes:
        source: the node that sent it.
        numbers: of each of the others, up to which number it must take what comes from there.
        times: of each of the others, how often it had looked into the database before.
    """

    def __init__(self, cluster: Cluster, period: Period, source: ClusterNode) -> None:
        self.period = period
        self.source = source.me
        self.numbers = {node.me: cluster.wire(source.me, node.me).sent for node in cluster.nodes.values()}
        self.times = {node.me: node.caught_up for node in cluster.nodes.values()}

    def has_reached(self, node: ClusterNode) -> bool:
        """Return True if a node has taken it, or has looked into the database since."""
        me = node.me
        if me not in self.times or node.caught_up > self.times[me]:
            return True
        return node.bus.has_taken(self.source, self.numbers[me])


class Periods:
    """All periods of one kind.

    Args:
        cluster: whose.
        head: returns the last seq of the conversation that a key is about.
    """

    def __init__(self, cluster: Cluster, head: Callable[[Key], int]) -> None:
        self._cluster = cluster
        self._head = head
        self._all: dict[Key, list[Period]] = defaultdict(list)
        self._words: list[_Word] = []

    def of(self, key: Key) -> list[Period]:
        """Return the periods of a key, in order."""
        return self._all.get(key, [])

    @property
    def keys(self) -> Iterable[Key]:
        """Of what there was a period ever."""
        return self._all.keys()

    def current(self, key: Key) -> Period | None:
        """Return the period that goes on."""
        return next((period for period in self.of(key) if period.upto is None), None)

    def look(self, now: Mapping[Key, int | None]) -> None:
        """Take note of the periods that go on: when each began, None for now.  MUST see every change."""
        for key in list(self._all):
            period = self.current(key)
            if period and (key not in now or now[key] not in (None, period.before)):
                period.upto = self._head(key)
        for key, before in now.items():
            if self.current(key) is None:
                self._all[key].append(Period(self._head(key) if before is None else before))

    def end_was_acknowledged(self, key: Key, node: ClusterNode) -> None:
        """Take note that a node has acknowledged the request that ended a period."""
        ended = [period for period in self.of(key) if period.upto is not None]
        untold = [period for period in ended if not any(word.period is period for word in self._words)]
        if untold:
            untold[0].ended_at.add(node.me)
            self._words.append(_Word(self._cluster, untold[0], node))

    def spread(self) -> None:
        """Take note of the nodes that know of an end by now."""
        for word in self._words:
            for node in self._cluster.nodes.values():
                if node.me not in word.period.ended_at and word.has_reached(node):
                    word.period.ended_at.add(node.me)

    def may_have(self, key: Key, seq: int, node: Node) -> bool:
        """Return True if an entry may be handed to somebody at a node, by a membership that it may go by."""
        return any(period.before < seq and node not in period.ended_at for period in self.of(key))

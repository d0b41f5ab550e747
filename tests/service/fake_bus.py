"""A bus for nodes in one process, on which the test decides what arrives, when, and whether at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from greenchat.bus.cluster.directory import Directory
from greenchat.bus.local.counters import LocalCounters
from greenchat.errors import Busy
from greenchat.model.guards import Guard
from greenchat.model.records import Node, Seat
from greenchat.ports.bus import Bus, BusListener
from greenchat.ports.counters import Counters
from greenchat.ports.friends import FriendsCache

if TYPE_CHECKING:
    from tests.service.cluster import Cluster

T = TypeVar("T")

LEASE = 5.0
RETURN = 3.0
TRY_AGAIN = 0.5
"""Seconds, as greenchat.bus has them."""


class Item(NamedTuple):
    """Something on its way: an event, or that a user has come or gone, or a node."""

    number: int
    event: bytes | None = None
    user: int | None = None
    here: bool = False
    leaving: bool = False
    seen: bool = False
    """The sender has taken something of the receiver's."""

    @property
    def is_position(self) -> bool:
        return self.event is None and self.user is None and not self.leaving


class Wire:
    """What is on its way from one node to another.

    Attributes:
        sent: the number of the last item.
        held: the test keeps all back.
    """

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.sent = 0
        self.held = False


class _Neighbour:
    """Another node, as the bus of one knows it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.got: int | None = None
        self.taken: int | None = None
        self.greeted = False
        self.reading = False
        self.lost = False
        self.since: dict[int, bool] = {}


class FakeBus(Bus):
    """The bus of one node of a cluster; does no more than the port promises.

    Attributes:
        node: whose it is.
        listener: that node's.
        away: as the port says; the test decides it by ``cut`` and ``mend``, ``deafen`` and ``hear``.
        former: as the port says; the test decides it.
    """

    alone = False
    lag = 0.0
    former: frozenset[str] = frozenset()

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turns = cluster.turns
        self._going_out: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self.neighbours: dict[str, _Neighbour] = {}
        self._directory = Directory()
        self._unclaimed: set[int] = set()
        self._open = False
        self._is_cut = False
        self._is_deaf = False
        self._is_silent = False

    # docs of the public methods: ports.Bus

    @property
    def away(self) -> bool:
        return self._is_cut or self._is_silent

    @property
    def trouble(self) -> str:
        return "it is cut off" if self.away else ""

    def open(self, cluster: str, name: str) -> int:
        return 0

    def start(self, node: Node, listener: BusListener, others: Iterable[Node]) -> None:
        self.node = node
        self.listener = listener
        self._open = True
        self._cluster.seats[node] = {}
        for other in self._cluster.seats:
            if other != node:
                self._meet(other)

    def close(self) -> None:
        for neighbour in self.neighbours.values():
            self._put(neighbour, leaving=True)
        left: list[bool] = []
        self._send(partial(self._leave, left), lambda: left.append(False))
        self._open = False
        self._turns.wait(lambda: left)

    def _leave(self, left: list[bool]) -> None:
        self._cluster.seats.pop(self.node, None)
        left.append(True)

    def refresh(self, userid: int) -> list[Seat]:
        if not self._open:
            return []
        if self.away:
            self._unclaimed.add(userid)
            raise Busy
        devices = self.listener.devices(userid)
        for neighbour in self.neighbours.values():
            self._put(neighbour, user=userid, here=bool(devices))
        return self.ask(partial(self._claim, userid, devices, set(self.neighbours)))

    def _claim(self, userid: int, devices: list[str], names: set[str]) -> list[Seat]:
        seats = self._cluster.seats
        if self.node in seats:
            seats[self.node][userid] = devices
        return [
            Seat(node.name, device)
            for node, users in seats.items()
            if node.name in names
            for device in users.get(userid, ())
        ]

    def online(self, users: Iterable[int]) -> set[int]:
        return self._directory.online(users)

    def nodes(self, users: Iterable[int] | None = None) -> Collection[str]:
        return list(self.neighbours) if users is None else self._directory.nodes_of(users)

    def send(self, nodes: Collection[str], event: bytes) -> None:
        for name in nodes:
            if name in self.neighbours:
                self._put(self.neighbours[name], event=event)

    def wait_acknowledged(self) -> None:
        sent = {
            neighbour: self._cluster.wire(self.node, neighbour.node).sent
            for neighbour in self.neighbours.values()
            if neighbour.greeted
        }
        self._turns.wait(
            lambda: self.away or not self._open or all(self._has_taken(*entry) for entry in sent.items())
        )

    def _has_taken(self, neighbour: _Neighbour, number: int) -> bool:
        if self.neighbours.get(neighbour.node.name) is not neighbour:
            return True
        me = self._cluster.bus(neighbour.node).neighbours.get(self.node.name)
        return me is not None and me.taken is not None and me.taken >= number

    def has_taken(self, source: Node, number: int) -> bool:
        """Return True if this node has taken what another one has sent, up to a number."""
        there = self.neighbours.get(source.name)
        return there is not None and there.node == source and (there.taken or 0) >= number

    # -- One connection: what one asks and sends goes out in this order

    def _check(self) -> None:
        if self._is_cut:
            raise Busy

    def ask(self, call: Callable[[], T]) -> T:
        """Return the answer of what all nodes share.  May switch."""
        self._check()
        answers: list[T | None] = []
        self._send(lambda: answers.append(call()), lambda: answers.append(None))
        self._turns.wait(lambda: answers)
        self._check()
        if answers[0] is None:
            raise Busy
        return answers[0]

    def _send(self, call: Callable[[], object], lose: Callable[[], object] = lambda: None) -> None:
        """Have something called when it gets out, or something else if it does not."""
        if not self._going_out:
            self._turns.spawn(self._go_out, owner=self)
        self._going_out.append((call, lose))

    def _go_out(self) -> None:
        calls, self._going_out = self._going_out, []
        for call, lose in calls:
            (lose if self._is_cut else call)()

    def _put(self, neighbour: _Neighbour, **content: Any) -> None:
        if not self._open:
            return  # nothing goes out after the word that the node leaves
        wire = self._cluster.wire(self.node, neighbour.node)
        item = Item(0, seen=neighbour.taken is not None, **content)
        wire.sent += not item.is_position
        self._send(partial(wire.items.append, item._replace(number=wire.sent)))

    # -- Events

    def send_positions(self) -> None:
        """Show all how far one has sent, as each second does."""
        if self._open:
            for neighbour in self.neighbours.values():
                self._put(neighbour)

    def take(self, source: Node) -> None:
        """Take the next of what comes from a node, if one can."""
        item = self._cluster.wire(source, self.node).items.popleft()
        if self._is_cut or self._is_deaf or not self._open:
            return
        neighbour = self.neighbours.get(source.name)
        if neighbour is None or neighbour.node.incarnation < source.incarnation:
            neighbour = self._meet(source)
        if neighbour.node != source:
            return
        lost = neighbour.got is None or item.number != neighbour.got + (not item.is_position)
        neighbour.got = item.number
        neighbour.lost |= lost
        self._make(neighbour, item)
        if item.leaving:
            self._drop(source.name, RETURN)
            self._turns.later(RETURN, self._clean_up, source, owner=self)
        elif lost:
            self.recover(neighbour)
        elif not neighbour.reading:
            neighbour.taken = item.number

    def _make(self, neighbour: _Neighbour, item: Item) -> None:
        if item.seen and not neighbour.greeted:
            neighbour.greeted = True
            self.have_caught_up()
        if item.user is not None:
            if self._directory.put(neighbour.node.name, item.user, item.here):
                self.listener.moved([item.user], 0)
            neighbour.since[item.user] = item.here
        if item.event is not None:
            self.listener.receive(item.event)

    def recover(self, neighbour: _Neighbour) -> None:
        """Find out what was lost."""
        neighbour.lost = True
        if not neighbour.reading:
            neighbour.reading = True
            self._turns.spawn(self._read, neighbour, owner=self)

    def _read(self, neighbour: _Neighbour) -> None:
        name = neighbour.node.name
        while neighbour.lost and self.neighbours.get(name) is neighbour:
            neighbour.lost, neighbour.since = False, {}
            try:
                users = self.ask(partial(self._users, neighbour.node))
            except Busy:
                neighbour.lost = True
                self._turns.sleep(TRY_AGAIN)
                continue
            if self.neighbours.get(name) is not neighbour:
                return
            if neighbour.node not in self._cluster.seats:
                neighbour.lost = True
                self.listener.catch_up()
                self._turns.sleep(TRY_AGAIN)
                continue
            for userid, here in neighbour.since.items():
                (users.add if here else users.discard)(userid)
            self.listener.moved(self._directory.replace(name, users), 0)
            if not neighbour.lost:
                neighbour.taken = neighbour.got or 0
            self.listener.catch_up()
        neighbour.reading = False

    def _users(self, node: Node) -> set[int]:
        return {userid for userid, devices in self._cluster.seats.get(node, {}).items() if devices}

    def have_caught_up(self) -> None:
        """Have the database looked into."""
        self._turns.spawn(self.listener.catch_up, owner=self)

    # -- Who is there

    def _meet(self, node: Node) -> _Neighbour:
        before = self.neighbours.get(node.name)
        if before is not None:
            self._drop(node.name, RETURN)
            self._turns.later(RETURN, self._clean_up, before.node, owner=self)
        neighbour = self.neighbours[node.name] = _Neighbour(node)
        self._cluster.wire(self.node, node).sent += 1  # what it was not told before counts as lost
        self._put(neighbour)
        return neighbour

    def _drop(self, name: str, seconds: float) -> None:
        neighbour = self.neighbours.pop(name, None)
        if neighbour is not None and (neighbour.lost or neighbour.reading):
            self.have_caught_up()
        self.listener.moved(self._directory.drop(name), seconds)

    def bury(self, node: Node) -> None:
        """Take note that a node's lease has run out."""
        if self.neighbours.get(node.name, self).node == node:
            self._drop(node.name, 0)
            self.have_caught_up()
        self._turns.spawn(self._clean_up, node, owner=self)

    def _clean_up(self, node: Node) -> None:
        """Mark offline who was at a node, unless another one has, or is at it and alive."""
        cleaner = self._cluster.cleaners.setdefault(node, self)
        if cleaner is not self and cleaner in self._cluster.buses():
            return
        self._cluster.cleaners[node] = self
        try:
            self.listener.gone(node)
        except Busy:
            self._turns.later(TRY_AGAIN, self._clean_up, node, owner=self)

    # -- Being cut off

    def tick(self) -> None:
        """Do what a second brings."""
        if not self._is_cut:
            if self.node not in self._cluster.seats:
                self._take_lease()
            self._look_around()
        if self.away:
            self.have_caught_up()
        else:
            self.send_positions()
            self._turns.spawn(self._claim_again, owner=self)

    def _claim_again(self) -> None:
        with suppress(Busy):
            while self._unclaimed:
                self.refresh(self._unclaimed.pop())

    def _take_lease(self) -> None:
        """Take a lease again that has run out, or was lost; others may have marked the users here offline."""
        self._turns.later(LEASE, self.listener.catch_up, owner=self)
        self.have_caught_up()
        users = self.listener.users()
        self._cluster.seats[self.node] = {userid: self.listener.devices(userid) for userid in users}

    def _look_around(self) -> None:
        """Meet the nodes that have come."""
        for node in self._cluster.seats:
            there = self.neighbours.get(node.name)
            if node.name != self.node.name and (there is None or there.node.incarnation < node.incarnation):
                self._meet(node)

    def cut(self) -> None:
        """Lose the connection to all others: what comes and goes is lost."""
        self._is_cut = True

    def mend(self) -> None:
        """Have it again."""
        self._is_cut = False
        self._take_lease()
        self._look_around()
        for neighbour in self.neighbours.values():
            self._cluster.wire(self.node, neighbour.node).sent += 1  # they are to notice
            self.recover(neighbour)

    def repair(self) -> None:
        """End either trouble, if there is any."""
        if self._is_cut:
            self.mend()
        if self._is_silent:
            self.hear()

    def deafen(self) -> None:
        """Lose the subscription: what comes is lost, until ``hear``."""
        self._is_deaf = self._is_silent = True
        self._cluster.lose(target=self.node.name)

    def hear(self) -> None:
        """Subscribe again; the bus counts as away until this node's own position has come back."""
        self._is_deaf = False
        for neighbour in self.neighbours.values():
            self.recover(neighbour)
        self.have_caught_up()
        self._turns.spawn(self._heard, owner=self)

    def _heard(self) -> None:
        self._is_silent = self._is_deaf


class FakeCounters(Counters):
    """The counters that all nodes share, asked by one of them; its own while it is cut off.

    Args:
        bus: that node's.
        shared: all nodes'.
        clock: seconds.
    """

    def __init__(self, bus: FakeBus, shared: Counters, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._shared = shared
        self._here = LocalCounters(clock)

    def count(self, key: str, seconds: float) -> int:
        return self._here.count(key, seconds)

    def begin_attempt(self, guards: Sequence[Guard], attempt: str) -> float | None:
        try:
            return self._bus.ask(lambda: [self._shared.begin_attempt(guards, attempt)])[0]
        except Busy:
            return self._here.begin_attempt(guards, attempt)

    def end_attempt(self, guards: Sequence[Guard], attempt: str, right: bool | None) -> list[float]:
        here = self._here.end_attempt(guards, attempt, right)
        try:
            return self._bus.ask(partial(self._shared.end_attempt, guards, attempt, right))
        except Busy:
            return here


class NoCache(FriendsCache):
    """Friends are read from the store each time."""

    def are_friends(self, userid: int, ids: Sequence[int], load: Callable[[], Iterable[int]]) -> set[int]:
        return set(load()).intersection(ids)

    def forget_friends(self, userid: int) -> None:
        """There is no cache."""

"""A cluster in one process: several nodes over one database, and a bus on which the test decides.

Nothing happens but in the turns that the test gives (see ``turns.Turns``): each access to the
database or to the directory may let others go first, each event arrives when the test says so, or
never.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, make_url

from greenchat.bus.counters import Counters
from greenchat.bus.directory import Directory
from greenchat.config import Settings
from greenchat.data import SqlStore
from greenchat.data.sqlite import SqliteDatabase
from greenchat.errors import Busy
from greenchat.ports import BusListener, Node, Seat
from greenchat.protocol.messages import MsgId
from greenchat.service.neighbours import Neighbours
from greenchat.service.session import Session
from tests.service.fakes import FakePeer
from tests.service.turns import Turns
from tests.service.world import NOON, Person, World

T = TypeVar("T")

LEASE = 5.0
RETURN = 3.0
TRY_AGAIN = 0.5
"""Seconds, as greenchat.bus.redis has them."""


# -- The database


class SharedDatabase(SqliteDatabase):
    """A database in memory that all nodes use, in transactions between which others have theirs."""

    parallel = True
    _engine: ClassVar[Engine | None] = None
    """Of all such databases, so that no statement is compiled twice."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(make_url("sqlite://"))
        self._turns = turns
        self.away = False

    def open(self) -> None:
        if not self._connections:
            super().open()

    def _connect(self, begin: str) -> Connection:
        if self._engine is None:
            SharedDatabase._engine = super()._connect(begin).engine
            assert self._engine
        return self._engine.connect()

    def close(self) -> None:
        """It outlives each node."""

    def patiently(self, transaction: Callable[[], T]) -> T:
        self._turns.switch()
        if self.away:
            raise OSError(5, "the test broke the database")
        result = transaction()
        self._turns.switch()
        return result


class _Waiter:
    """Where an operation of the committer leaves its result."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._outcome: tuple[Any, BaseException | None] | None = None

    def set(self, value: Any) -> None:
        self._outcome = value, None

    def set_exception(self, exception: BaseException) -> None:
        self._outcome = None, exception

    def get(self) -> Any:
        self._turns.wait(lambda: self._outcome)
        assert self._outcome
        value, error = self._outcome
        if error is not None:
            raise error
        return value


class NodeRunner:
    """Runs the store of a node in turns (see ``data.runner.Runner``)."""

    def __init__(self, turns: Turns, owner: object) -> None:
        self._turns = turns
        self._owner = owner
        self._works = False

    def start(self, work: Callable[[], object]) -> None:
        self._work = work

    def wake(self) -> None:
        if not self._works:
            self._works = True
            self._turns.spawn(self._run, owner=self._owner)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._works = False

    def waiter(self) -> _Waiter:
        return _Waiter(self._turns)

    def read(self, call: Callable[..., T], *args: Any) -> T:
        return call(*args)

    def write(self, call: Callable[..., T], *args: Any) -> T:
        return call(*args)

    def breathe(self) -> None:
        self._turns.switch()

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        self._turns.later(seconds, call, owner=self._owner)

    def close(self) -> None:
        self._work()


# -- The bus


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


class FakeBus(Counters):
    """``ports.Bus`` for one node of a cluster; does no more than is promised there."""

    alone = False

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster
        self._turns = cluster.turns
        self._going_out: list[Callable[[], object]] = []
        self._neighbours: dict[str, _Neighbour] = {}
        self._directory = Directory()
        self._open = False
        self.away = False

    # docs of the public methods: ports.Bus

    def start(self, node: Node, listener: BusListener, others: Iterable[Node]) -> None:
        self.node = node
        self._listener = listener
        self._open = True
        self._cluster.seats[node] = {}
        for other in self._cluster.seats:
            if other != node:
                self._meet(other)

    def close(self) -> None:
        for neighbour in self._neighbours.values():
            self._put(neighbour, leaving=True)
        self._send(partial(self._cluster.seats.pop, self.node, None))
        self._open = False

    def refresh(self, userid: int) -> list[Seat]:
        if not self._open:
            return []
        self._check()
        devices = self._listener.devices(userid)
        for neighbour in self._neighbours.values():
            self._put(neighbour, user=userid, here=bool(devices))
        return self._ask(partial(self._claim, userid, devices, set(self._neighbours)))

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
        return list(self._neighbours) if users is None else self._directory.nodes_of(users)

    def send(self, nodes: Collection[str], event: bytes) -> None:
        for name in nodes:
            if name in self._neighbours:
                self._put(self._neighbours[name], event=event)

    def settle(self) -> None:
        sent = {
            neighbour: self._cluster.wire(self.node, neighbour.node).sent
            for neighbour in self._neighbours.values()
            if neighbour.greeted
        }
        self._turns.wait(lambda: self.away or all(self._has_taken(*entry) for entry in sent.items()))

    def _has_taken(self, neighbour: _Neighbour, number: int) -> bool:
        if self._neighbours.get(neighbour.node.name) is not neighbour:
            return True
        me = self._cluster.bus(neighbour.node)._neighbours.get(self.node.name)
        return me is not None and me.taken is not None and me.taken >= number

    def are_friends(self, userid: int, ids: Sequence[int], load: Callable[[], Iterable[int]]) -> set[int]:
        return set(load()).intersection(ids)

    def forget_friends(self, userid: int) -> None:
        """There is no cache."""

    # -- One connection: what one asks and sends goes out in this order

    def _check(self) -> None:
        if self.away:
            raise Busy

    def _ask(self, call: Callable[[], T]) -> T:
        self._check()
        answers: list[T] = []
        self._send(lambda: answers.append(call()))
        self._turns.wait(lambda: answers or self.away)
        self._check()
        return answers[0]

    def _send(self, *calls: Callable[[], object]) -> None:
        if not self._going_out:
            self._turns.spawn(self._go_out, owner=self)
        self._going_out.extend(calls)

    def _go_out(self) -> None:
        calls, self._going_out = self._going_out, []
        for call in calls:
            if not self.away:
                call()

    def _put(self, neighbour: _Neighbour, **content: Any) -> None:
        wire = self._cluster.wire(self.node, neighbour.node)
        item = Item(0, seen=neighbour.taken is not None, **content)
        wire.sent += not item.is_position
        self._send(partial(wire.items.append, item._replace(number=wire.sent)))

    # -- Events

    def send_positions(self) -> None:
        """Show all how far one has sent, as each second does."""
        if self._open:
            for neighbour in self._neighbours.values():
                self._put(neighbour)

    def take(self, source: Node) -> None:
        """Take the next of what comes from a node, if one can."""
        item = self._cluster.wire(source, self.node).items.popleft()
        if self.away or not self._open:
            return
        neighbour = self._neighbours.get(source.name)
        if neighbour is None or neighbour.node.incarnation < source.incarnation:
            neighbour = self._meet(source)
        if neighbour.node != source:
            return
        lost = neighbour.got is None or item.number != neighbour.got + (not item.is_position)
        neighbour.got = item.number
        self._make(neighbour, item)
        if item.leaving:
            self._turns.later(RETURN, self._clean_up, source, self._drop(source.name), owner=self)
        elif lost:
            self.recover(neighbour)
        elif not neighbour.reading:
            neighbour.taken = item.number

    def _make(self, neighbour: _Neighbour, item: Item) -> None:
        if item.seen and not neighbour.greeted:
            neighbour.greeted = True
            self.have_caught_up()
        if item.user is not None:
            self._directory.put(neighbour.node.name, item.user, item.here)
            neighbour.since[item.user] = item.here
        if item.event is not None:
            self._listener.receive(item.event)

    def recover(self, neighbour: _Neighbour) -> None:
        """Find out what was lost."""
        neighbour.lost = True
        if not neighbour.reading:
            neighbour.reading = True
            self._turns.spawn(self._read, neighbour, owner=self)

    def _read(self, neighbour: _Neighbour) -> None:
        name = neighbour.node.name
        while neighbour.lost and self._neighbours.get(name) is neighbour:
            neighbour.lost, neighbour.since = False, {}
            try:
                users = self._ask(partial(self._users, neighbour.node))
            except Busy:
                neighbour.lost = True
                self._turns.sleep(TRY_AGAIN)
                continue
            if self._neighbours.get(name) is not neighbour:
                return
            if users is not None:
                self._directory.replace(name, users)
            for userid, here in neighbour.since.items():
                self._directory.put(name, userid, here)
            if not neighbour.lost:
                neighbour.taken = neighbour.got or 0
            self._listener.catch_up()
        neighbour.reading = False

    def _users(self, node: Node) -> set[int] | None:
        seats = self._cluster.seats.get(node)
        return None if seats is None else {userid for userid, devices in seats.items() if devices}

    def have_caught_up(self) -> None:
        """Have the database looked into."""
        self._turns.spawn(self._listener.catch_up, owner=self)

    # -- Who is there

    def _meet(self, node: Node) -> _Neighbour:
        before = self._neighbours.get(node.name)
        if before is not None:
            self._turns.later(RETURN, self._clean_up, before.node, self._drop(node.name), owner=self)
        neighbour = self._neighbours[node.name] = _Neighbour(node)
        self._cluster.wire(self.node, node).sent += 1  # what it was not told before counts as lost
        self._put(neighbour)
        return neighbour

    def _drop(self, name: str) -> set[int]:
        self._neighbours.pop(name, None)
        users = self._directory.users(name)
        self._directory.drop(name)
        return users

    def bury(self, node: Node) -> None:
        """Take note that a node's lease has run out."""
        users: set[int] = set()
        if self._neighbours.get(node.name, self).node == node:
            users = self._drop(node.name)
            self.have_caught_up()
        self._turns.spawn(self._clean_up, node, users, owner=self)

    def _clean_up(self, node: Node, users: set[int]) -> None:
        """Mark offline who was at a node, unless another one has, or is at it and alive."""
        cleaner = self._cluster.cleaners.setdefault(node, self)
        if cleaner is not self and cleaner in self._cluster.buses():
            return
        self._cluster.cleaners[node] = self
        try:
            self._listener.gone(node, users)
        except Busy:
            self._turns.later(TRY_AGAIN, self._clean_up, node, users, owner=self)

    # -- Being cut off

    def tick(self) -> None:
        """Do what a second brings."""
        if self.away:
            self.have_caught_up()
        else:
            self.send_positions()

    def cut(self) -> None:
        """Lose the connection to all others: what comes and goes is lost."""
        self.away = True

    def mend(self) -> None:
        """Have it again."""
        self.away = False
        if self.node not in self._cluster.seats:
            self._turns.later(LEASE, self._listener.catch_up, owner=self)
        users = self._listener.users()
        self._cluster.seats[self.node] = {userid: self._listener.devices(userid) for userid in users}
        for node in self._cluster.seats:
            there = self._neighbours.get(node.name)
            if node.name != self.node.name and (there is None or there.node.incarnation < node.incarnation):
                self._meet(node)
        for neighbour in self._neighbours.values():
            self._cluster.wire(self.node, neighbour.node).sent += 1  # they are to notice
            self.recover(neighbour)
        self.have_caught_up()


# -- The people


class LinePeer(FakePeer):
    """The other end of a connection, whose handler is told of its end."""

    def __init__(self, wake: Callable[[], None], classic: bool, **peer: str) -> None:
        super().__init__(classic, **peer)
        self._wake = wake

    def close(self, reason: str, retry_after: float | None = None) -> None:
        super().close(reason, retry_after)
        self._wake()

    def resume(self) -> None:
        super().resume()
        self._wake()


class Line(Person):
    """A connection to a node: its frames are handled one after the other, in turns of its own."""

    def __init__(self, node: ClusterNode, classic: bool = False, **peer: str) -> None:
        super().__init__(node, classic, **peer)
        self.node = node
        self.peer = LinePeer(self._wake, classic, **peer)
        self.session = Session(node.service, self.peer)
        self._inbox: deque[bytes] = deque()
        self._handles = False
        self._over = False

    def put(self, msgid: int, **fields: Any) -> None:
        """Send a frame, and leave it unread."""
        self._inbox.append(json.dumps({"msgid": msgid} | fields).encode())
        self._wake()

    def raw(self, frame: bytes) -> None:
        self._inbox.append(frame)
        self._wake()
        self.world.commit()

    def leave(self) -> None:
        """Lose the connection."""
        self.peer.close("closed by peer")
        self.world.commit()

    def _wake(self) -> None:
        if not self._handles and not self._over:
            self._handles = True
            self.node.turns.spawn(self._handle, owner=self.node.bus)

    def _handle(self) -> None:
        while self._inbox and self.peer.closed is None and not self.peer.paused:
            self.session.receive(self._inbox.popleft())
        if self.peer.closed is not None:
            self._over = True
            self.session.closed(self.peer.closed)
        self._handles = False


# -- The nodes


class ClusterNode(World):
    """A node of a cluster.

    Attributes:
        bus: its bus; who owns what it does.
    """

    def __init__(self, cluster: Cluster, name: str, incarnation: int) -> None:
        self.cluster = cluster
        self.turns = cluster.turns
        self.me = Node(name, incarnation)
        self.settings = cluster.settings
        self.lines: list[Line] = []
        self.start()

    @property
    def time(self) -> float:
        """Unix seconds."""
        return NOON + self.turns.now

    def start(self) -> None:
        limits = self.settings
        self.bus = FakeBus(self.cluster)
        self.store = SqlStore(
            self.cluster.database,
            NodeRunner(self.turns, self.bus),
            max_members=limits.max_members,
            max_devices=limits.max_devices,
            max_queue=limits.commit_queue,
        )
        self.store.start()
        self.serve(self.bus, self.me, partial(self.turns.later, owner=self.bus))
        self.store.close_node(self.me, self.service.now())
        self.superseded: list[bool] = []
        listener = Neighbours(self.service, lambda: self.superseded.append(True))
        self.bus.start(self.me, listener, self.store.nodes())

    def connect(self, classic: bool = False, **peer: str) -> Line:
        self.lines.append(Line(self, classic, **peer))
        return self.lines[-1]

    def commit(self) -> None:
        """Let everything go on that can."""
        self.cluster.run()

    def begin(self, who: Person | int, **fields: Any) -> Line:
        """Let a user begin to log in, on a new connection."""
        line = self.connect()
        line.put(
            MsgId.LOGIN, id=who if isinstance(who, int) else who.id, password="pw", cid="login", **fields
        )
        return line

    def stop(self) -> None:
        """End as SIGTERM does."""
        self.service.draining = True
        self.store.close_node(self.me, self.service.now())
        self.bus.close()
        for line in self.lines:
            line.peer.close("shutdown")
        self.cluster.run()
        self.cluster.forget(self)

    def kill(self) -> None:
        """End as SIGKILL does."""
        self.turns.end(self.bus)
        self.cluster.forget(self)
        for line in self.lines:
            line.peer.closed = line.peer.closed or "reset"


class Cluster:
    """Nodes over one database.

    Attributes:
        nodes: those that run, by name.
        seats: who is online at each node whose lease lives, as the directory has it.
        cleaners: which bus cleans up after a node, or has.
    """

    def __init__(self, *names: str, **limits: Any) -> None:
        self.settings = Settings(**limits)
        self.turns = Turns()
        self.database = SharedDatabase(self.turns)
        self.seats: dict[Node, dict[int, list[str]]] = {}
        self.cleaners: dict[Node, FakeBus] = {}
        self.nodes: dict[str, ClusterNode] = {}
        self._buses: dict[Node, FakeBus] = {}
        self._wires: dict[tuple[Node, Node], Wire] = {}
        self._incarnations = 0
        for name in names:
            self.start(name)

    def __getitem__(self, name: str) -> ClusterNode:
        return self.nodes[name]

    def close(self) -> None:
        self.turns.close()
        SqliteDatabase.close(self.database)

    def start(self, name: str) -> ClusterNode:
        """Start a node, and let all meet."""
        self._incarnations += 1
        node = ClusterNode(self, name, self._incarnations)
        self.nodes[name] = node
        self._buses[node.me] = node.bus
        self.run()
        self.pass_time(1)
        return node

    def forget(self, node: ClusterNode) -> None:
        """Take note that a node runs no more."""
        if self.nodes.get(node.me.name) is node:
            del self.nodes[node.me.name]

    def bury(self, node: ClusterNode) -> None:
        """Let the lease of a node run out."""
        self.seats.pop(node.me, None)
        for other in self.nodes.values():
            if other is not node and not other.bus.away:
                other.bus.bury(node.me)

    def bus(self, node: Node) -> FakeBus:
        """Return the bus of a node, dead or alive."""
        return self._buses[node]

    def buses(self) -> list[FakeBus]:
        """Return the buses of the nodes that run."""
        return [node.bus for node in self.nodes.values()]

    # -- Wires

    def wire(self, source: Node, target: Node) -> Wire:
        """Return what is on its way from one node to another."""
        return self._wires.setdefault((source, target), Wire())

    def wires(self, source: str = "", target: str = "") -> list[Wire]:
        """Return the wires from a node to another; of none, from or to all."""
        return [
            wire
            for (one, other), wire in self._wires.items()
            if source in ("", one.name) and target in ("", other.name)
        ]

    @contextmanager
    def held(self, source: str = "", target: str = "") -> Iterator[None]:
        """Keep back what is on its way from one node to another."""
        wires = self.wires(source, target)
        for wire in wires:
            wire.held = True
        try:
            yield
        finally:
            for wire in wires:
                wire.held = False

    def lose(self, source: str = "", target: str = "") -> None:
        """Lose what is on its way from one node to another."""
        for wire in self.wires(source, target):
            wire.items.clear()

    def arrivals(self) -> list[tuple[Node, Node]]:
        """Return from where to where something is on its way that may arrive now."""
        alive = {node.me for node in self.nodes.values()}
        return [
            ends for ends, wire in self._wires.items() if wire.items and not wire.held and ends[1] in alive
        ]

    def arrive(self, source: Node, target: Node) -> None:
        """Let the next item arrive."""
        bus = self._buses[target]
        with self.turns.owned(bus):
            bus.take(source)

    # -- Time

    def run(self) -> None:
        """Let everything go on that can, in the order of its coming."""
        while self.turns.run() or self.arrivals():
            for ends in self.arrivals():
                self.arrive(*ends)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, second by second, and all that it brings."""
        until = self.turns.now + seconds
        while self.turns.now < until:
            step = min(1.0, until - self.turns.now, self.turns.due() or 1.0)
            whole = int(self.turns.now) < int(self.turns.now + step)
            self.turns.pass_time(step)
            if whole:
                self.tick()
            self.run()

    def tick(self) -> None:
        """Do what a second brings to each node."""
        for node in self.nodes.values():
            node.bus.tick()

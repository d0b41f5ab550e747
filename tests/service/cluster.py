"""A cluster in one process: several nodes over one database, and a bus on which the test decides.

Nothing happens but in the turns that the test gives (see ``turns.Turns``): each access to the
database or to the directory may let others go first, each event arrives when the test says so, or
never.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from greenchat.bus import Backend
from greenchat.bus.local.counters import LocalCounters
from greenchat.config import Settings
from greenchat.data import SqlStore
from greenchat.data.engine.sqlite import SqliteDatabase
from greenchat.errors import Busy
from greenchat.model.records import Node, Share
from greenchat.ports.timer import Later
from greenchat.protocol.messages import MsgId
from greenchat.service.node_session import NodeSession
from greenchat.service.session import Session
from tests.service.fake_bus import FakeBus, FakeCounters, NoCache, Wire
from tests.service.fakes import FakePeer, PlainPasswords
from tests.service.shared import NodeRunner, SharedDatabase
from tests.service.turns import Task, Turns
from tests.service.world import LOG_FRAMES, NOON, Person, World

# -- The people


class LinePeer(FakePeer):
    """The other end of a connection, whose handler is told of its end."""

    def __init__(self, wake: Callable[[], None], terminator: bytes, **peer: str) -> None:
        super().__init__(terminator, **peer)
        self._wake = wake

    def close(self, reason: str, retry_after: float | None = None) -> None:
        super().close(reason, retry_after)
        self._wake()

    def resume(self) -> None:
        super().resume()
        self._wake()


class Line(Person):
    """A connection to a node: its frames are handled one after the other, in turns of its own.

    Attributes:
        over: the session was told of the end.
    """

    def __init__(self, node: ClusterNode, classic: bool = False, **peer: str) -> None:
        super().__init__(node, classic, **peer)
        self.node = node
        self.peer = LinePeer(self._wake, self.terminator, **peer)
        self.session = Session(node.service, self.peer, self.session.wire)
        self._inbox: deque[bytes] = deque()
        self._handles = False
        self.over = False

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
        if not self._handles and not self.over:
            self._handles = True
            self.node.turns.spawn(self._handle, owner=self.node.bus)

    def _handle(self) -> None:
        while self._inbox and self.peer.closed is None and not self.peer.paused:
            self.session.receive(self._inbox.popleft())
        if self.peer.closed is not None:
            self.session.closed(self.peer.closed)
            self.over = True
        self._handles = False


# -- The nodes


class SlowPasswords(PlainPasswords):
    """Passwords that others do not wait for."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns

    def verify(self, hashed: str | None, password: str, share: Share) -> bool:
        self._turns.switch()
        return super().verify(hashed, password, share)


class Listener(NodeSession):
    """The service's side of the bus, which counts how often it was told to catch up."""

    times = 0

    def catch_up(self) -> None:
        self.times += 1
        super().catch_up()


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
    def time(self) -> float:  # type: ignore[override]
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
        counters = FakeCounters(self.bus, self.cluster.counters, lambda: self.turns.now)
        backend = Backend(self.bus, counters, NoCache())
        self.serve(backend, self.me, partial(self.turns.later, owner=self.bus))
        self.store.close_node(self.me, self.service.now())
        self.superseded: list[bool] = []
        self.listener = Listener(self.service, lambda: self.superseded.append(True))
        self.bus.start(self.me, self.listener, self.store.nodes())

    @property
    def caught_up(self) -> int:
        """How often it has forgotten what it remembered, to look into the database."""
        return self.listener.times

    def serve(self, backend: Backend, node: Node, later: Later) -> None:
        super().serve(backend, node, later)
        self.passwords = self.service.passwords = SlowPasswords(self.turns)  # type: ignore[assignment]

    def pause(self, seconds: float) -> None:
        self.turns.sleep(seconds)

    def connect(self, classic: bool = False, **peer: str) -> Line:
        self.lines.append(Line(self, classic, **peer))
        return self.lines[-1]

    def user(self, name: str, **fields: Any) -> Line:
        return self._line(super().user(name, **fields))

    def log_in(self, who: Person | int, **fields: Any) -> Line:
        return self._line(super().log_in(who, **fields))

    def _line(self, person: Person) -> Line:
        assert isinstance(person, Line)
        return person

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
        """End as SIGTERM does, with all that it brings."""
        self.begin_to_stop()
        self.cluster.run()

    def begin_to_stop(self) -> None:
        """Begin to end as SIGTERM does, in a turn of its own (``server.app.App.stop``)."""
        self.service.draining = True
        for line in self.lines:
            line.peer.pause()
        self.turns.spawn(self._stop, owner=self.bus)

    def _stop(self) -> None:
        self.turns.wait(lambda: not self.service.has_to_tell)
        with suppress(Busy):
            self.store.close_node(self.me, self.service.now())
        self.bus.close()
        for line in self.lines:
            line.peer.close("shutdown")
        self.turns.wait(lambda: all(line.over for line in self.lines))
        self.store.close()
        self.cluster.forget(self)
        self.turns.end(self.bus)  # the process exits, whatever it still does

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
        counters: those that the nodes share.
    """

    def __init__(self, *names: str, **limits: Any) -> None:
        self.settings = Settings(**limits)
        self.turns = Turns()
        self.database = SharedDatabase(self.turns)
        self.seats: dict[Node, dict[int, list[str]]] = {}
        self.cleaners: dict[Node, FakeBus] = {}
        self.counters = LocalCounters(lambda: self.turns.now)
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
        node = self.add(name)
        self.run()
        self.pass_time(1)
        return node

    def add(self, name: str) -> ClusterNode:
        """Start a node.  May switch."""
        self._incarnations += 1
        node = ClusterNode(self, name, self._incarnations)
        self.nodes[name] = node
        self._buses[node.me] = node.bus
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

    def bury_dead(self, *, run: bool = True) -> None:
        """Let the leases of all nodes that do not run end, and see what becomes of it."""
        alive = {node.me for node in self.nodes.values()}
        for me in self.seats.keys() - alive:
            del self.seats[me]
        for me in self._buses.keys() - alive:
            for other in self.nodes.values():
                if not other.bus.away:
                    other.bus.bury(me)
        if run:
            self.run()

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
            self._arrive_all()

    def run_youngest_first(self) -> None:
        """Let everything go on that can, the last to come first: it overtakes those before it."""
        while self.turns.turn(-1) or self.arrivals():
            self._arrive_all()

    def go_on(self, chosen: Task | tuple[Node, Node]) -> None:
        """Let one task have its turn, or one item arrive."""
        if isinstance(chosen, Task):
            self.turns.give(chosen)
        else:
            self.arrive(*chosen)

    def take_turns(self, turns: int) -> None:
        """Give so many turns, each to the first to come that can go on; nothing arrives."""
        for _ in range(turns):
            self.turns.turn()

    def _arrive_all(self) -> None:
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


# -- Who is there, and what they see


def people(cluster: Cluster) -> tuple[Line, Line, Line]:
    """Return ann at node a, bob at b and cem at c."""
    return cluster["a"].user("ann"), cluster["b"].user("bob"), cluster["c"].user("cem")


def befriend(ann: Person, bob: Person) -> None:
    """Let ann see what becomes of bob."""
    ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    ann.pushed()


def entries(line: Person) -> list[int]:
    """Return the seqs that came to a connection, by LOGIN_ACK or live, and forget all that came."""
    found = []
    for frame in line.pushed():
        shown = frame.get("offlinemsg", [frame] if frame["msgid"] in LOG_FRAMES else [])
        found += [entry["seq"] for entry in shown]
    return found

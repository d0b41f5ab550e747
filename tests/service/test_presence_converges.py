"""PRESENCE converges: whatever happened, ten calm seconds later all friends see what is so.

People come, go, move, befriend and block each other in turns that chance draws, while subscriptions are
lost again and again, nodes are cut off, killed and started anew, leases run out, events are lost, and the
database is away or leaves a change in doubt.  Much of it happens at the same time.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from greenchat.errors import Busy
from greenchat.model.records import Node
from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, ClusterNode, Line
from tests.service.turns import Priorities, Task

CALM = 10.0
"""Seconds after which all is to be right (docs/protocol.md)."""

DEAD = 7.5
"""Seconds after which a node that was killed is known to be dead, at most."""

ACTS = 40
"""Things that happen in a run."""

NAMES = "abc"

SEEDS = int(os.environ.get("PRESENCE_SEEDS", "30"))


class Scene:
    """A cluster, four people, and chance.

    Args:
        cluster: with three nodes.
        chance: draws what happens.
        priorities: choose who is next; without them each turn is drawn evenly.

    Attributes:
        views: what each connection's client believes of each friend: the last that it was told.
    """

    def __init__(self, cluster: Cluster, chance: random.Random, priorities: Priorities | None) -> None:
        self.cluster = cluster
        self.chance = chance
        self.priorities = priorities
        self.people = [cluster["a"].user(name) for name in ("ann", "bob", "cem", "dee")]
        self.ids = [person.id for person in self.people]
        for person in self.people:
            for other in self.chance.sample(self.ids, 2):
                if other != person.id:
                    person.ok(MsgId.ADD_FRIEND, friendid=other)
        for person in self.people:
            person.peer.close("closed by peer")
        cluster.run()
        self.lines: list[Line] = []
        self.views: dict[Line, dict[int, str]] = {}
        self.starting: set[str] = set()
        self.acts: dict[Callable[[], object], int] = {
            self.come: 6, self.go: 4, self.befriend: 2, self.block: 2, self.unblock: 2,
            self.cut: 1, self.mend: 2, self.deafen: 2, self.lose: 2, self.forget_leases: 1,
            self.kill: 1, self.stop: 1, self.start: 3, self.bury: 1,
            self.break_database: 1, self.doubt: 1, self.mend_database: 2, self.wait: 3,
        }  # fmt: skip

    # -- What happens

    def act(self) -> None:
        (act,) = self.chance.choices(list(self.acts), list(self.acts.values()))
        act()
        for _ in range(self.chance.choice((0, 1, 3, 10, 30))):
            self.turn()

    def turn(self) -> None:
        """Give one turn, or let one event arrive."""
        arrivals = self.cluster.arrivals()
        if self.priorities is not None:
            candidates: list[Task | tuple[Node, Node]] = [*self.cluster.turns.able(), *arrivals]
            if candidates:
                self.cluster.go_on(self.priorities.choose(candidates))
        elif arrivals and self.chance.random() < 0.5:
            self.cluster.arrive(*self.chance.choice(arrivals))
        else:
            self.cluster.turns.turn(self.chance.randrange(8))

    # People

    def come(self) -> None:
        node = self.node()
        if not node.service.draining:
            device = self.chance.choice(("phone", "pad"))
            line = node.begin(self.chance.choice(self.ids), device=device, force=self.chance.random() < 0.7)
            self.lines.append(line)
            self.views[line] = {}

    def go(self) -> None:
        if line := self.somebody():
            line.peer.close("closed by peer")

    def befriend(self) -> None:
        if line := self.somebody():
            line.put(MsgId.ADD_FRIEND, friendid=self.chance.choice(self.ids), cid="add")

    def block(self) -> None:
        if line := self.somebody():
            line.put(MsgId.BLOCK, userid=self.chance.choice(self.ids))

    def unblock(self) -> None:
        if line := self.somebody():
            line.put(MsgId.UNBLOCK, userid=self.chance.choice(self.ids))

    def somebody(self) -> Line | None:
        alive = [line for line in self.lines if line.peer.closed is None]
        return self.chance.choice(alive) if alive else None

    # The bus

    def cut(self) -> None:
        self.node().bus.cut()

    def mend(self) -> None:
        self.node().bus.repair()

    def deafen(self) -> None:
        """Kill a node's subscription; it soon has another."""
        bus = self.node().bus
        bus.deafen()
        self.cluster.turns.later(self.chance.choice((0.0, 0.0, 0.1)), bus.hear, owner=bus)

    def lose(self) -> None:
        self.cluster.lose(self.chance.choice(NAMES), self.chance.choice(NAMES))

    def forget_leases(self) -> None:
        self.cluster.seats.clear()

    # Nodes

    def node(self) -> ClusterNode:
        """Return a node that runs."""
        return self.chance.choice(list(self.cluster.nodes.values()))

    def kill(self) -> None:
        node = self.node()
        if self.others(node):
            node.kill()

    def stop(self) -> None:
        node = self.node()
        if self.others(node) and not node.service.draining and not node.bus.away:
            node.begin_to_stop()

    def others(self, node: ClusterNode) -> list[ClusterNode]:
        """Return the other nodes that run and do not stop."""
        return [one for one in self.cluster.nodes.values() if one is not node and not one.service.draining]

    def start(self) -> None:
        """Start a node again, which was killed perhaps: it has the same name."""
        away = sorted({*NAMES} - self.cluster.nodes.keys() - self.starting)
        if away:
            name = self.chance.choice(away)
            self.starting.add(name)
            self.cluster.turns.spawn(self._start, name)

    def _start(self, name: str) -> None:
        """Start a node, once the database is there."""
        while name in self.starting:
            try:
                self.cluster.add(name)
                self.starting.discard(name)
            except Busy:
                self.cluster.turns.sleep(1.0)

    def bury(self) -> None:
        self.cluster.bury_dead(run=False)

    # The database, and time

    def break_database(self) -> None:
        self.cluster.database.away = self.chance.random() < 0.5

    def doubt(self) -> None:
        """Let the answer to the next COMMIT be lost."""
        self.cluster.database.unanswered = self.chance.random() < 0.5
        self.cluster.database.stays = self.chance.random() < 0.5

    def mend_database(self) -> None:
        self.cluster.database.away = False

    def wait(self) -> None:
        self.cluster.turns.pass_time(self.chance.choice((0.1, 0.5, 1.0, 3.0)))
        self.cluster.tick()

    # -- What is seen

    def calm_down(self) -> None:
        self.cluster.database.away = False
        self.cluster.database.unanswered = None
        for node in self.cluster.nodes.values():
            node.bus.repair()
        self.cluster.run()
        dead = self.chance.uniform(0, DEAD)
        self.cluster.pass_time(dead)
        self.cluster.bury_dead()
        self.cluster.pass_time(CALM - dead)

    def read(self, line: Line) -> dict[int, str]:
        """Return what a client believes, by all that came to it."""
        view = self.views[line]
        for frame in line.pushed():
            for friend in (*frame.get("friends", ()), *self._added(frame)):
                view[friend["id"]] = friend["state"]
            if frame["msgid"] == MsgId.PRESENCE and frame["id"] in view:
                view[frame["id"]] = frame["state"]
        return view

    def _added(self, frame: dict[str, Any]) -> list[dict[str, Any]]:
        return [frame["friend"]] if "friend" in frame else []

    def check(self) -> None:
        store = next(iter(self.cluster.nodes.values())).store
        online = {line.session.user for line in self.alive()}
        blockers = {userid: store.blockers(userid) for userid in self.ids}
        for line in self.alive():
            userid = line.session.user
            assert userid is not None
            seen = {friend for friend, state in self.read(line).items() if state == "online"}
            truth = (online - blockers[userid]).intersection(self.views[line])
            assert seen == truth, f"{userid} at {line.node.me.name} sees {seen}, and online are {truth}"

    def alive(self) -> list[Line]:
        return [line for line in self.lines if line.peer.closed is None and line.session.user is not None]


@pytest.mark.parametrize("scheduler", ["even", "by priority"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_all_friends_see_what_is_so_after_ten_calm_seconds(
    cluster: Cluster, seed: int, scheduler: str
) -> None:
    chance = random.Random(seed)
    scene = Scene(cluster, chance, Priorities(chance) if scheduler == "by priority" else None)
    for _ in range(3):
        for _ in range(ACTS):
            scene.act()
        scene.calm_down()
        scene.check()

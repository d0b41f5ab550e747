"""PRESENCE converges: whatever happened, ten calm seconds later all friends see what is so.

People come, go, move, befriend and block each other in turns that chance draws, while nodes are cut off,
events are lost and the database is away.  Much of it happens at the same time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, Line

CALM = 10.0
"""Seconds after which all is to be right (docs/protocol.md)."""

ACTS = 40
"""Things that happen in a run."""

NAMES = "abc"


class Scene:
    """A cluster, four people, and chance.

    Attributes:
        views: what each connection's client believes of each friend: the last that it was told.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.chance = random.Random(seed)
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
        self.acts: list[Callable[[], object]] = [
            self.come, self.come, self.come, self.go, self.go, self.befriend, self.block, self.unblock,
            self.cut, self.mend, self.lose, self.break_database, self.mend_database, self.wait,
        ]  # fmt: skip

    # -- What happens

    def act(self) -> None:
        self.chance.choice(self.acts)()
        for _ in range(self.chance.choice((0, 1, 3, 10, 30))):
            self.turn()

    def turn(self) -> None:
        """Give one turn, or let one event arrive."""
        arrivals = self.cluster.arrivals()
        if arrivals and self.chance.random() < 0.5:
            self.cluster.arrive(*self.chance.choice(arrivals))
        else:
            self.cluster.turns.turn(self.chance.randrange(8))

    def come(self) -> None:
        node = self.cluster[self.chance.choice(NAMES)]
        device = self.chance.choice(("phone", "pad"))
        line = node.begin(self.chance.choice(self.ids), device=device, force=self.chance.random() < 0.7)
        self.lines.append(line)
        self.views[line] = {}

    def go(self) -> None:
        self.somebody().peer.close("closed by peer")

    def befriend(self) -> None:
        self.somebody().put(MsgId.ADD_FRIEND, friendid=self.chance.choice(self.ids), cid="add")

    def block(self) -> None:
        self.somebody().put(MsgId.BLOCK, userid=self.chance.choice(self.ids))

    def unblock(self) -> None:
        self.somebody().put(MsgId.UNBLOCK, userid=self.chance.choice(self.ids))

    def cut(self) -> None:
        self.cluster[self.chance.choice(NAMES)].bus.cut()

    def mend(self) -> None:
        node = self.cluster[self.chance.choice(NAMES)]
        if node.bus.away:
            node.bus.mend()

    def lose(self) -> None:
        self.cluster.lose(self.chance.choice(NAMES), self.chance.choice(NAMES))

    def break_database(self) -> None:
        self.cluster.database.away = self.chance.random() < 0.5

    def mend_database(self) -> None:
        self.cluster.database.away = False

    def wait(self) -> None:
        self.cluster.turns.pass_time(self.chance.choice((0.1, 0.5, 1.0, 3.0)))
        self.cluster.tick()

    def somebody(self) -> Line:
        while not (alive := [line for line in self.lines if line.peer.closed is None]):
            self.come()
        return self.chance.choice(alive)

    # -- What is seen

    def calm_down(self) -> None:
        self.cluster.database.away = False
        for node in self.cluster.nodes.values():
            if node.bus.away:
                node.bus.mend()
        self.cluster.run()
        self.cluster.pass_time(CALM)

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
        store = self.cluster["a"].store
        online = {line.session.user for line in self.alive()}
        blockers = {userid: store.blockers(userid) for userid in self.ids}
        for line in self.alive():
            userid = line.session.user
            assert userid is not None
            seen = {friend for friend, state in self.read(line).items() if state == "online"}
            assert seen == (online - blockers[userid]).intersection(self.views[line])

    def alive(self) -> list[Line]:
        return [line for line in self.lines if line.peer.closed is None and line.session.user is not None]


@pytest.mark.parametrize("seed", range(60))
def test_all_friends_see_what_is_so_after_ten_calm_seconds(cluster: Cluster, seed: int) -> None:
    scene = Scene(cluster, seed)
    for _ in range(3):
        for _ in range(ACTS):
            scene.act()
        scene.calm_down()
        scene.check()

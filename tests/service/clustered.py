"""A cluster that lives: what people and nodes do, drawn by Hypothesis or by a seed."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from greenchat.model.records import Node
from greenchat.protocol.messages import MsgId
from tests.service.chatting import Chatting, pick, who
from tests.service.cluster import ClusterNode
from tests.service.model import Place, pair
from tests.service.turns import Priorities, Task
from tests.service.watch import NODES, Link, Seat, Watch

USERS = ("ann", "bob", "cem")
DEVICES = ("", "phone")
MAX_GROUPS = 2

where = st.integers(0, len(NODES) - 1)
picks = st.lists(pick, min_size=1, max_size=25)
"""Which of the tasks and arrivals that are possible comes next."""


Ends = tuple[Node, Node]
"""From which node to which something is on its way."""


class Clustered(Watch, Chatting[Link], RuleBasedStateMachine):
    """Users with devices who chat and roam, over nodes that come and go."""

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        Watch.__init__(self)

    @initialize()
    def register(self) -> None:
        """Have the users, with all their devices known, and a group of them all."""
        node = self.cluster.nodes["a"]
        people = node.users(*USERS)
        habits = itertools.cycle(self.habits)
        self.users = [person.id for person in people]
        for person in people:
            for other in people:
                if other is not person:
                    person.ok(MsgId.ADD_FRIEND, friendid=other.id)
            for name in DEVICES:
                self.seats[person.id, name] = Seat(person.id, name, next(habits))
            node.log_in(person, device="phone").leave()
        people[0].group("all", *people[1:])
        for person in people:
            person.leave()
        self.cluster.pass_time(1)
        for number in range(len(USERS)):
            self.log_in(number, number, "", False)
        self.cluster.run()
        self.look_at_members()

    def teardown(self) -> None:
        try:
            if self.sound:
                self.end()
        finally:
            self.cluster.close()
            for one in self.patches:
                one.stop()

    # -- What happens next

    @rule(picks=picks)
    def go_on(self, picks: list[int]) -> None:
        """Some of what can go on or arrive does."""
        for number in picks:
            candidates = self.candidates()
            if not candidates:
                return
            self.give_turn(candidates[number % len(candidates)])

    def candidates(self) -> list[Task | Ends]:
        """Return what may come next: a turn of a task, or an arrival."""
        return [*self.cluster.turns.able(), *self.cluster.arrivals()]

    def give_turn(self, chosen: Task | Ends) -> None:
        """Let one task or arrival have its turn."""
        if isinstance(chosen, Task):
            self.cluster.turns.give(chosen)
        else:
            self.cluster.arrive(*chosen)
        self.read_all()

    def go_on_by_priority(self, priorities: Priorities, turns: int) -> None:
        """Give some turns, each to the candidate of the highest priority."""
        for _ in range(turns):
            if candidates := self.candidates():
                self.give_turn(priorities.choose(candidates))

    @rule()
    def run(self) -> None:
        """All goes on that can."""
        while candidates := self.candidates():
            self.give_turn(candidates[0])

    @rule(seconds=st.sampled_from((0.05, 0.2, 0.5, 1.0)))
    def time(self, seconds: float) -> None:
        """Time passes."""
        before = int(self.cluster.turns.now)
        self.cluster.turns.pass_time(seconds)
        if int(self.cluster.turns.now) > before:
            self.cluster.tick()

    # -- Messages

    @rule(number=pick, old=pick)
    def again(self, number: int, old: int) -> None:
        """A device sends a message a second time, wherever it is now."""
        if link := self.online(number):
            mine = [cid for cid in self.requests if self.sender[cid] is link.seat]
            if mine:
                cid = mine[-1 - old % min(len(mine), 3)]
                link.line.put(**self.requests[cid], cid=cid)

    @rule(number=pick, old=pick)
    def recall(self, number: int, old: int) -> None:
        """A device takes back what it has sent."""
        if link := self.online(number):
            mine = [c for c in self.acked if self.sender[c] is link.seat and "msg" in self.requests[c]]
            if mine:
                cid = mine[-1 - old % min(len(mine), 5)]
                fields = {"target": self.acked[cid]} | self.address(link, self.to[cid])
                self.write(link, {"msgid": MsgId.RECALL} | fields)

    # -- Coming and going

    @rule(node=where, user=who, name=st.sampled_from(DEVICES), force=st.booleans())
    def log_in(self, node: int, user: int, name: str, force: bool) -> None:
        """A device begins to log in at a node."""
        running = self.cluster.nodes.get(NODES[node])
        if running and not running.service.draining:
            seat = self.seats[self.users[user], name]
            link = Link(running.connect(), seat, force, self.recalled)
            self.links.append(link)
            link.line.put(MsgId.LOGIN, id=seat.userid, password="pw", device=name, force=force, cid="login")

    @rule(number=pick, politely=st.booleans())
    def go(self, number: int, politely: bool) -> None:
        """A connection breaks, whatever is under way on it; or the user logs out before."""
        if link := self.any(number):
            if politely and link.online:
                link.line.put(MsgId.LOGINOUT)
                self.run()
            link.line.peer.close("closed by peer")

    # -- Receiving

    @rule(number=pick)
    def sync(self, number: int) -> None:
        """A device asks for its next page."""
        if link := self.online(number):
            self.ask_for_page(link, MsgId.SYNC)

    @rule(number=pick, which=pick, group=st.booleans())
    def history(self, number: int, which: int, group: bool) -> None:
        """A device looks at the past of a conversation."""
        if link := self.online(number):
            userid = self.users[which % len(USERS)]
            fields = {"groupid": self.group(which)} if group else {"peerid": userid}
            self.ask_for_page(link, MsgId.HISTORY, **fields)

    @rule(number=pick, which=pick, back=st.integers(0, 2))
    def receive(self, number: int, which: int, back: int) -> None:
        """A device acknowledges some of what it has."""
        link = self.online(number)
        if link and link.last and link.seat.habit == "seldom":
            conversation = sorted(link.last)[which % len(link.last)]
            seq = link.last[conversation] - back
            if seq >= 1:
                link.line.put(MsgId.RECEIVED, seq=seq, **self.address(link, conversation))

    # -- Groups

    @rule(number=pick)
    def create_group(self, number: int) -> None:
        """Somebody creates a group."""
        link = self.online(number)
        if link and len(self.groups()) < MAX_GROUPS:
            self.change(link, MsgId.CREATE_GROUP, groupname=f"g{next(self.numbers)}")

    @rule(number=pick, group=pick)
    def join(self, number: int, group: int) -> None:
        """Somebody joins a group, perhaps again."""
        if link := self.online(number):
            self.change(link, MsgId.ADD_GROUP, groupid=self.group(group))

    @rule(number=pick, group=pick)
    def leave(self, number: int, group: int) -> None:
        """Somebody leaves a group."""
        if link := self.online(number):
            cid = f"l{next(self.numbers)}"
            self.leavings[cid] = self.group(group), link.seat.userid
            self.change(link, MsgId.LEAVE_GROUP, cid, groupid=self.group(group))

    # -- Blocks

    @rule(number=pick, other=who, ends=st.booleans())
    def block(self, number: int, other: int, ends: bool) -> None:
        """Somebody blocks somebody else, or ends it."""
        link = self.online(number)
        if link and self.users[other] != link.seat.userid:
            self.change(link, MsgId.UNBLOCK if ends else MsgId.BLOCK, userid=self.users[other])

    # -- Trouble

    @rule(number=pick)
    def lose(self, number: int) -> None:
        """What is on its way somewhere is lost."""
        if arrivals := self.cluster.arrivals():
            self.cluster.wire(*arrivals[number % len(arrivals)]).items.clear()

    @rule(node=where)
    def cut(self, node: int) -> None:
        """A node is cut off from the others."""
        if running := self.cluster.nodes.get(NODES[node]):
            running.bus.cut()

    @rule(node=where)
    def mend(self, node: int) -> None:
        """It is no more."""
        if running := self.cluster.nodes.get(NODES[node]):
            running.bus.repair()

    @rule(node=where, seconds=st.sampled_from((0.0, 0.1)))
    def deafen(self, node: int, seconds: float) -> None:
        """A node loses its subscription, and soon has another."""
        if running := self.cluster.nodes.get(NODES[node]):
            running.bus.deafen()
            self.cluster.turns.later(seconds, running.bus.hear, owner=running.bus)

    @rule()
    def forget_leases(self) -> None:
        """The bus loses its data; the nodes notice within a second."""
        self.cluster.seats.clear()

    @rule(node=where)
    def bury_alive(self, node: int) -> None:
        """A node that is cut off is taken for dead."""
        running = self.cluster.nodes.get(NODES[node])
        if running and running.bus.away:
            self.cluster.bury(running)

    @rule(node=where, buried=st.booleans())
    def kill(self, node: int, buried: bool) -> None:
        """A node dies, and its lease runs out, now or later."""
        running = self.cluster.nodes.get(NODES[node])
        if running and self.others(running):
            running.kill()
            self.dead.append(running)
            if buried:
                self.cluster.bury(running)

    @rule()
    def bury(self) -> None:
        """The lease of a node that died runs out."""
        for node in self.dead:
            self.cluster.bury(node)

    @rule(node=where)
    def stop(self, node: int) -> None:
        """A node leaves in order."""
        running = self.cluster.nodes.get(NODES[node])
        if running and self.others(running) and not running.service.draining and not running.bus.away:
            running.begin_to_stop()
            self.dead.append(running)  # for those who did not hear of it

    @rule(node=where)
    def start(self, node: int) -> None:
        """A node is started again."""
        name = NODES[node]
        if name not in self.cluster.nodes and name not in self.starting:
            self.starting.add(name)
            self.cluster.turns.spawn(self.add, name)

    def add(self, name: str) -> None:
        self.cluster.add(name)
        self.starting.discard(name)

    # -- What must hold

    @invariant()
    def read_all(self) -> None:
        """Each frame that comes fits what the device has."""
        super().read_all()

    # -- In the end

    @rule()
    def calm_down(self) -> None:
        """No more trouble: soon all is where it belongs."""
        self.settle_down()
        self.sound = False
        self.check_presence()
        self.check_devices()
        self.sound = True

    def settle_down(self) -> None:
        """Let all happen that will, without new trouble."""
        for node in self.cluster.nodes.values():
            node.bus.repair()
        for _ in range(10):
            self.run()
            self.bury()
            self.time(1.0)
        self.run()
        for link in self.links:
            while link.alive and link.online and link.more:
                self.ask_for_page(link, MsgId.SYNC)
                self.run()

    def end(self) -> None:
        """Everybody comes back once more: all have all."""
        self.calm_down()
        for link in self.links:
            if link.alive:
                link.line.peer.close("closed by peer")
        self.run()
        self.time(1.0)
        self.run()
        for number, (userid, name) in enumerate(self.seats):
            names = sorted(self.cluster.nodes)
            node = NODES.index(names[number % len(names)])
            self.log_in(node, self.users.index(userid), name, False)
            self.run()
            assert self.links[-1].online
        self.calm_down()
        for cid, seq in self.acked.items():
            assert self.log(self.to[cid])[seq] == cid
        for conversation in self.conversations():
            log = self.log(conversation)
            assert sorted(log) == list(range(1, len(log) + 1))
            assert len(set(log.values())) == len(log)
            for seq, cid in log.items():
                self.check_sender(Place(conversation, seq), self.sender[cid].userid, cid)

    # -- Parts of the rules

    def any(self, number: int) -> Link | None:
        """Return one of the connections that stand."""
        alive = [link for link in self.links if link.alive]
        return alive[number % len(alive)] if alive else None

    def online(self, number: int) -> Link | None:
        """Return one of the connections that are logged in."""
        alive = [link for link in self.links if link.alive and link.online]
        return alive[number % len(alive)] if alive else None

    def others(self, node: ClusterNode) -> list[ClusterNode]:
        """Return the nodes besides one that run and do not stop."""
        return [o for o in self.cluster.nodes.values() if o is not node and not o.service.draining]

    def group(self, number: int) -> int:
        """Return one of the groups."""
        groups = self.groups()
        return groups[number % len(groups)]

    def write(self, link: Link, request: dict[str, Any]) -> None:
        """Send a new message."""
        cid = f"c{next(self.numbers)}"
        self.requests[cid] = request if "target" in request else request | {"msg": f"text {cid}"}
        self.sender[cid] = link.seat
        link.seat.sent.add(cid)
        groupid = request.get("groupid")
        other = request.get("toid") or request.get("peerid") or 0
        self.to[cid] = -groupid if groupid else pair(link.seat.userid, other)
        link.line.put(**self.requests[cid], cid=cid)

    def change(self, link: Link, msgid: int, cid: str = "change", **fields: Any) -> None:
        """Ask for a change of memberships or blocks."""
        self.changing += 1
        link.line.put(msgid, **fields, cid=cid)

    def ask_for_page(self, link: Link, msgid: int, **fields: Any) -> None:
        """Ask for a page, and keep in mind what had been recalled by then."""
        cid = f"p{next(self.numbers)}"
        self.pages[cid] = self.recalled
        link.line.put(msgid, **fields, cid=cid)

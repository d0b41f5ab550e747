"""A cluster that lives: what people and nodes do, and what must hold whatever is late or lost."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from greenchat.data import log
from greenchat.data.schema import Block, GroupUser, Message
from greenchat.data.schema import Device as DeviceTable
from greenchat.data.schema import User as UserTable
from greenchat.ports import Node
from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, ClusterNode, Line
from tests.service.model import Place, conversation_of, pair
from tests.service.periods import Periods
from tests.service.turns import Priorities, Task
from tests.service.world import LOG_FRAMES

NODES = ("a", "b", "c")
USERS = ("ann", "bob", "cem")
DEVICES = ("", "phone")
HABITS = ("at once", "seldom", "never")
MAX_GROUPS = 2

pick = st.integers(0, 60)
who = st.integers(0, len(USERS) - 1)
where = st.integers(0, len(NODES) - 1)
picks = st.lists(pick, min_size=1, max_size=25)
"""Which of the tasks and arrivals that are possible comes next."""


Ends = tuple[Node, Node]
"""From which node to which something is on its way."""


class Seat:
    """A device of a user: what it has seen, over all its connections.

    Attributes:
        habit: when it acknowledges what it has: ``at once``, ``seldom`` (a rule decides) or ``never``.
        has: the entries that it has seen.
        sent: the cids of what it has sent itself.
        texts: what the messages said.
    """

    def __init__(self, userid: int, name: str, habit: str) -> None:
        self.userid = userid
        self.name = name
        self.habit = habit
        self.has: set[Place] = set()
        self.sent: set[str] = set()
        self.texts: dict[Place, str] = {}


class Link:
    """A connection of a device.

    Attributes:
        last: the last seq of each conversation that came.
        acknowledged: the last seq of each conversation that it said it has, if it says so at once.
        online: it has the answer to its login.
        more: whether the last page said that there is more.
        friends: how the friends are, as far as was told.
        recalled: what had been recalled when it logged in.
    """

    def __init__(self, line: Line, seat: Seat, force: bool, recalled: frozenset[Place]) -> None:
        self.line = line
        self.seat = seat
        self.force = force
        self.last: dict[int, int] = defaultdict(int)
        self.acknowledged: dict[int, int] = defaultdict(int)
        self.online = False
        self.more = False
        self.friends: dict[int, str] = {}
        self.recalled = recalled

    @property
    def alive(self) -> bool:
        """Whether the connection stands."""
        return self.line.peer.closed is None


class Clustered(RuleBasedStateMachine):
    """Users with devices who chat and roam, over nodes that come and go."""

    watches_presence = False

    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            patch("greenchat.service.gate.PAGE_MESSAGES", 3),
            patch("greenchat.service.pages.PAGE_MESSAGES", 3),
            patch("greenchat.service.sequencer.PAGE", 2),
        ]
        for one in self.patches:
            one.start()
        self.cluster = Cluster(*NODES, max_in_flight=1_000)
        self.numbers = itertools.count(1)
        self.seats: dict[tuple[int, str], Seat] = {}
        self.links: list[Link] = []
        self.members = Periods(self.cluster, lambda key: self.head(-key[0]))
        self.blocks = Periods(self.cluster, lambda key: self.head(pair(*key)))
        self.requests: dict[str, dict[str, Any]] = {}
        self.sender: dict[str, Seat] = {}
        self.to: dict[str, int] = {}
        self.acked: dict[str, int] = {}
        self.leavings: dict[str, tuple[int, int]] = {}
        self.pages: dict[str, frozenset[Place]] = {}
        self.recalled: frozenset[Place] = frozenset()
        self.dead: list[ClusterNode] = []
        self.habits: Sequence[str] = HABITS
        self.starting: set[str] = set()
        self.changing = 0
        self.sound = False

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

    @rule(number=pick, other=who)
    def chat(self, number: int, other: int) -> None:
        """Somebody writes to somebody, perhaps to themselves."""
        if link := self.online(number):
            self.write(link, {"msgid": MsgId.ONE_CHAT, "toid": self.users[other]})

    @rule(number=pick, group=pick)
    def group_chat(self, number: int, group: int) -> None:
        """Somebody writes to a group, theirs or not."""
        if link := self.online(number):
            self.write(link, {"msgid": MsgId.GROUP_CHAT, "groupid": self.group(group)})

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
        running = self.cluster.nodes.get(NODES[node])
        if running and running.bus.away:
            running.bus.mend()

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
        self.sound = False  # until all was read
        self.look_at_members()
        for link in self.links:
            frames, link.line.peer.frames = link.line.peer.frames, []
            for frame in frames:
                self.read(link, frame)
            self.acknowledge(link)
            assert link.line.peer.closed in (None, "replaced", "closed by peer", "reset", "shutdown")
        self.members.spread()
        self.sound = bool(self.seats)

    def read(self, link: Link, frame: dict[str, Any]) -> None:
        cid = frame.get("cid", "")
        if frame["msgid"] in LOG_FRAMES:
            self.see(link, frame)
        elif frame["msgid"] == MsgId.PRESENCE:
            link.friends[frame["id"]] = frame["state"]
        elif cid == "login" and frame["errno"]:
            assert frame["errno"] in (2, 13), frame
            assert frame["errno"] != 2 or not link.force, frame
            link.line.peer.close("closed by peer")
        elif "offlinemsg" in frame or "messages" in frame:
            self.read_page(link, frame)
        elif cid in self.pages:
            assert frame["errno"] in (8, 13), frame
        elif cid == "change":
            self.changing -= 1
        elif cid in self.leavings:
            self.changing -= 1
            if not frame["errno"]:
                self.members.end_was_acknowledged(self.leavings[cid], link.line.node)
        elif cid in self.requests:
            self.answer(frame)

    def read_page(self, link: Link, frame: dict[str, Any]) -> None:
        if frame["msgid"] == MsgId.LOGIN_ACK:
            link.online = True
            link.friends = {friend["id"]: friend["state"] for friend in frame["friends"]}
            recalled = link.recalled
        else:
            recalled = self.pages[frame["cid"]]
        last: Place | None = None
        for entry in frame.get("messages") or frame.get("offlinemsg") or ():
            place = Place(conversation_of(entry, link.seat.userid), entry["seq"])
            assert "msg" not in entry or place not in recalled, f"{place} was shown after its recall"
            if "messages" in frame:
                self.check_bounds(link, place)
                assert last is None or place == last._replace(seq=last.seq + 1), f"{place} after {last}"
                last = place
            else:
                self.see(link, entry)
        if "offlinemsg" in frame:
            link.more = frame["more"]

    def acknowledge(self, link: Link) -> None:
        """Have a device that acknowledges at once do so."""
        if link.alive and link.seat.habit == "at once":
            for conversation, seq in link.last.items():
                if link.acknowledged[conversation] < seq:
                    link.acknowledged[conversation] = seq
                    link.line.put(MsgId.RECEIVED, seq=seq, **self.address(link, conversation))

    def answer(self, frame: dict[str, Any]) -> None:
        cid = frame["cid"]
        if frame["errno"]:
            recall = "target" in self.requests[cid]
            assert frame["errno"] in ((8, 13, 14, 15) if recall else (8, 10, 13)), frame
        else:
            assert self.acked.setdefault(cid, frame["seq"]) == frame["seq"], f"{cid} got another seq"
            assert self.log(self.to[cid])[frame["seq"]] == cid
            if "target" in self.requests[cid]:
                self.recalled |= {Place(self.to[cid], self.requests[cid]["target"])}

    def see(self, link: Link, frame: dict[str, Any]) -> None:
        seat, seq = link.seat, frame["seq"]
        conversation = conversation_of(frame, seat.userid)
        place = Place(conversation, seq)
        name = f"{place} at {seat.userid}/{seat.name}"
        assert seq > link.last[conversation], f"{name} came after {link.last[conversation]}"
        link.last[conversation] = seq
        log = self.log(conversation)
        if "msg" in frame:
            assert seat.texts.setdefault(place, frame["msg"]) == frame["msg"] == f"text {log[seq]}"
        elif frame["msgid"] != MsgId.RECALL:
            assert frame["recalled"]
            assert self.is_recalled(place), name
        seat.has.add(place)
        self.check_bounds(link, place)
        base = 0
        if conversation < 0:
            period = self.members.current((-conversation, seat.userid))
            if period is None or not period.holds(seq):
                return  # its node does not know yet that the user has left
            base = period.before
        missing = [n for n in range(base + 1, seq) if not self.got(seat, Place(conversation, n), log)]
        assert not missing, f"{name} came without {missing}"

    def check_bounds(self, link: Link, place: Place) -> None:
        """No entry of a group is from outside the user's membership, as far as the node can know."""
        conversation, seq = place
        if conversation > 0:
            return
        key = (-conversation, link.seat.userid)
        may = self.members.may_have(key, seq, link.line.node.me)
        periods = [(period.before, period.upto) for period in self.members.of(key)]
        assert may, f"{place} came to {link.seat.userid}/{link.seat.name}, in the group in {periods}"

    def got(self, seat: Seat, place: Place, log: dict[int, str]) -> bool:
        return place in seat.has or log[place.seq] in seat.sent

    # -- In the end

    @rule()
    def calm_down(self) -> None:
        """No more trouble: soon all is where it belongs."""
        self.settle_down()
        self.sound = False
        if self.watches_presence:
            self.check_presence()
        self.check_devices()
        self.sound = True

    def settle_down(self) -> None:
        """Let all happen that will, without new trouble."""
        for node in self.cluster.nodes.values():
            if node.bus.away:
                node.bus.mend()
        for _ in range(10):
            self.run()
            self.bury()
            self.time(1.0)
        self.run()
        for link in self.links:
            while link.alive and link.online and link.more:
                self.ask_for_page(link, MsgId.SYNC)
                self.run()

    def check_devices(self) -> None:
        at: dict[tuple[int, str], str] = {}
        for node in self.cluster.nodes.values():
            for session in node.service.hub.sessions():
                key = session.user, session.device
                assert key not in at, f"{key} is online at {at[key]} and {node.me.name}"
                at[key] = node.me.name
        online = {
            (link.seat.userid, link.seat.name): link for link in self.links if link.alive and link.online
        }
        assert online.keys() == at.keys(), (online.keys(), at)
        assert all(link.line.node.me.name == at[key] for key, link in online.items())
        with self.cluster.database.reading() as db:
            stored = {
                (row.userid, row.device): row.node for row in db.execute(select(DeviceTable)) if row.node
            }
            states = {row.id: row.state for row in db.execute(select(UserTable))}
        assert stored == at
        assert {user for user, state in states.items() if state == "online"} == {user for user, _ in at}
        for node in self.cluster.nodes.values():
            here = {user for user, _ in at}
            assert node.service.router.online(self.users) == here
        for link in online.values():
            missing = self.visible(link.seat) - link.seat.has
            log = self.log
            lost = [p for p in missing if log(p.conversation)[p.seq] not in link.seat.sent]
            assert not lost, f"{link.seat.userid}/{link.seat.name} never got {lost}"

    def check_presence(self) -> None:
        """What friends were told is how it is, but for those who have blocked them."""
        online = [link for link in self.links if link.alive and link.online]
        here = {link.seat.userid for link in online}
        for link in online:
            me = link.seat.userid
            seen = {user for user in here if self.blocks.current((user, me)) is None}
            truth = {user: "online" if user in seen else "offline" for user in self.users if user != me}
            where = f"{me}/{link.seat.name} at {link.line.node.me.name}"
            assert link.friends == truth, f"{where} sees {link.friends}, which is {truth}"

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

    def check_sender(self, place: Place, sender: int, cid: str) -> None:
        """Whoever wrote an entry was a member then, or was not blocked."""
        conversation, seq = place
        if conversation < 0:
            periods = self.members.of((-conversation, sender))
            assert any(period.holds(seq) for period in periods), f"{place} was stored from outside"
        elif "msg" in self.requests[cid]:
            low, high = conversation >> 32, conversation & 0xFFFFFFFF
            blocks = self.blocks.of((low if sender == high else high, sender))
            assert not any(block.holds(seq) for block in blocks), f"{place} was stored in spite of a block"

    # -- Parts of the rules

    def look_at_members(self) -> None:
        """Take note of who is in which group and who blocks whom, by the database."""
        if self.changing or not self.groups():
            with self.cluster.database.reading() as db:
                members = db.execute(
                    select(GroupUser.c.groupid, GroupUser.c.userid, GroupUser.c.joined_seq)
                ).all()
                blocks = db.execute(select(Block.c.userid, Block.c.blockedid)).all()
            self.members.look({(groupid, userid): joined for groupid, userid, joined in members})
            self.blocks.look({(userid, blockedid): None for userid, blockedid in blocks})

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

    def groups(self) -> list[int]:
        return sorted({groupid for groupid, _ in self.members.keys})

    def address(self, link: Link, conversation: int) -> dict[str, int]:
        """Return the field that names a conversation."""
        if conversation < 0:
            return {"groupid": -conversation}
        low, high = conversation >> 32, conversation & 0xFFFFFFFF
        return {"peerid": high if low == link.seat.userid else low}

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

    def conversations(self) -> list[int]:
        pairs = itertools.combinations_with_replacement(self.users, 2)
        return [*itertools.starmap(pair, pairs), *[-groupid for groupid in self.groups()]]

    def head(self, conversation: int) -> int:
        with self.cluster.database.reading() as db:
            return log.head(db, conversation)

    def is_recalled(self, place: Place) -> bool:
        conversation, seq = place
        with self.cluster.database.reading() as db:
            return log.entry(db, conversation, seq).body == ""

    def log(self, conversation: int) -> dict[int, str]:
        """Return the cid of each entry of a conversation."""
        with self.cluster.database.reading() as db:
            rows = db.execute(
                select(Message.c.seq, Message.c.cid).where(Message.c.conversation == conversation)
            )
            return {row.seq: row.cid for row in rows}

    def visible(self, seat: Seat) -> set[Place]:
        """Return what a device must be offered, sooner or later."""
        places: set[Place] = set()
        for conversation in self.conversations():
            if conversation < 0:
                period = self.members.current((-conversation, seat.userid))
                after = None if period is None else period.before
            else:
                after = 0 if seat.userid in (conversation >> 32, conversation & 0xFFFFFFFF) else None
            if after is not None:
                places |= {Place(conversation, seq) for seq in self.log(conversation) if seq > after}
        return places

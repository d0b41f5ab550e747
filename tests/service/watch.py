"""What must hold for each device of a cluster, whatever is late or lost."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from sqlalchemy import select

from greenchat.data.queries import log
from greenchat.data.schema import Block, GroupUser, Message
from greenchat.data.schema import Device as DeviceTable
from greenchat.data.schema import User as UserTable
from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, ClusterNode, Line
from tests.service.model import Place, conversation_of, pair
from tests.service.periods import Periods
from tests.service.world import LOG_FRAMES

NODES = ("a", "b", "c")
HABITS = ("at once", "seldom", "never")
"""When a device acknowledges what it has; ``seldom`` is when the test says so."""


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


class Watch:
    """What people do, what came of it, and what must hold by the frames that come and by the database.

    Attributes:
        members: who was in which group, from when to when.
        blocks: who has blocked whom.
        users: the ids of all who take part.
        requests: the messages and recalls that were sent, by cid.
        sender: whose they are.
        to: the conversations of them.
        acked: the seqs of those that were acknowledged.
        leavings: group and user of each LEAVE_GROUP, by cid.
        pages: what had been recalled before a page was asked for, by the cid of the request.
        recalled: whose recalls were acknowledged.
        changing: requests about groups and blocks that were not answered yet.
        sound: all that came was read, and nothing was wrong.
    """

    def __init__(self) -> None:
        self.patches = [
            patch("greenchat.service.device.stream.PAGE_MESSAGES", 3),
            patch("greenchat.service.device.catch_up.PAGE_MESSAGES", 3),
            patch("greenchat.service.delivery.sequencer.PAGE", 2),
        ]
        for one in self.patches:
            one.start()
        self.cluster = Cluster(*NODES, max_in_flight=1_000)
        self.numbers = itertools.count(1)
        self.seats: dict[tuple[int, str], Seat] = {}
        self.links: list[Link] = []
        self.users: list[int] = []
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

    # -- What must hold

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

    # -- In calm

    def check_devices(self) -> None:
        at: dict[tuple[int, str], str] = {}
        for node in self.cluster.nodes.values():
            for session in node.service.hub.sessions():
                key = session.id, session.device
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

    # -- What there is

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

    def groups(self) -> list[int]:
        return sorted({groupid for groupid, _ in self.members.keys})

    def address(self, link: Link, conversation: int) -> dict[str, int]:
        """Return the field that names a conversation."""
        if conversation < 0:
            return {"groupid": -conversation}
        low, high = conversation >> 32, conversation & 0xFFFFFFFF
        return {"peerid": high if low == link.seat.userid else low}

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

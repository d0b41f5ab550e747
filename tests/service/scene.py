"""What test_machine.py plays on: people with devices at one node, what they did, and what must be so."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from greenchat.data import SqlStore
from greenchat.model.records import Entry, Span
from greenchat.protocol.messages import MsgId
from tests.service.fakes import DoubtfulDatabase
from tests.service.model import Device, Link, Place, pair
from tests.service.world import World

USERS = ("ann", "bob", "cem")

BUSY, NO_MEMBER, BLOCKED, NO_MESSAGE = 13, 8, 10, 15

CALM = 12
"""Seconds, and some, in which presence is right again after the database was away."""


Doubt = tuple[bool, bool] | None
"""Whether a COMMIT whose answer is lost was carried out, and whether the database is away then."""


class DoubtfulWorld(World):
    """A node whose database may lose the answer to a COMMIT, as a server's of its own may."""

    def open(self, **limits: int) -> SqlStore:
        """Return the store, not yet started."""
        self.database = DoubtfulDatabase(self.runner)
        return SqlStore(self.database, self.runner, **limits)


class Scene(RuleBasedStateMachine):
    """Users with devices, all at one node, and what is known of them.

    Attributes:
        links: all connections that were ever logged in.
        acting: those in the middle of a request, while others act.
        members: of each group, with the seq before they joined.
        blocks: who has blocked whom, with the head of their conversation at that time.
        passwords: of each user.
        requests, sender, where: each message or recall that was sent, by cid.
        acked: the seq of each of them that was acknowledged.
        excused: those that may be refused because their receiver had blocked the sender.
        order: the cids that a connection sent to a conversation, in order.
        attempts: how often each was sent and not refused.
        recalled: the messages whose recall was acknowledged in an earlier step.
        shaken: the database has failed since presence was last known to be right.
        wavering: users who nearly left a group, and its conversation, until it is known that they did not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.page = patch("greenchat.service.device.stream.PAGE_MESSAGES", 3)
        self.page.start()
        self.numbers = itertools.count(1)
        self.devices: dict[tuple[int, str], Device] = {}
        self.links: list[Link] = []
        self.acting: list[Link] = []
        self.aim = 0
        self.members: dict[int, dict[int, int]] = {}
        self.blocks: dict[tuple[int, int], int] = {}
        self.passwords: dict[int, str] = {}
        self.requests: dict[str, dict[str, Any]] = {}
        self.sender: dict[str, int] = {}
        self.where: dict[str, int] = {}
        self.acked: dict[str, int] = {}
        self.excused: set[str] = set()
        self.order: dict[tuple[Link, int], list[str]] = defaultdict(list)
        self.attempts: Counter[str] = Counter()
        self.recalled: set[Place] = set()
        self.shaken = False
        self.wavering: set[tuple[int, int]] = set()

    @initialize(doubtful=st.booleans())
    def register(self, doubtful: bool) -> None:
        """Have the users, friends of each other and online, and a group of them all.

        Args:
            doubtful: whether the database is a server of its own, which may lose answers.
        """
        limits = {"max_in_flight": 1_000, "login_failures": 1_000_000, "recall_seconds": 1e9}
        self.world: World = DoubtfulWorld(None, **limits) if doubtful else World(None, **limits)
        people = self.world.users(*USERS)
        self.users = [person.id for person in people]
        for person in people:
            for other in people:
                if other is not person:
                    person.ok(MsgId.ADD_FRIEND, friendid=other.id)
        groupid = people[0].group("all", *people[1:])
        self.members[groupid] = dict.fromkeys(self.users, 0)
        for person in people:
            self.passwords[person.id] = "pw"
            device = self.devices[person.id, ""] = Device(person.id, "", [])
            device.token, device.token_holds = person.token, True
            self.links.append(Link(person, device, set()))
            self.links[-1].friends = dict.fromkeys(set(self.users) - {person.id}, "online")
            person.pushed()

    def teardown(self) -> None:
        try:
            if self.links:
                self.end()
        finally:
            if self.links:
                self.world.close()
            self.page.stop()

    # -- What must hold

    @invariant()
    def read_all(self) -> None:
        """Each frame that comes fits what the device has, and each answer what was asked."""
        for link in self.links:
            link.read(self.acked, self.where, self.recalled)
            assert link.person.peer.closed in (None, "replaced", "closed by peer")
            for reply in link.replies:
                self.check_refusal(reply)
            link.replies.clear()
        for cid, seq in self.acked.items():
            if self.requests[cid]["msgid"] == MsgId.RECALL:
                self.recalled.add(Place(self.where[cid], self.requests[cid]["target"]))
            assert seq > 0

    def check_refusal(self, reply: dict[str, Any]) -> None:
        """Hold the errno that a message got against what was so; what is stored is not refused."""
        cid, errno = reply["cid"], reply["errno"]
        request = self.requests[cid]
        not_member = {NO_MEMBER} if "groupid" in request else set()
        blocked = {BLOCKED} if cid in self.excused else set()
        gone = {NO_MESSAGE} if request["msgid"] == MsgId.RECALL else set()
        assert errno in {BUSY} | not_member | blocked | gone, reply
        if errno in (NO_MEMBER, BLOCKED):
            assert cid not in self.acked, f"{cid} is stored, and got {errno} when it was sent again"
        if errno != NO_MESSAGE:
            self.attempts[cid] -= 1

    def check_presence(self) -> None:
        """Each device knows which of its friends are online; those who blocked its user are not, for it."""
        self.read_all()
        for link in self.links:
            userid = link.device.userid
            for friend, state in link.friends.items() if link.alive else ():
                online = bool(self.links_of(friend)) and (friend, userid) not in self.blocks
                right = "online" if online else "offline"
                assert state == right, f"{userid}/{link.device.name} was told that {friend} is {state}"

    def check_blocks(self) -> None:
        """Nothing is stored that was sent to somebody who had blocked its sender."""
        for (userid, other), head in self.blocks.items():
            later = self.after(pair(userid, other), head)
            assert not [entry for entry in later if entry.sender == other and entry.kind == "text"]

    def calm_down(self) -> None:
        """Let the database be well for a while."""
        for _ in range(CALM):
            self.world.time += 1
            self.world.commit()
        self.shaken = False

    def end(self) -> None:
        """Everybody takes what is left, and comes back once more: all have all, and the log is right."""
        self.world.commit()
        self.calm_down()
        self.check_presence()
        self.check_blocks()
        self.read_all()
        for link in self.links:
            self.take_all(link)
        for link in self.links:
            if link.alive:
                link.person.leave()
        for device in list(self.devices.values()):
            self.enter(device.userid, device.name, False, [])
            self.take_all(self.links[-1])
        self.check_log()

    def take_all(self, link: Link) -> None:
        """Read pages until there are no more; then the device has all that its user may see."""
        self.read_all()
        while link.alive and link.more:
            link.person.put(MsgId.SYNC)
            self.read_all()
        if link.alive:
            device = link.device
            missing = self.visible(device) - device.has
            assert not missing, f"{device.userid}/{device.name} never got {missing}"

    def check_log(self) -> None:
        """Every acknowledged message is in the log once, where its ACK said, and in the order sent."""
        found: dict[str, Entry] = {}
        for conversation in self.conversations():
            entries = self.log(conversation)
            assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
            for entry in entries:
                assert entry.cid is not None
                assert entry.cid not in found, f"{entry.cid} was stored twice"
                found[entry.cid] = entry
                assert self.where[entry.cid] == conversation
                request = self.requests[entry.cid]
                assert entry.body in (request.get("msg") or str(request["target"]), "")
                for device in self.devices.values():
                    assert device.texts.get(
                        Place(conversation, entry.seq), request.get("msg")
                    ) == request.get("msg")
        for cid, seq in self.acked.items():
            assert found[cid].seq == seq
        for cids in self.order.values():
            seqs = [found[cid].seq for cid in cids if cid in found]
            assert seqs == sorted(seqs)
        assert all(attempts > 0 for cid, attempts in self.attempts.items() if cid in found)

    # -- Who and where

    def online(self, number: int) -> Link | None:
        """Return one of the connections that stand and are not in the middle of a request."""
        alive = [link for link in self.links if link.alive and link not in self.acting]
        return alive[number % len(alive)] if alive else None

    def group(self, number: int) -> int:
        """Return one of the groups."""
        return sorted(self.members)[number % len(self.members)]

    def devices_of(self, userid: int) -> list[Device]:
        return [device for device in self.devices.values() if device.userid == userid]

    def links_of(self, userid: int) -> list[Link]:
        return [link for link in self.links if link.alive and link.device.userid == userid]

    def address(self, link: Link, conversation: int) -> dict[str, int]:
        """Return the field that names a conversation."""
        if conversation < 0:
            return {"groupid": -conversation}
        low, high = conversation >> 32, conversation & 0xFFFFFFFF
        return {"peerid": high if low == link.device.userid else low}

    def conversations(self) -> list[int]:
        pairs = itertools.combinations_with_replacement(self.users, 2)
        return [*itertools.starmap(pair, pairs), *(-groupid for groupid in self.members)]

    def log(self, conversation: int) -> list[Entry]:
        return self.after(conversation, 0)

    def after(self, conversation: int, seq: int) -> list[Entry]:
        """Return what was stored in a conversation after a seq."""
        store = self.world.store
        return store.entries([Span(conversation, seq, store.head(conversation))])

    def since(self, userid: int, conversation: int) -> int | None:
        """Return after which seq a user may read a conversation; None of one of others."""
        if conversation < 0:
            return self.members[-conversation].get(userid)
        return 0 if userid in (conversation >> 32, conversation & 0xFFFFFFFF) else None

    def visible(self, device: Device) -> set[Place]:
        """Return what a device must be offered, sooner or later."""
        places: set[Place] = set()
        for conversation in self.conversations():
            after = self.since(device.userid, conversation)
            if after is not None:
                first = max(after, device.high[conversation]) + 1
                head = self.world.store.head(conversation)
                places |= {Place(conversation, seq) for seq in range(first, head + 1)}
        return places

    # -- Parts of the rules

    def write(self, link: Link, request: dict[str, Any]) -> None:
        """Send a new message or recall."""
        cid = f"c{next(self.numbers)}"
        userid = link.device.userid
        if request["msgid"] != MsgId.RECALL:
            request["msg"] = f"text {cid}"
        self.requests[cid] = request
        self.sender[cid] = userid
        groupid, other = request.get("groupid"), request.get("toid") or request.get("peerid")
        self.where[cid] = -groupid if groupid else pair(userid, other or 0)
        self.order[link, self.where[cid]].append(cid)
        self.put(link, cid)

    def put(self, link: Link, cid: str) -> None:
        """Send a message or recall, for the first time or again."""
        request = self.requests[cid]
        self.attempts[cid] += 1
        (self.excused.add if self.is_blocked(cid) else self.excused.discard)(cid)
        self.acting.append(link)
        link.person.put(**request, cid=cid)
        self.acting.remove(link)

    def is_blocked(self, cid: str) -> bool:
        """Return True if the receiver of a message has blocked its sender."""
        receiver = self.requests[cid].get("toid")
        return (receiver, self.sender[cid]) in self.blocks

    def ask(self, link: Link, doubt: Doubt, msgid: int, **fields: Any) -> int:
        """Send a request, of which the answer to the COMMIT may be lost, and return its errno."""
        with self.doubted(doubt):
            link.person.put(msgid, **fields, cid="asked")
        (reply,) = [frame for frame in link.person.peer.frames if frame.get("cid") == "asked"]
        link.person.peer.frames.remove(reply)
        link.answer = reply
        errno: int = reply["errno"]
        assert errno != BUSY or self.shaken, reply
        return errno

    @contextmanager
    def broken(self, kind: str) -> Iterator[None]:
        """Have a database that is away."""
        self.shaken = True
        self.world.runner.broken.add(kind)
        try:
            yield
        finally:
            self.world.runner.broken.clear()

    @contextmanager
    def doubted(self, doubt: Doubt) -> Iterator[None]:
        """Have the answer to the next COMMIT lost, if there is a doubt."""
        if doubt is None or not isinstance(self.world, DoubtfulWorld):
            yield
            return
        self.shaken = True
        database = self.world.database
        database.doubt, database.goes = doubt
        try:
            yield
        finally:
            database.come_back()

    @contextmanager
    def others_act(self, link: Link | None, meanwhile: Sequence[str]) -> Iterator[None]:
        """Have others act where the store may switch greenlets."""
        actions = self.actions()
        self.world.switching(*[actions[action] for action in meanwhile])
        if link:
            self.acting.append(link)
        try:
            yield
        finally:
            self.acting.clear()
            self.world.runner.hooks.clear()

    def actions(self) -> dict[str, Any]:
        """Return what others may do meanwhile, by name."""
        raise NotImplementedError

    def enter(
        self,
        userid: int,
        name: str,
        force: bool,
        meanwhile: Sequence[str],
        broken: str = "",
        by_token: bool = False,
    ) -> None:
        """Log a device in on a new connection, if it is let in."""
        device = self.devices.get((userid, name)) or Device(userid, name, self.devices_of(userid))
        person = self.world.connect()
        owed = {
            place
            for place in self.visible(device) - device.sent
            if place.seq > max(device.low[place.conversation], device.told[place.conversation])
        }
        link = Link(person, device, owed)
        taken = any(other.device is device for other in self.links_of(userid))
        proof = {"token": device.token} if by_token and device.token else {"password": self.passwords[userid]}
        ended = "token" in proof and not device.token_holds
        with self.broken(broken) if broken else self.others_act(link, meanwhile):
            person.put(MsgId.LOGIN, id=userid, device=name, force=force, cid="login", **proof)
        (ack,) = [frame for frame in person.peer.frames if frame.get("cid") == "login"]
        if ack["errno"]:
            assert self.may_be_refused(ack["errno"], taken and not force, bool(broken), ended), ack
            person.leave()
            return
        assert not ended, "a token is taken that has ended"
        device.token, device.token_holds = ack["token"], True
        self.read_all()  # while it logged in, others may have got on, and an older link of its own
        link.owed -= device.sent
        # What is in doubt comes later, and not in pages.
        link.owed = {place for place in link.owed if (userid, place.conversation) not in self.wavering}
        if (userid, name) not in self.devices:
            device.start(self.devices_of(userid))
            link.owed = {place for place in link.owed if place.seq > device.high[place.conversation]}
            self.devices[userid, name] = device
        self.links.append(link)

    def may_be_refused(self, errno: int, taken: bool, broken: bool, ended: bool) -> bool:
        """Return True if a login may get an errno: in use, busy, or its token has ended."""
        return (errno == 2 and taken) or (errno == BUSY and broken) or (errno == 1 and ended)

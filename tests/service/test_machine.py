"""Whatever people do and whenever commits come: what a device has seen is the log, once and in order."""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from greenchat.ports import Entry, Span
from greenchat.protocol.messages import MsgId
from tests.service.model import Device, Link, Place, pair
from tests.service.world import World

USERS = ("ann", "bob", "cem")
MAX_GROUPS = 3

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "100"))
STEPS = int(os.environ.get("MACHINE_STEPS", "40"))

who = st.integers(0, len(USERS) - 1)
device = st.sampled_from(("", "phone"))
pick = st.integers(0, 60)
interleaved = st.lists(st.sampled_from(("", "commit", "chat", "group", "at once", "drop")), max_size=6)
"""What others do at the next points where the store may switch greenlets."""


class Chats(RuleBasedStateMachine):
    """Users with devices who chat, fall off and come back, all at one node."""

    def __init__(self) -> None:
        super().__init__()
        self.page = patch("greenchat.service.gate.PAGE_MESSAGES", 3)
        self.page.start()
        self.world = World(None, max_in_flight=1_000)
        self.numbers = itertools.count(1)
        self.devices: dict[tuple[int, str], Device] = {}
        self.links: list[Link] = []
        self.acting: list[Link] = []
        self.aim = 0
        self.members: dict[int, dict[int, int]] = {}  # of each group, with the seq before they joined
        self.requests: dict[str, dict[str, Any]] = {}  # by cid
        self.sender: dict[str, int] = {}
        self.where: dict[str, int] = {}
        self.acked: dict[str, int] = {}
        self.order: dict[tuple[Link, int], list[str]] = defaultdict(list)
        self.attempts: Counter[str] = Counter()

    @initialize()
    def register(self) -> None:
        """Have the users, online, and a group of them all."""
        people = self.world.users(*USERS)
        self.users = [person.id for person in people]
        for person in people:
            self.devices[person.id, ""] = Device(person.id, "", [])
            self.links.append(Link(person, self.devices[person.id, ""], set()))
        groupid = people[0].group("all", *people[1:])
        self.members[groupid] = dict.fromkeys(self.users, 0)

    def teardown(self) -> None:
        try:
            if self.links:
                self.end()
        finally:
            self.world.close()
            self.page.stop()

    # -- Messages

    @rule(number=pick, other=who)
    def chat(self, number: int, other: int) -> None:
        """Somebody writes to somebody, perhaps to themselves; the commit comes later."""
        if link := self.online(number):
            self.write(link, {"msgid": MsgId.ONE_CHAT, "toid": self.users[other]})

    @rule(number=pick, group=pick)
    def group_chat(self, number: int, group: int) -> None:
        """Somebody writes to a group, theirs or not."""
        if link := self.online(number):
            self.write(link, {"msgid": MsgId.GROUP_CHAT, "groupid": self.group(group)})

    @rule(number=pick, old=pick, recall=st.booleans())
    def again(self, number: int, old: int, recall: bool) -> None:
        """Somebody sends a message a second time, just now or long ago sent, or recalls it."""
        link = self.online(number)
        mine = [cid for cid in self.requests if link and self.sender[cid] == link.device.userid]
        if not link or not mine:
            return
        cid = mine[-1 - old % len(mine)]
        for cids in self.order.values():
            if cid in cids and not recall:
                cids.remove(cid)
        if not recall:
            self.put(link, cid)
        elif cid in self.acked:
            self.write(
                link, {"msgid": MsgId.RECALL, "target": self.acked[cid]} | self.address(link, self.where[cid])
            )

    @rule()
    def commit(self) -> None:
        """What waits is committed and delivered."""
        self.world.commit()

    @rule()
    def commit_fails(self) -> None:
        """What waits is refused, because the database is away."""
        with self.broken("write"):
            self.world.commit()

    # -- Coming and going

    @rule(user=who, name=device, force=st.booleans(), meanwhile=interleaved)
    def log_in(self, user: int, name: str, force: bool, meanwhile: list[str]) -> None:
        """A device logs in, and others act while the store is read."""
        self.enter(self.users[user], name, force, meanwhile)

    @rule(user=who, name=device, kind=st.sampled_from(("read", "write")))
    def log_in_in_vain(self, user: int, name: str, kind: str) -> None:
        """A login fails because the database is away."""
        self.enter(self.users[user], name, False, [], kind)

    @rule(number=pick, politely=st.booleans())
    def go(self, number: int, politely: bool) -> None:
        """A connection breaks, whatever is under way on it; or the user logs out before."""
        if link := self.online(number):
            if politely:
                link.person.put(MsgId.LOGINOUT)
            link.person.leave()

    # -- Receiving

    @rule(number=pick, fails=st.booleans(), meanwhile=interleaved)
    def sync(self, number: int, fails: bool, meanwhile: list[str]) -> None:
        """A device asks for its next page, and others act while it is read; or it cannot be read."""
        if link := self.online(number):
            with self.broken("read") if fails else self.others_act(link, meanwhile):
                link.person.put(MsgId.SYNC)

    @rule(number=pick, which=pick, back=st.integers(0, 3))
    def receive(self, number: int, which: int, back: int) -> None:
        """A device acknowledges some of what it has, and seldom all."""
        link = self.online(number)
        if not link or not link.last:
            return
        conversation = sorted(link.last)[which % len(link.last)]
        seq = link.last[conversation] - back
        if seq >= 1 and (conversation > 0 or link.device.userid in self.members[-conversation]):
            link.received(conversation, seq)
            link.person.put(MsgId.RECEIVED, seq=seq, **self.address(link, conversation))

    # -- Groups

    @rule(number=pick)
    def create_group(self, number: int) -> None:
        """Somebody creates a group."""
        link = self.online(number)
        if link and len(self.members) < MAX_GROUPS:
            groupid = link.person.ok(MsgId.CREATE_GROUP, groupname=f"g{next(self.numbers)}")["groupid"]
            self.members[groupid] = {link.device.userid: 0}

    @rule(number=pick, group=pick, meanwhile=interleaved)
    def join(self, number: int, group: int, meanwhile: list[str]) -> None:
        """Somebody joins a group, perhaps again, and others act meanwhile."""
        link, groupid = self.online(number), self.group(group)
        if not link or link.device.userid in self.members[groupid]:
            return
        userid, self.aim = link.device.userid, group
        with self.others_act(link, meanwhile):
            link.person.put(MsgId.ADD_GROUP, groupid=groupid)
        seq = self.members[groupid][userid] = self.world.store.membership(groupid)[userid]
        for device in self.devices_of(userid):
            device.joined(-groupid, seq)
        for other in self.links_of(userid):
            other.joined(-groupid, seq)

    @rule(number=pick, group=pick, meanwhile=interleaved)
    def leave(self, number: int, group: int, meanwhile: list[str]) -> None:
        """Somebody leaves a group, and others act meanwhile."""
        link, groupid = self.online(number), self.group(group)
        if not link or link.device.userid not in self.members[groupid]:
            return
        with self.others_act(link, meanwhile):
            link.person.put(MsgId.LEAVE_GROUP, groupid=groupid)
        del self.members[groupid][link.device.userid]
        self.read_all()
        for other in self.links_of(link.device.userid):
            other.ceiling[-groupid] = self.world.store.head(-groupid)
            other.left(-groupid)

    # -- What must hold

    @invariant()
    def read_all(self) -> None:
        """Each frame that comes fits what the device has."""
        for link in self.links:
            link.read(self.acked, self.where)
            assert link.person.peer.closed in (None, "replaced", "closed by peer")
            for reply in link.replies:
                assert reply["errno"] in self.may_fail_with(self.requests[reply["cid"]]), reply
                if reply["errno"] != 15:
                    self.attempts[reply["cid"]] -= 1
            link.replies.clear()

    def end(self) -> None:
        """Everybody takes what is left, and comes back once more: all have all, and the log is right."""
        self.world.commit()
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

    # -- Parts of the rules

    def speak_at_once(self) -> None:
        """Have somebody write to the group that the others act on, and have it committed."""
        self.group_chat(2, self.aim)
        self.world.commit()

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
        self.attempts[cid] += 1
        self.acting.append(link)
        link.person.put(**self.requests[cid], cid=cid)
        self.acting.remove(link)

    def may_fail_with(self, request: dict[str, Any]) -> set[int]:
        """Return the errnos that a request may have got: busy, no member (any more), recalled already."""
        not_member = {8} if "groupid" in request else set()
        return {13} | not_member | ({15} if request["msgid"] == MsgId.RECALL else set())

    @contextmanager
    def broken(self, kind: str) -> Iterator[None]:
        """Have a database that is away."""
        self.world.runner.broken.add(kind)
        try:
            yield
        finally:
            self.world.runner.broken.clear()

    @contextmanager
    def others_act(self, link: Link | None, meanwhile: list[str]) -> Iterator[None]:
        """Have others act where the store may switch greenlets."""
        actions = {
            "": lambda: None,
            "commit": self.world.commit,
            "chat": lambda: self.chat(
                1, self.users.index(self.acting[0].device.userid) if self.acting else 0
            ),
            "group": lambda: self.group_chat(2, self.aim),
            "at once": self.speak_at_once,
            "drop": lambda: self.go(3, False),
        }
        self.world.switching(*[actions[action] for action in meanwhile])
        if link:
            self.acting.append(link)
        try:
            yield
        finally:
            self.acting.clear()
            self.world.runner.hooks.clear()

    def enter(self, userid: int, name: str, force: bool, meanwhile: list[str], broken: str = "") -> None:
        """Log a device in on a new connection, if it is let in."""
        device = self.devices.get((userid, name)) or Device(userid, name, self.devices_of(userid))
        person = self.world.connect()
        owed = {
            place
            for place in self.visible(device) - device.sent
            if place.seq > device.low[place.conversation]
        }
        link = Link(person, device, owed)
        taken = any(other.device is device for other in self.links_of(userid))
        with self.broken(broken) if broken else self.others_act(link, meanwhile):
            person.put(MsgId.LOGIN, id=userid, password="pw", device=name, force=force, cid="login")
        (ack,) = [frame for frame in person.peer.frames if frame.get("cid") == "login"]
        if ack["errno"]:
            allowed = (ack["errno"] == 2 and taken and not force) or (ack["errno"] == 13 and broken)
            assert allowed, ack
            person.leave()
            return
        self.read_all()  # while it logged in, others may have got on, and an older link of its own
        link.owed -= device.sent
        if (userid, name) not in self.devices:
            device.start(self.devices_of(userid))
            link.owed = {place for place in link.owed if place.seq > device.high[place.conversation]}
            self.devices[userid, name] = device
        self.links.append(link)

    def conversations(self) -> list[int]:
        pairs = itertools.combinations_with_replacement(self.users, 2)
        return [*itertools.starmap(pair, pairs), *(-groupid for groupid in self.members)]

    def log(self, conversation: int) -> list[Entry]:
        store = self.world.store
        return store.entries([Span(conversation, 0, store.head(conversation))])

    def visible(self, device: Device) -> set[Place]:
        """Return what a device must be offered, sooner or later."""
        places: set[Place] = set()
        for conversation in self.conversations():
            if conversation < 0:
                after = self.members[-conversation].get(device.userid)
            else:
                after = 0 if device.userid in (conversation >> 32, conversation & 0xFFFFFFFF) else None
            if after is not None:
                first = max(after, device.high[conversation]) + 1
                head = self.world.store.head(conversation)
                places |= {Place(conversation, seq) for seq in range(first, head + 1)}
        return places


Chats.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestChats = Chats.TestCase

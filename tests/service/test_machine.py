"""Whatever people do and whenever commits come: what a device has seen is the log, once and in order."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from greenchat.model.records import Contact
from greenchat.protocol.messages import MsgId
from tests.service.chatting import Chatting, pick, who
from tests.service.model import Link, pair
from tests.service.scene import BUSY, NO_MEMBER, Doubt, Scene

MAX_GROUPS = 3

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "100"))
STEPS = int(os.environ.get("MACHINE_STEPS", "40"))

device = st.sampled_from(("", "phone"))
interleaved = st.lists(st.sampled_from(("", "commit", "chat", "group", "at once", "drop")), max_size=6)
"""What others do at the next points where the store may switch greenlets."""
doubt = st.none() | st.tuples(st.booleans(), st.booleans())
"""Whether the answer to a COMMIT is lost; then whether it was carried out, and the database is away."""


class Chats(Scene, Chatting[Link]):
    """Users with devices who chat, fall off and come back, join, block and recall, all at one node."""

    def actions(self) -> dict[str, Any]:
        """Return what others may do meanwhile, by name."""
        return {
            "": lambda: None,
            "commit": self.world.commit,
            "chat": lambda: self.chat(
                1, self.users.index(self.acting[0].device.userid) if self.acting else 0
            ),
            "group": lambda: self.group_chat(2, self.aim),
            "at once": self.speak_at_once,
            "drop": lambda: self.go(3, False),
        }

    def speak_at_once(self) -> None:
        """Have somebody write to the group that the others act on, and have it committed."""
        self.group_chat(2, self.aim)
        self.world.commit()

    # -- Messages

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

    @rule(doubt=doubt)
    def commit(self, doubt: Doubt) -> None:
        """What waits is committed and delivered; or nobody knows at first whether it is."""
        with self.doubted(doubt):
            self.world.commit()
        if doubt is None:
            self.wavering.clear()
        if not self.shaken:
            self.check_presence()

    @rule(kind=st.sampled_from(("write", "read")))
    def commit_fails(self, kind: str) -> None:
        """What waits is refused, because the database is away; or nothing can be read that is to be told."""
        with self.broken(kind):
            self.world.commit()

    @rule()
    def all_is_well(self) -> None:
        """The database is well for a while, after which presence is right."""
        self.calm_down()
        self.check_presence()

    # -- Coming and going

    @rule(user=who, name=device, force=st.booleans(), meanwhile=interleaved, by_token=st.booleans())
    def log_in(self, user: int, name: str, force: bool, meanwhile: list[str], by_token: bool) -> None:
        """A device logs in, perhaps while it is online elsewhere, and others act while the store is read."""
        self.enter(self.users[user], name, force, meanwhile, by_token=by_token)

    @rule(user=who, name=device, kind=st.sampled_from(("read", "write")))
    def log_in_in_vain(self, user: int, name: str, kind: str) -> None:
        """A login fails because the database is away."""
        self.enter(self.users[user], name, False, [], kind)

    @rule(number=pick, politely=st.booleans(), fails=st.booleans())
    def go(self, number: int, politely: bool, fails: bool = False) -> None:
        """A connection breaks, after a logout or with something under way; the database may be away."""
        if not (link := self.online(number)):
            return
        if politely and not self.ask(link, None, MsgId.LOGINOUT):
            link.device.token_holds = False
        if fails:
            with self.broken("read"):
                link.person.leave()
        else:
            link.person.leave()

    @rule(number=pick, right=st.booleans(), doubt=doubt)
    def change_password(self, number: int, right: bool, doubt: Doubt) -> None:
        """Somebody changes the password, which ends all other sessions and tokens; or errs in the old one."""
        if not (link := self.online(number)):
            return
        userid, new = link.device.userid, f"pw{next(self.numbers)}"
        old = self.passwords[userid] if right else "wrong"
        errno = self.ask(link, doubt, MsgId.CHANGE_PASSWORD, old=old, new=new)
        assert errno in ((0, BUSY) if right else (1,))
        account = self.world.store.account(id=userid)
        assert account
        if account.password != new:
            assert errno, "it was not changed"
            return
        self.passwords[userid] = new
        for device in self.devices_of(userid):
            device.token_holds = False
        if not errno:
            link.device.token, link.device.token_holds = link.answer["token"], True
        self.world.commit()  # what is in doubt is found out
        self.world.commit()
        assert [other for other in self.links_of(userid) if other is not link] == [], "a session goes on"

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
            surely = (link.device.userid, conversation) not in self.wavering
            link.received(conversation, seq, surely)
            link.person.put(MsgId.RECEIVED, seq=seq, **self.address(link, conversation))

    @rule(number=pick, which=pick, limit=st.integers(1, 4), before=st.integers(0, 9))
    def read_back(self, number: int, which: int, limit: int, before: int) -> None:
        """Somebody asks for a history, and gets what the log has for them, but no recalled text."""
        if not (link := self.online(number)):
            return
        userid, able = link.device.userid, self.conversations()
        able = [one for one in able if one < 0 or self.since(userid, one) is not None]
        conversation = able[which % len(able)]
        where = self.address(link, conversation) | ({"before": before} if before else {})
        errno = self.ask(link, None, MsgId.HISTORY, limit=limit, **where)
        after = self.since(userid, conversation)
        assert errno == (NO_MEMBER if after is None else 0)
        if after is None:
            return
        log = [one for one in self.log(conversation) if after < one.seq and not 0 < before <= one.seq]
        shown = [(frame["seq"], frame.get("msg")) for frame in link.answer["messages"]]
        right = [(one.seq, (one.kind == "text" and one.body) or None) for one in log]
        assert shown == right[-limit:]
        assert link.answer["more"] == (len(log) > limit)

    # -- Groups

    @rule(number=pick)
    def create_group(self, number: int) -> None:
        """Somebody creates a group."""
        link = self.online(number)
        if link and len(self.members) < MAX_GROUPS:
            groupid = link.person.ok(MsgId.CREATE_GROUP, groupname=f"g{next(self.numbers)}")["groupid"]
            self.members[groupid] = {link.device.userid: 0}

    @rule(number=pick, group=pick, meanwhile=interleaved, doubt=doubt)
    def join(self, number: int, group: int, meanwhile: list[str], doubt: Doubt) -> None:
        """Somebody joins a group, perhaps again, and others act meanwhile."""
        link, groupid = self.online(number), self.group(group)
        if not link or link.device.userid in self.members[groupid]:
            return
        userid, self.aim = link.device.userid, group
        with self.others_act(link, meanwhile):
            errno = self.ask(link, doubt, MsgId.ADD_GROUP, groupid=groupid)
        assert errno in (0, BUSY)
        seq = self.world.store.membership(groupid).get(userid)
        if seq is None:
            assert errno, "they did not join"
            return
        self.members[groupid][userid] = seq
        for device in self.devices_of(userid):
            device.joined(-groupid, seq)
        for other in self.links_of(userid):
            other.joined(-groupid, seq)

    @rule(number=pick, group=pick, meanwhile=interleaved, doubt=doubt)
    def leave(self, number: int, group: int, meanwhile: list[str], doubt: Doubt) -> None:
        """Somebody leaves a group, and others act meanwhile."""
        link, groupid = self.online(number), self.group(group)
        if not link or link.device.userid not in self.members[groupid]:
            return
        userid = link.device.userid
        with self.others_act(link, meanwhile):
            errno = self.ask(link, doubt, MsgId.LEAVE_GROUP, groupid=groupid)
        assert errno in (0, BUSY)
        if userid in self.world.store.membership(groupid):
            assert errno, "they did not leave"
            self.wavered(userid, groupid)
            return
        del self.members[groupid][userid]
        self.read_all()
        for other in self.links_of(userid):
            other.ceiling[-groupid] = self.world.store.head(-groupid)
            other.left(-groupid)

    def wavered(self, userid: int, groupid: int) -> None:
        """Note that somebody nearly left: what they acknowledged may come again, what is owed come later."""
        self.wavering.add((userid, -groupid))
        joined = self.members[groupid][userid]
        for device in self.devices_of(userid):
            device.low[-groupid] = joined
        for link in self.links_of(userid):
            link.floor[-groupid] = joined
            link.left(-groupid)

    # -- Blocks

    @rule(number=pick, other=who, doubt=doubt)
    def block(self, number: int, other: int, doubt: Doubt) -> None:
        """Somebody blocks somebody."""
        link, blocked = self.online(number), self.users[other]
        if not link or blocked == link.device.userid:
            return
        userid = link.device.userid
        errno = self.ask(link, doubt, MsgId.BLOCK, userid=blocked)
        assert errno in (0, BUSY)
        if self.world.store.contact(blocked, userid) is not Contact.BLOCKED:
            assert errno, "it is not done"
            return
        conversation = pair(userid, blocked)
        self.blocks.setdefault((userid, blocked), self.world.store.head(conversation))
        self.excused |= {
            cid
            for cid, request in self.requests.items()
            if request.get("toid") == userid and self.sender[cid] == blocked
        }

    @rule(number=pick, which=pick, doubt=doubt)
    def unblock(self, number: int, which: int, doubt: Doubt) -> None:
        """Somebody blocks somebody no more."""
        link = self.online(number)
        mine = [pair for pair in self.blocks if link and pair[0] == link.device.userid]
        if link and mine:
            self.check_blocks()
            userid, blocked = mine[which % len(mine)]
            errno = self.ask(link, doubt, MsgId.UNBLOCK, userid=blocked)
            assert errno in (0, BUSY)
            if self.world.store.contact(blocked, userid) is not Contact.BLOCKED:
                del self.blocks[userid, blocked]


Chats.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestChats = Chats.TestCase

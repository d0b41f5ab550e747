"""The acts of a device beside chatting: it joins and leaves, blocks, recalls, reads back, moves and rests."""

from __future__ import annotations

import random
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING

from lab.people.visit import BUSY, NOT_LOGGED_IN, Frame, Visit
from lab.record import (
    BLOCK,
    JOIN,
    LEAVE,
    LOGOUT,
    PASSWORD,
    RECALL,
    TEXT,
    UNBLOCK,
    Act,
    peer_of,
)

if TYPE_CHECKING:
    from lab.people.device import Device

MSGIDS = {JOIN: 9, LEAVE: 21, BLOCK: 19, UNBLOCK: 20, PASSWORD: 28, LOGOUT: 3}

DONE_BEFORE = {LEAVE: 8, PASSWORD: 1}
"""The errno that says of a repeated request that it had been carried out."""

AGAIN = 0.5
"""Seconds after which an act that was not answered, or with ``busy``, is asked for again."""

CALM = 3.0
"""Seconds of calm after which no old request is carried out any more."""

RESTS = (0.5, 12.0)
"""Seconds that a device stays away."""

FRESH = 40.0
"""Seconds in which a message is recalled: well below the limit of 120."""

CHOICES = {
    "join_or_leave": 6,
    "block_or_unblock": 4,
    "recall": 6,
    "read_back": 5,
    "move": 2,
    "clash": 1,
    "rest": 2,
    "change_password": 0.4,
}
"""The relative frequency of each act."""


def family(kind: str, subject: int) -> tuple[str, int]:
    """Return the thing that an act changes: two acts on one thing do not go on at a time."""
    return {LEAVE: JOIN, UNBLOCK: BLOCK}.get(kind, kind), subject


class Life:
    """The acts of a device.

    Args:
        device: it.
        chance: the dice.
        rate: acts a second.

    Attributes:
        leaves: True while the device logs out.
    """

    def __init__(self, device: Device, chance: random.Random, rate: float) -> None:
        self.leaves = False
        self._device = device
        self._person = device.person
        self._weather = device.weather
        self._record = device.record
        self._chance = chance
        self._rate = rate
        self._next = 0.0
        self._asked: dict[str, tuple[Act, Frame]] = {}
        self._when: dict[str, float] = {}
        self._calm_try: dict[str, bool] = {}
        self._rests_until = 0.0
        self._siblings: list[Device] = []

    @property
    def rests(self) -> bool:
        """True while the device stays away; while everything is held, nobody comes back."""
        if self._rests_until and not self._weather.held and monotonic() > self._rests_until:
            self._rests_until = 0.0
            self._device.come_gently()
        return self._rests_until > 0

    @property
    def under_way(self) -> bool:
        """True while an act is not settled."""
        return bool(self._asked) or self.leaves

    def describe(self) -> str:
        """Return the acts under way."""
        return ", ".join(f"{act.kind} of {act.subject}" for act, _ in self._asked.values()) or "nothing"

    def know(self, siblings: list[Device]) -> None:
        """Take note of the user's other devices."""
        self._siblings = siblings

    def of_the_others(self) -> Iterator[Act]:
        """Return the acts of the user's other devices."""
        for sibling in self._siblings:
            yield from sibling.record.acts

    # -- Requests that are repeated until they are answered

    def tick(self, visit: Visit, now: float) -> None:
        """Do something new, when it is time."""
        if self._next == 0.0 and self._rate:
            self._next = now + self._chance.expovariate(self._rate)
        if self._rate and now >= self._next and not (self._weather.held or self._weather.still):
            self._next = now + self._chance.expovariate(self._rate)
            name = self._chance.choices(list(CHOICES), list(CHOICES.values()))[0]
            getattr(self, name)(visit, now)

    def ask_again(self, visit: Visit, now: float) -> None:
        """Repeat requests without an answer, and those answered with ``busy``."""
        for cid in [cid for cid, when in self._when.items() if when <= now]:
            self._ask(visit, cid, now)

    def interrupted(self) -> None:
        """Note the end of a connection: requests under way on it may be carried out late."""
        self.leaves = False
        for act, _ in self._asked.values():
            act.lost = True

    def resume(self, visit: Visit) -> None:
        """Ask again, over a new connection."""
        now = monotonic()
        for cid, (act, _) in list(self._asked.items()):
            if act.kind == LOGOUT:
                self._settle(cid, now)  # a new login has come after it
            else:
                act.lost = True  # a request on the last connection may be carried out after this
                self._ask(visit, cid, now)

    def answered(self, visit: Visit, frame: Frame) -> bool:
        """Take the answer to an act; return False if it is none."""
        cid: str = frame.get("cid", "")
        if cid not in self._asked:
            return cid.startswith("act") or cid == "gone"
        act, fields = self._asked[cid]
        now, errno = monotonic(), frame["errno"]
        if errno == NOT_LOGGED_IN:
            return True  # another login was faster: this connection ends, and the next one asks again
        if errno == BUSY or (act.lost and not self._calm_try.get(cid)):
            self._when[cid] = now + AGAIN
            return True
        if errno and not (act.tries > 1 and DONE_BEFORE.get(act.kind) == errno):
            self._record.oddities.append(f"{act.kind} of {act.subject} got {frame}")
        self._settle(cid, now)
        if act.kind == PASSWORD and (not errno or act.tries > 1):
            self._person.prefer(str(fields["new"]))
            if token := frame.get("token"):
                self._device.keep_token(token)
        elif act.kind == LOGOUT:
            self._stay_away(visit)
        return True

    def _begin(self, visit: Visit, now: float, kind: str, subject: int, **fields: object) -> None:
        what = family(kind, subject)
        if what in self._person.busy:
            return
        self._person.busy.add(what)
        act = Act(kind, subject, visit.place.node, now)
        self._record.acts.append(act)
        cid = f"act{len(self._record.acts)}"
        self._asked[cid] = act, fields
        self._ask(visit, cid, now)

    def _ask(self, visit: Visit, cid: str, now: float) -> None:
        act, fields = self._asked[cid]
        act.tries += 1
        self._when.pop(cid, None)
        self._calm_try[cid] = now - self._weather.calm_since > CALM
        visit.send(MSGIDS[act.kind], cid=cid, **fields)

    def _settle(self, cid: str, now: float) -> None:
        act, _ = self._asked.pop(cid)
        self._when.pop(cid, None)
        self._calm_try.pop(cid, None)
        act.settled = now
        person, subject = self._person, act.subject
        person.busy.discard(family(act.kind, subject))
        changes = {
            JOIN: person.inside.add,
            LEAVE: person.inside.discard,
            BLOCK: person.blocked.add,
            UNBLOCK: person.blocked.discard,
        }
        if act.kind in changes:
            changes[act.kind](subject)

    # -- The acts

    def join_or_leave(self, visit: Visit, now: float) -> None:
        """Join a group, or leave it again."""
        if self._record.groups:
            group = self._chance.choice(sorted(self._record.groups))
            kind = LEAVE if group in self._person.inside else JOIN
            self._begin(visit, now, kind, group, groupid=group)

    def block_or_unblock(self, visit: Visit, now: float) -> None:
        """Block a neighbour; nobody stays blocked for long."""
        neighbours = sorted(peer_of(one, self._record.user) for one in self._record.conversations if one > 0)
        blocked = sorted(self._person.blocked)
        other = self._chance.choice(blocked or neighbours)
        self._begin(visit, now, UNBLOCK if blocked else BLOCK, other, userid=other)

    def recall(self, visit: Visit, now: float) -> None:
        """Take back a message of one's own."""
        sent = list(self._record.sent.values())[-60:]
        recalled = {(one.conversation, one.body) for one in sent if one.kind == RECALL}
        able = [
            one
            for one in sent
            if one.kind == TEXT and one.acks and now - one.acks[0][1] < FRESH
            and (one.conversation, str(one.acks[0][0])) not in recalled
            and (one.conversation > 0 or one.conversation in self._record.conversations
                 or -one.conversation in self._person.inside)
            and self._device.is_open(one.conversation)
        ]  # fmt: skip
        if able:
            one = self._chance.choice(able)
            self._device.put(one.conversation, RECALL, str(one.acks[0][0]), now)

    def read_back(self, visit: Visit, now: float) -> None:
        """Ask for a page of a history, the newest or one before a message that one has."""
        conversations = sorted([*self._record.conversations, *(-group for group in self._record.groups)])
        conversation = self._chance.choice(conversations)
        limit, before = self._chance.choice((5, 20, 50)), 0
        if visit.link and self._chance.random() < 0.3:
            seqs = [one.seq for one in visit.link.arrivals[-200:] if one.conversation == conversation]
            before = self._chance.choice(seqs) if seqs else 0
        visit.ask_past(conversation, before, limit, self._device.whom(conversation, "peerid"))

    def move(self, visit: Visit, now: float) -> None:
        """Go on at another node, before the connection here has ended."""
        self._device.move(clash=False)

    def clash(self, visit: Visit, now: float) -> None:
        """Log in at two nodes at once."""
        self._device.move(clash=True)

    def rest(self, visit: Visit, now: float) -> None:
        """Go away for a while, with a word or without."""
        if self._asked or not self._device.alone or family(LOGOUT, 0) in self._person.busy:
            return  # acts under way are answered first, and another device's logout
        if self._chance.random() < 0.5:
            self._stay_away(visit)
            return
        self.leaves = True
        self._device.keep_token("")
        self._begin(visit, now, LOGOUT, 0)

    def change_password(self, visit: Visit, now: float) -> None:
        """Change the password, which ends all other sessions and tokens of the user."""
        if (PASSWORD, 0) in self._person.busy:
            return
        old, new = self._person.passwords[0], f"pw{self._chance.randrange(10**9)}"
        self._person.consider(new)
        self._begin(visit, now, PASSWORD, 0, old=old, new=new)

    def _stay_away(self, visit: Visit) -> None:
        self._rests_until = monotonic() + self._chance.uniform(*RESTS)
        visit.vanish("it rests")

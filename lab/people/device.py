"""One device of a user under load: it writes, takes everything down, and comes back whatever happens.

A reading of docs/protocol.md of its own, that shares no code with server or client.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from time import monotonic

from lab.people.life import Life
from lab.people.person import Person, Weather
from lab.people.visit import (
    ALREADY_ONLINE,
    BUSY,
    GROUP_CHAT,
    NOT_LOGGED_IN,
    ONE_CHAT,
    RECALLED,
    RECEIVED,
    Frame,
    Place,
    Proof,
    Visit,
)
from lab.record import LOGOUT, RECALL, TEXT, Act, Arrival, Record, Sent, peer_of
from lab.record import PASSWORD as PASSWORD_ACT

BAD_CREDENTIALS = 1

PASSWORD = "pw"

WINDOW = 4
"""Messages to one conversation that a device has under way."""

AGAIN = 0.3
"""Seconds after which a message that was refused is sent again."""

MARK_CHANCE = 0.3
"""Probability of a RECEIVED at a tick; entries that are not marked are offered again after a reconnect."""

UNANSWERED = 40.0
"""Seconds without an ACK on a connection that lives, after which something is wrong with the server."""

LEAST_PAUSE, MOST_PAUSE = 0.1, 1.0
"""Seconds between two attempts to connect."""

DOUBT = 60.0
"""Seconds after a change of the password, or a logout, in which a token may turn out to have ended."""

PATIENCE = 30.0
"""Seconds in which a device that was away comes back without ``force``, before it uses it."""

STRANGER = 0.03
"""Probability that a message goes to a group of which the user is no member."""


class Device:
    """One device of a user: a connection after the other, each to another node than the last.

    Args:
        places: the nodes.
        home: the number of that where it begins.
        record: its notes.
        person: the user.
        token: for the first login; without one it is by password.
        rate: messages a second.
        chance: the dice.
        weather: the faults outside.
        acts: a second, beside messages: joins, blocks, moves and so on.

    Attributes:
        record, person, weather: as given.
        name: of the user.
        sending: True while it writes new messages.
    """

    def __init__(
        self,
        places: Sequence[Place],
        home: int,
        record: Record,
        person: Person,
        token: str,
        rate: float,
        chance: random.Random,
        weather: Weather,
        acts: float = 0.0,
    ) -> None:
        self.record = record
        self.person = person
        self.weather = weather
        self.name = person.name
        self.sending = False
        self._places = places
        self._at = home
        self._rate = rate
        self._chance = chance
        self._token = token
        self._issued = 0.0
        self._refusals = 0
        self._over = False
        self._visits: dict[Visit, asyncio.Task[None]] = {}
        self._current: Visit | None = None
        self._changed = asyncio.Event()
        self._unacked: dict[int, dict[str, Sent]] = {
            one: {} for one in sorted([*record.conversations, *(-group for group in record.groups)])
        }
        self._again: dict[int, float] = {}
        self._marks: dict[int, int] = {}
        self._has: dict[int, int] = {}
        self._next = 0.0
        self._gentle_since = 0.0
        self.life = Life(self, random.Random(chance.random()), acts)

    # -- State

    @property
    def online(self) -> bool:
        """True while it is logged in."""
        return any(link.ended == 0 for link in self.record.connections[-3:])

    @property
    def resting(self) -> bool:
        """True while it stays away because it wants to."""
        return self.life.rests

    @property
    def idle(self) -> bool:
        """True if it is logged in on one connection or rests, and nothing that it changes is under way."""
        settled = self.resting if not self._visits else self.alone and self.online
        return settled and not self.life.under_way

    def describe(self) -> str:
        """Return the reason for which it is not idle."""
        links = f"{len(self._visits)} connections, {'online' if self.online else 'offline'}"
        return f"{links}, resting {self.resting}, under way {self.life.describe()}"

    @property
    def alone(self) -> bool:
        """True if it has one connection and opens no other."""
        return len(self._visits) == 1

    @property
    def node(self) -> str:
        """The node at which it is logged in, or was last."""
        links = self.record.connections
        return next((link for link in reversed(links) if not link.ended), links[-1]).node

    @property
    def under_way(self) -> int:
        """The number of its messages that are not acknowledged."""
        return sum(map(len, self._unacked.values()))

    def vanish(self) -> None:
        """Lose the connections without a word; it comes back elsewhere.  On the loop."""
        for visit in self._visits:
            visit.vanish()

    def end(self) -> None:
        """Come back no more.  On the loop."""
        self._over = True
        self.vanish()

    # -- One connection after the other

    async def run(self) -> None:
        """Be online until ``end``."""
        failures = 0
        while not self._over:
            if not self._visits and not self.resting:
                before = len(self.record.connections)
                visit = self._visit(self._at)
                await self._all_over()
                failures = 0 if len(self.record.connections) > before else failures + 1
                self._at = self._elsewhere()
                pause = self._chance.uniform(0, min(MOST_PAUSE, LEAST_PAUSE * 2**failures))
                await asyncio.sleep(max(pause, visit.retry_after))
            else:
                await asyncio.sleep(LEAST_PAUSE)

    def move(self, clash: bool) -> None:
        """Log in at another node, or at two at once, while the connection here lives."""
        goals = [number for number in range(len(self._places)) if self._places[number].node != self.node]
        for number in self._chance.sample(goals, min(len(goals), 1 + clash)):
            self._visit(number)

    def come_gently(self) -> None:
        """Come back without ``force``, as a client does which has not been here for a while."""
        self._gentle_since = monotonic()

    def _elsewhere(self) -> int:
        return self._chance.choice([n for n in range(len(self._places)) if n != self._at] or [0])

    def _visit(self, number: int) -> Visit:
        visit = Visit(self, self._places[number])
        self._visits[visit] = asyncio.create_task(self._run(visit))
        return visit

    async def _run(self, visit: Visit) -> None:
        try:
            await visit.run()
        finally:
            del self._visits[visit]
            if self._current is visit:
                self._current = None
                self.life.interrupted()
                for other in [one for one in self._visits if one.link]:
                    self._go_on(other)
            self._changed.set()

    async def _all_over(self) -> None:
        while self._visits:
            self._changed.clear()
            await self._changed.wait()

    # -- Logins

    def proof(self) -> Proof:
        """Return a proof by the token, or without one by the password that seems to hold."""
        force = {} if self._gentle_since else {"force": True}
        if self._token:
            return Proof({"name": self.name, "token": self._token, **force}, self._issued)
        if not self.record.attempts:
            force = {}
        return Proof({"name": self.name, "password": self.person.passwords[0], **force}, 0.0)

    def refused(self, errno: int, proof: Proof) -> None:
        """Take note that a login was refused, and why it may have been."""
        if errno == BUSY:
            return
        if errno == ALREADY_ONLINE and not proof.fields.get("force"):
            if monotonic() - self._gentle_since > PATIENCE:
                self._gentle_since = 0.0
            return
        if errno == BAD_CREDENTIALS and "token" in proof.fields:
            self._token = ""
            if self._may_have_ended(proof.issued):
                return
        elif errno == BAD_CREDENTIALS:
            tried = proof.fields["password"]
            if self.person.passwords[0] == tried:
                self.person.passwords.append(self.person.passwords.pop(0))
            self._refusals += 1
            if self._refusals <= 2 * len(self.person.passwords):
                return
            self._refusals = 0
        how = "token" if "token" in proof.fields else "password"
        self.record.oddities.append(f"a login by {how} got {errno}")

    def _may_have_ended(self, issued: float) -> bool:
        """Return True if a change of the password or a logout may have ended a token."""
        acts: list[Act] = [*self.record.acts, *self.life.of_the_others()]
        return any(
            act.kind in (PASSWORD_ACT, LOGOUT)
            and max(act.asked, min(act.settled, monotonic())) > issued - DOUBT
            for act in acts
        )

    def welcome(self, visit: Visit, ack: Frame, proof: Proof) -> None:
        """Go on over a new connection: messages without ACK are sent again."""
        if self._over:
            visit.vanish()
        if password := proof.fields.get("password"):
            self.person.prefer(password)
        self._refusals = 0
        self._gentle_since = 0.0
        self.keep_token(ack["token"])
        self._marks.clear()
        self._go_on(visit)

    def _go_on(self, visit: Visit) -> None:
        self._current = visit
        for conversation in self._unacked:
            self._send_again(conversation)
        self.life.resume(visit)

    def keep_token(self, token: str) -> None:
        """Use this token for the next login; without one it is by password."""
        self._token, self._issued = token, monotonic()

    # -- Input

    def arrived(self, arrival: Arrival) -> None:
        """Take note of an entry."""
        conversation = arrival.conversation
        self._has[conversation] = max(arrival.seq, self._has.get(conversation, 0))
        self._marks[conversation] = self._has[conversation]

    def answered(self, visit: Visit, frame: Frame) -> bool:
        """Take an ACK of a message or of anything else."""
        message = self.record.sent.get(frame.get("cid", ""))
        if message is None:
            return self.life.answered(visit, frame)
        waiting = self._unacked[message.conversation]
        if frame["errno"] == 0:
            message.acks.append((frame["seq"], monotonic()))
            waiting.pop(message.cid, None)
        elif frame["errno"] == NOT_LOGGED_IN:
            pass  # another login was faster: this connection ends, and the next one sends it again
        elif frame["errno"] == BUSY:
            message.refused += 1
            if not message.acks and not message.refusal:
                self._again.setdefault(message.conversation, monotonic() + AGAIN)
        else:
            message.refusal = message.refusal or (frame["errno"], monotonic())
            waiting.pop(message.cid, None)
        return True

    # -- Tasks

    def tick(self, visit: Visit, now: float) -> None:
        """Mark, send again, and write something new."""
        if visit is not self._current:
            return
        self.life.ask_again(visit, now)
        if self.life.leaves:
            return
        if self._marks and self._chance.random() < MARK_CHANCE:
            self._mark()
        for conversation in [one for one, when in self._again.items() if when <= now]:
            self._send_again(conversation)
        self._complain_of_silence(visit, now)
        while self.sending and now >= self._next:
            self._next = max(self._next, now - 2 * LEAST_PAUSE) + self._chance.expovariate(self._rate)
            self._write_new(self._whither(), now)
        if self.sending:
            self.life.tick(visit, now)

    def _whither(self) -> int:
        """Return where to write next: to each conversation once, then anywhere."""
        conversations = sorted(self.record.conversations)
        fresh = conversations[len(self.record.sent) :]
        if fresh:
            return fresh[0]
        stranger = self._chance.random() < STRANGER
        groups = [-group for group in sorted(self.record.groups) if (group in self.person.inside) != stranger]
        return self._chance.choice(groups if groups and stranger else conversations + groups)

    def _complain_of_silence(self, visit: Visit, now: float) -> None:
        assert visit.link
        for waiting in self._unacked.values():
            for message in waiting.values():
                if now - max(message.at, visit.link.began) > UNANSWERED:
                    why = f"no answer to {message.cid} on a connection that lives"
                    self.record.oddities.append(why)
                    visit.vanish(why)
                    return

    def _mark(self) -> None:
        assert self._current
        for conversation, seq in self._marks.items():
            self._current.send(RECEIVED, seq=seq, **self.whom(conversation, "peerid"))
        self._marks.clear()

    def _write_new(self, conversation: int, now: float) -> None:
        """Write a new message, unless too many are under way or the old ones are to be sent first."""
        if not self.is_open(conversation):
            return
        number = len(self.record.sent) + 1
        body = f"{self.record}.{number} {'.' * self._chance.randrange(200)}"
        self.put(conversation, TEXT, body, now)

    def is_open(self, conversation: int) -> bool:
        """Return True if something new may be sent to a conversation now."""
        return len(self._unacked[conversation]) < WINDOW and conversation not in self._again

    def put(self, conversation: int, kind: str, body: str, now: float) -> None:
        """Send a new message or recall."""
        assert self._current
        assert self._current.link
        number = len(self.record.sent) + 1
        cid, node = f"{self.record}.{number}", self._current.link.node
        message = Sent(cid, conversation, number, body, node, now, kind=kind)
        self._unacked[conversation][cid] = self.record.sent[cid] = message
        self._write(message)

    def _send_again(self, conversation: int) -> None:
        self._again.pop(conversation, None)
        for message in self._unacked[conversation].values():
            self._write(message)

    def _write(self, message: Sent) -> None:
        assert self._current
        message.tries += 1
        if message.kind == RECALL:
            whom = self.whom(message.conversation, "peerid")
            self._current.send(RECALLED, **whom, target=int(message.body), cid=message.cid)
            return
        whom = self.whom(message.conversation, "toid")
        msgid = ONE_CHAT if "toid" in whom else GROUP_CHAT
        self._current.send(msgid, **whom, msg=message.body, cid=message.cid)

    def whom(self, conversation: int, pair: str) -> dict[str, int]:
        """Return the field that names a conversation."""
        if conversation < 0:
            return {"groupid": -conversation}
        return {pair: peer_of(conversation, self.record.user)}

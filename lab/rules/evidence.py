"""The evidence, and its consequences: memberships and blocks over time, and the delay of the load."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import NamedTuple

from lab.record import BLOCK, JOIN, LEAVE, RECALL, TEXT, UNBLOCK, Act, Arrival, Record, Row, Sent

LOST = "lost"
DOUBLED = "doubled"
REORDERED = "reordered"
LEAKED = "leaked"
STUCK = "stuck"
WRONG = "wrong"

REPLACED = "bye replaced"
"""The reason of a connection's end if another login, or a change of the password, has ended it."""

BOUND, BOUND_AWAY = 0.5, 1.0
"""Seconds after the ACK of a leaving or block in which pushes under way may come; while Redis is away."""

RECOVERING = 5.0
"""Seconds after the end of a fault in which all is as before (docs/protocol.md, "In a cluster")."""

CONVERGED = 10.0
"""Seconds of calm after which presence is right, and nobody is stuck."""

Place = tuple[int, int]
"""A conversation and a seq in it."""


class Violation(NamedTuple):
    """A promise that was not kept: its kind, and where."""

    kind: str
    text: str


class Fault(NamedTuple):
    """A time in which something was broken."""

    name: str
    began: float
    ended: float


class Look(NamedTuple):
    """A time at which all that has not changed for ten calm seconds must be right.

    Attributes:
        at: when.
        wrong: errors in the tables User and Device: the user, and a sentence.
        pending: the devices that were neither online nor resting.
    """

    at: float
    wrong: Sequence[tuple[int, str]] = ()
    pending: Sequence[str] = ()


class Change(NamedTuple):
    """A change of something from then on, made between ``asked`` and ``settled``."""

    asked: float
    settled: float
    to: bool


class Timeline:
    """Something that is so or not, as far as is known: a membership, a block.

    Args:
        changes: in order.
    """

    def __init__(self, changes: Iterable[Change]) -> None:
        self.changes = sorted(changes)

    def surely(self, value: bool, since: float, until: float, slack: float = 0.0) -> bool:
        """Return True if it had this value for certain all the time.

        Args:
            value: which.
            since, until: the time.
            slack: seconds for which a change may take its time.
        """
        state = False
        for change in self.changes:
            if change.asked > until:
                break
            if change.settled + slack >= since:
                return False
            state = change.to
        return state == value

    def periods(self) -> list[tuple[Change, Change | None]]:
        """Return the times in which it was so, each with its beginning and end."""
        pairs = []
        for number, change in enumerate(self.changes):
            if change.to:
                later = [one for one in self.changes[number + 1 :] if not one.to]
                pairs.append((change, later[0] if later else None))
        return pairs


class Seqs:
    """The seqs of a conversation by the times of their messages.

    Args:
        times: of each message, seq, first try and first ACK; infinite if there was none.
    """

    def __init__(self, times: Iterable[tuple[int, float, float]]) -> None:
        known = list(times)
        self._tries = sorted((tried, seq) for seq, tried, _ in known)
        self._acks = sorted((acked, seq) for seq, _, acked in known if acked < inf)
        self._least: list[int] = []
        for _, seq in reversed(self._tries):
            self._least.append(min(seq, self._least[-1]) if self._least else seq)
        self._least.reverse()
        self._most: list[int] = []
        for _, seq in self._acks:
            self._most.append(max(seq, self._most[-1]) if self._most else seq)

    def surely_by(self, time: float) -> int:
        """Return the greatest seq that was stored for certain before a time; 0 if none was."""
        number = bisect_left(self._acks, (time, 0))
        return self._most[number - 1] if number else 0

    def surely_after(self, time: float) -> float:
        """Return the least seq that was stored for certain after a time; infinite if none was."""
        number = bisect_right(self._tries, (time, 1 << 62))
        return self._least[number] if number < len(self._least) else inf


Rule = Callable[["Evidence"], Iterator[Violation]]
"""Yields each breach of one promise."""


@dataclass(frozen=True)
class Evidence:
    """All that there is to judge.

    Args:
        rows: the table Message.
        heads: id and last_seq of the table Conversation.
        records: of every device.
        faults: of Redis and all else, in order.
        lags: when the load itself was late, and how much.
        looks: the times at which all was looked at.
    """

    rows: Sequence[Row]
    heads: Mapping[int, int]
    records: Sequence[Record]
    faults: Sequence[Fault] = ()
    lags: Sequence[tuple[float, float]] = ()
    looks: Sequence[Look] = ()

    # -- The log

    @cached_property
    def _rows(self) -> dict[Place, Row]:
        return {(row.conversation, row.seq): row for row in self.rows}

    def row(self, conversation: int, seq: int) -> Row | None:
        """Return the row at a place, if there is one."""
        return self._rows.get((conversation, seq))

    @cached_property
    def stored(self) -> dict[tuple[int, str], Row]:
        """All rows by sender and cid."""
        return {(row.sender, row.cid): row for row in self.rows}

    @cached_property
    def sent(self) -> dict[tuple[int, str], Sent]:
        """All messages by sender and cid."""
        return {(record.user, cid): sent for record in self.records for cid, sent in record.sent.items()}

    @cached_property
    def _recalled(self) -> set[Place]:
        return {(row.conversation, int(row.body)) for row in self.rows if row.kind == RECALL}

    def is_recalled(self, row: Row) -> bool:
        """Return True if a recall of it is stored."""
        return (row.conversation, row.seq) in self._recalled

    def text(self, row: Row) -> str:
        """Return the text of a row, also if it was recalled."""
        if row.kind != TEXT or row.body:
            return row.body
        sent = self.sent.get((row.sender, row.cid))
        return sent.body if sent else ""

    @cached_property
    def own(self) -> dict[tuple[int, str], set[Place]]:
        """The entries that each device sent itself: it need not be told."""
        own: dict[tuple[int, str], set[Place]] = defaultdict(set)
        for record in self.records:
            for cid in record.sent:
                if row := self.stored.get((record.user, cid)):
                    own[record.user, record.device].add((row.conversation, row.seq))
        return own

    def seqs(self, conversation: int) -> Seqs:
        """Return the seqs of a conversation by their times."""
        return self._seqs.get(conversation) or Seqs(())

    @cached_property
    def _seqs(self) -> dict[int, Seqs]:
        times: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
        for row in self.rows:
            if sent := self.sent.get((row.sender, row.cid)):
                acked = min((at for _, at in sent.acks), default=inf)
                times[row.conversation].append((row.seq, sent.at, acked))
        return {conversation: Seqs(known) for conversation, known in times.items()}

    def arrivals(self, past: bool = False) -> Iterator[tuple[Record, Arrival]]:
        """Return all entries that came, with those of histories if wanted."""
        for record in self.records:
            for link in record.connections:
                for arrival in link.arrivals:
                    yield record, arrival
                for page in link.pasts if past else ():
                    for arrival in page.arrivals:
                        yield record, arrival

    @cached_property
    def _seen(self) -> dict[Place, float]:
        """The time at which each entry came to any device first."""
        seen: dict[Place, float] = {}
        for _, arrival in self.arrivals(past=True):
            place = arrival.conversation, arrival.seq
            seen[place] = min(arrival.at, seen.get(place, inf))
        return seen

    def was_stored(self, row: Row, time: float) -> bool:
        """Return True if a row was stored before a time: somebody had it, or the ACK of a later one."""
        seen = self._seen.get((row.conversation, row.seq), inf)
        return seen < time or self.seqs(row.conversation).surely_by(time) >= row.seq

    # -- The users

    @cached_property
    def acts(self) -> dict[int, list[Act]]:
        """The acts of each user, by all devices."""
        acts: dict[int, list[Act]] = defaultdict(list)
        for record in self.records:
            acts[record.user] += record.acts
        return acts

    def moved(self, user: int, until: float) -> float:
        """Return when a device of a user came or went, or tried to, for the last time up to a time."""
        times = [0.0]
        for record in self.records:
            if record.user == user:
                times += [time for link in record.connections for time in (link.began, link.ended)]
                times += [attempt.answered for attempt in record.attempts]
        return max(time for time in times if time <= until)

    def membership(self, user: int, group: int) -> Timeline:
        """Return when a user was in a group that users join and leave."""
        return self._timeline(user, group, JOIN, LEAVE)

    def blocking(self, user: int, other: int) -> Timeline:
        """Return when a user had blocked another."""
        return self._timeline(user, other, BLOCK, UNBLOCK)

    def _timeline(self, user: int, subject: int, begin: str, end: str) -> Timeline:
        return self._timelines.get((user, subject, begin), Timeline(()))

    @cached_property
    def _timelines(self) -> dict[tuple[int, int, str], Timeline]:
        changes: dict[tuple[int, int, str], list[Change]] = defaultdict(list)
        begins = {JOIN: JOIN, LEAVE: JOIN, BLOCK: BLOCK, UNBLOCK: BLOCK}
        for user, acts in self.acts.items():
            for act in acts:
                if begin := begins.get(act.kind):
                    change = Change(act.asked, act.settled, act.kind == begin)
                    changes[user, act.subject, begin].append(change)
        return {key: Timeline(found) for key, found in changes.items()}

    # -- The time that things may take

    def bound(self, time: float, node: str) -> float:
        """Return the seconds after an ACK in which the change must hold on every node.

        Args:
            time: of the ACK.
            node: the one that still may not know: when it was slow, that is added.
        """
        away = any(
            fault.began <= time + BOUND and time <= fault.ended + RECOVERING
            for fault in self.faults
            if "edis" in fault.name
        )
        bound = BOUND_AWAY if away else BOUND
        return bound + self.delay(time, time + bound, node)

    def delay(self, since: float, until: float, node: str) -> float:
        """Return how late the load, or a node, was in a time: the longest of looks and of echoes."""
        late = [late for due, late in self.lags if due <= until and due + late >= since]
        slow = [took for sent, took in self._echoes.get(node, ()) if sent <= until and sent + took >= since]
        return max(late, default=0.0) + max(slow, default=0.0)

    @cached_property
    def _echoes(self) -> dict[str, list[tuple[float, float]]]:
        echoes: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for record in self.records:
            for link in record.connections:
                echoes[link.node] += link.echoes
        return echoes

    def calm_after(self, time: float) -> float:
        """Return when it was calm for ``CONVERGED`` for the first time after a time; infinite if never."""
        for fault in self.faults:
            if fault.began <= time + CONVERGED and fault.ended >= time:
                time = fault.ended
        return time + CONVERGED

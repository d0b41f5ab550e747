"""Holds what a load wrote down against the log of messages in the database.

It is a reading of "What is promised" (docs/protocol.md) of its own, and knows nothing of the server.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scripts.lab.record import LIVE, Arrival, Connection, Record, Row

LOST = "lost"
DOUBLED = "doubled"
REORDERED = "reordered"
WRONG = "wrong"

Seat = tuple[int, int]
"""A conversation and a seq in it."""


class Violation(NamedTuple):
    """A promise that was not kept: what kind, and where."""

    kind: str
    text: str


@dataclass(frozen=True)
class Evidence:
    """All that there is to judge.

    Args:
        rows: the table Message.
        heads: id and last_seq of the table Conversation.
        records: of every device.
    """

    rows: Sequence[Row]
    heads: Mapping[int, int]
    records: Sequence[Record]


@dataclass(frozen=True)
class Verdict:
    """What the checker found, and counts that show that there was something to be found."""

    violations: list[Violation]
    sent: int
    acknowledged: int
    stored: int
    delivered: int
    removed: int
    reconnects: int

    @property
    def kinds(self) -> Counter[str]:
        """How many violations there are of each kind."""
        return Counter(violation.kind for violation in self.violations)

    def __str__(self) -> str:
        kinds = self.kinds
        found = ", ".join(f"{kinds[kind]} {kind}" for kind in (LOST, DOUBLED, REORDERED, WRONG))
        return (
            f"sent {self.sent}, acknowledged {self.acknowledged}, stored {self.stored}, delivered"
            f" {self.delivered}, duplicates removed {self.removed}, reconnects {self.reconnects}: {found}"
        )


def check(evidence: Evidence) -> Verdict:
    """Judge the evidence, after the load has ended and everything had time to arrive."""
    sent = [message for record in evidence.records for message in record.sent.values()]
    offered = sum(len(link.arrivals) for record in evidence.records for link in record.connections)
    delivered = sum(len(_got(record)) for record in evidence.records)
    return Verdict(
        violations=[violation for rule in RULES for violation in rule(evidence)],
        sent=len(sent),
        acknowledged=sum(bool(message.acks) for message in sent),
        stored=len(evidence.rows),
        delivered=delivered,
        removed=offered - delivered,
        reconnects=sum(max(0, len(record.connections) - 1) for record in evidence.records),
    )


# -- The log of messages


def seqs_have_no_gap(evidence: Evidence) -> Iterator[Violation]:
    """``seq`` counts 1, 2, 3 … in each conversation, up to the conversation's last_seq."""
    seqs: dict[int, list[int]] = defaultdict(list)
    for row in evidence.rows:
        seqs[row.conversation].append(row.seq)
    for conversation in {*seqs, *evidence.heads}:
        found, head = sorted(seqs[conversation]), evidence.heads.get(conversation, 0)
        if found != list(range(1, head + 1)):
            missing = sorted({*range(1, head + 1)} ^ {*found})[:5]
            yield Violation(LOST, f"conversation {conversation}: last_seq {head}, rows differ at {missing}")


def all_is_stored_once(evidence: Evidence) -> Iterator[Violation]:
    """No text of a sender is in the log twice: every message has a text of its own."""
    for (sender, body), count in Counter((row.sender, row.body) for row in evidence.rows).items():
        if count > 1:
            yield Violation(DOUBLED, f"{sender}: {body!r:.60} is stored {count} times")


def acknowledged_is_stored(evidence: Evidence) -> Iterator[Violation]:
    """Every ACK is a row, with the seq, conversation and text that it was for."""
    rows = {(row.sender, row.cid): row for row in evidence.rows}
    for record in evidence.records:
        for message in record.sent.values():
            row = rows.get((record.user, message.cid))
            if message.acks and row is None:
                yield Violation(LOST, f"{record}: {message.cid} was acknowledged and is not stored")
            elif row and (row.conversation, row.body) != (message.conversation, message.body):
                yield Violation(WRONG, f"{record}: {message.cid} is stored as {row}")
            for seq, _ in message.acks:
                if row and seq != row.seq:
                    text = f"{record}: {message.cid} was acknowledged as {seq} and is {row.seq}"
                    yield Violation(WRONG, text)


def all_is_acknowledged(evidence: Evidence) -> Iterator[Violation]:
    """Nobody tries in vain for ever."""
    for record in evidence.records:
        for message in record.sent.values():
            if not message.acks:
                yield Violation(LOST, f"{record}: {message.cid} was never acknowledged")


def nothing_comes_from_nowhere(evidence: Evidence) -> Iterator[Violation]:
    """Every row was sent by somebody."""
    sent = {(record.user, cid) for record in evidence.records for cid in record.sent}
    for row in evidence.rows:
        if (row.sender, row.cid) not in sent:
            yield Violation(WRONG, f"nobody sent {row}")


def senders_keep_their_order(evidence: Evidence) -> Iterator[Violation]:
    """The messages of a device are in each conversation in the order sent.

    One that was refused may be overtaken by those that were under way behind it.
    """
    seqs = {(row.sender, row.cid): row.seq for row in evidence.rows}
    for record in evidence.records:
        last: dict[int, int] = {}
        for message in record.sent.values():
            seq = seqs.get((record.user, message.cid))
            before = last.get(message.conversation, 0)
            if seq is None:
                continue
            if seq < before:
                yield Violation(REORDERED, f"{record}: {message.cid} is {seq}, after a later one, {before}")
            elif not message.refused:
                last[message.conversation] = seq


# -- The receivers


def arrivals_are_rows(evidence: Evidence) -> Iterator[Violation]:
    """Whatever arrives is in the log as it arrived, and for who got it."""
    rows = {(row.conversation, row.seq): row for row in evidence.rows}
    for record, _, arrival in _arrivals(evidence):
        row = rows.get((arrival.conversation, arrival.seq))
        if row is None:
            yield Violation(LOST, f"{record}: got {_name(arrival)}, which is not stored")
        elif (row.sender, row.body) != (arrival.sender, arrival.body):
            yield Violation(WRONG, f"{record}: got {_name(arrival)} as {arrival.body!r:.60}, stored is {row}")
        if arrival.conversation not in record.conversations:
            yield Violation(WRONG, f"{record}: got {_name(arrival)} of others")


def connections_bring_each_seq_once_and_in_order(evidence: Evidence) -> Iterator[Violation]:
    """On one connection the seqs of a conversation rise."""
    for record in evidence.records:
        for number, link in enumerate(record.connections, 1):
            seen: set[Seat] = set()
            last: dict[int, int] = {}
            for arrival in link.arrivals:
                seat, before = (arrival.conversation, arrival.seq), last.get(arrival.conversation, 0)
                where = f"{record}: {_name(arrival)} on connection {number} ({link.node})"
                if seat in seen:
                    yield Violation(DOUBLED, f"{where} came twice")
                elif arrival.seq < before:
                    yield Violation(REORDERED, f"{where} came after {before}")
                seen.add(seat)
                last[arrival.conversation] = max(arrival.seq, before)


def none_is_skipped(evidence: Evidence) -> Iterator[Violation]:
    """A device that gets seq n got n-1 before it, on that connection or an earlier one, or sent it itself."""
    own = _own(evidence)
    for record in evidence.records:
        has: set[Seat] = set(own[record.user, record.device])
        for number, link in enumerate(record.connections, 1):
            for arrival in link.arrivals:
                before = arrival.conversation, arrival.seq - 1
                if arrival.seq > 1 and before not in has:
                    text = f"{record}: got {_name(arrival)} on connection {number} ({link.node}) first"
                    yield Violation(REORDERED, text)
                has.add((arrival.conversation, arrival.seq))


def everybody_has_everything(evidence: Evidence) -> Iterator[Violation]:
    """Each device has in the end all messages of its conversations, but those that it sent itself."""
    for record, missing in missing_of(evidence):
        some = ", ".join(f"{conversation}:{seq}" for conversation, seq in sorted(missing)[:5])
        yield Violation(LOST, f"{record}: {len(missing)} never arrived, {some} …")


def answers_are_sane(evidence: Evidence) -> Iterator[Violation]:
    """Nobody got an answer that no fault excuses."""
    for record in evidence.records:
        for oddity in record.oddities:
            yield Violation(WRONG, f"{record}: {oddity}")


Rule = Callable[[Evidence], Iterator[Violation]]

RULES: tuple[Rule, ...] = (
    seqs_have_no_gap,
    all_is_stored_once,
    acknowledged_is_stored,
    all_is_acknowledged,
    nothing_comes_from_nowhere,
    senders_keep_their_order,
    arrivals_are_rows,
    connections_bring_each_seq_once_and_in_order,
    none_is_skipped,
    everybody_has_everything,
    answers_are_sane,
)


# -- Beside the verdict


def missing_of(evidence: Evidence) -> list[tuple[Record, set[Seat]]]:
    """Return the devices that have not got everything yet, with what they miss."""
    own = _own(evidence)
    missing = []
    for record in evidence.records:
        wanted = {
            (conversation, seq)
            for conversation in record.conversations
            for seq in range(1, evidence.heads.get(conversation, 0) + 1)
        }
        lacks = wanted - _got(record) - own[record.user, record.device]
        if lacks:
            missing.append((record, lacks))
    return missing


EVER: Sequence[tuple[float, float]] = ((0.0, float("inf")),)


def latencies(
    records: Sequence[Record], during: Sequence[tuple[float, float]] = EVER, *, across: bool = True
) -> list[float]:
    """Return the seconds from the first try of each message to its live arrival, sorted.

    Only of receivers who were logged in before it was sent, each counted for itself.

    Args:
        records: of senders and receivers.
        during: only of messages sent in one of these times, which follow each other.
        across: of those that went from one node to another; otherwise those that stayed on one.
    """
    starts = [start for start, _ in during]
    sent = {message.body: message for record in records for message in record.sent.values()}
    found = []
    for record in records:
        for link in record.connections:
            for arrival in link.arrivals:
                message = sent.get(arrival.body)
                if message is None or arrival.how != LIVE or link.began > message.at:
                    continue
                window = bisect_right(starts, message.at) - 1
                if window < 0 or message.at >= during[window][1]:
                    continue
                if (link.node != message.node) == across:
                    found.append(arrival.at - message.at)
    return sorted(found)


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the value below which so many per cent lie (nearest rank); NaN of nothing."""
    if not ascending:
        return float("nan")
    return ascending[min(len(ascending) - 1, int(len(ascending) * percent / 100))]


def _arrivals(evidence: Evidence) -> Iterator[tuple[Record, Connection, Arrival]]:
    for record in evidence.records:
        for link in record.connections:
            for arrival in link.arrivals:
                yield record, link, arrival


def _got(record: Record) -> set[Seat]:
    return {(arrival.conversation, arrival.seq) for link in record.connections for arrival in link.arrivals}


def _own(evidence: Evidence) -> dict[tuple[int, str], set[Seat]]:
    """Return what each device sent itself: it need not be told."""
    devices = {
        (record.user, cid): (record.user, record.device) for record in evidence.records for cid in record.sent
    }
    own: dict[tuple[int, str], set[Seat]] = defaultdict(set)
    for row in evidence.rows:
        if (row.sender, row.cid) in devices:
            own[devices[row.sender, row.cid]].add((row.conversation, row.seq))
    return own


def _name(arrival: Arrival) -> str:
    return f"{arrival.conversation}:{arrival.seq}"

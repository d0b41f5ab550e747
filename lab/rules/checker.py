"""Holds what a load wrote down against the log of messages in the database.

It is a reading of "What is promised" (docs/protocol.md) of its own, and knows nothing of the server.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lab.record import LIVE, TEXT, Arrival, Record, Row, Sent
from lab.rules import access, presence
from lab.rules.evidence import (
    DOUBLED,
    LEAKED,
    LOST,
    REORDERED,
    STUCK,
    WRONG,
    Evidence,
    Place,
    Violation,
)

KINDS = (LOST, DOUBLED, REORDERED, LEAKED, STUCK, WRONG)


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
    by_rule: Counter[str] = field(default_factory=Counter)

    @property
    def kinds(self) -> Counter[str]:
        """How many violations there are of each kind."""
        return Counter(violation.kind for violation in self.violations)

    def __str__(self) -> str:
        kinds = self.kinds
        found = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS)
        return (
            f"sent {self.sent}, acknowledged {self.acknowledged}, stored {self.stored}, delivered"
            f" {self.delivered}, duplicates removed {self.removed}, reconnects {self.reconnects}: {found}"
        )


def check(evidence: Evidence) -> Verdict:
    """Judge the evidence, after the load has ended and everything had time to arrive."""
    sent = [message for record in evidence.records for message in record.sent.values()]
    found = [(rule.__name__, violation) for rule in RULES for violation in rule(evidence)]
    offered = sum(len(link.arrivals) for record in evidence.records for link in record.connections)
    delivered = sum(len(_got(record)) for record in evidence.records)
    return Verdict(
        violations=[violation for _, violation in found],
        by_rule=Counter(name for name, _ in found),
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
    """No text of a sender is in the log twice: every message has a text of its own.  Nor is a recall."""
    told = Counter(
        (row.sender, row.kind, row.conversation if row.kind != TEXT else 0, row.body)
        for row in evidence.rows
        if row.body
    )
    for (sender, kind, _, body), count in told.items():
        if count > 1:
            yield Violation(DOUBLED, f"{sender}: the {kind} {body!r:.60} is stored {count} times")


def acknowledged_is_stored(evidence: Evidence) -> Iterator[Violation]:
    """Every ACK is a row, with the seq, conversation and text that it was for."""
    rows = {(row.sender, row.cid): row for row in evidence.rows}
    for record in evidence.records:
        for message in record.sent.values():
            row = rows.get((record.user, message.cid))
            if message.acks and row is None:
                yield Violation(LOST, f"{record}: {message.cid} was acknowledged and is not stored")
            if row and not _is_as_sent(evidence, row, message):
                yield Violation(WRONG, f"{record}: {message.cid} is stored as {row}")
            for seq, _ in message.acks:
                if row and seq != row.seq:
                    text = f"{record}: {message.cid} was acknowledged as {seq} and is {row.seq}"
                    yield Violation(WRONG, text)


def _is_as_sent(evidence: Evidence, row: Row, message: Sent) -> bool:
    """Return True if a row has what was sent, or is blank because it was recalled."""
    has_its_text = row.body == message.body or (not row.body and evidence.is_recalled(row))
    return has_its_text and (row.conversation, row.kind) == (message.conversation, message.kind)


def all_is_acknowledged(evidence: Evidence) -> Iterator[Violation]:
    """Nobody tries in vain for ever."""
    for record in evidence.records:
        for message in record.sent.values():
            if not message.acks and not message.refusal:
                yield Violation(LOST, f"{record}: {message.cid} was never acknowledged")


def nothing_comes_from_nowhere(evidence: Evidence) -> Iterator[Violation]:
    """Every row was sent by somebody."""
    sent = {(record.user, cid) for record in evidence.records for cid in record.sent}
    for row in evidence.rows:
        if (row.sender, row.cid) not in sent:
            yield Violation(WRONG, f"nobody sent {row}")


def senders_keep_their_order(evidence: Evidence) -> Iterator[Violation]:
    """The messages of a device are in each conversation in the order sent.

    One that was refused may be overtaken by those that were under way behind it.  One that was refused for
    good may be stored all the same, late: a node that hung still had its first try.
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
            elif not message.refused and not message.refusal:
                last[message.conversation] = seq


# -- The receivers


def arrivals_are_rows(evidence: Evidence) -> Iterator[Violation]:
    """Whatever arrives is in the log as it arrived, and for who got it."""
    for record, arrival in evidence.arrivals(past=True):
        row = evidence.row(arrival.conversation, arrival.seq)
        if row is None:
            yield Violation(LOST, f"{record}: got {_name(arrival)}, which is not stored")
        elif (row.sender, row.kind) != (arrival.sender, arrival.kind) or not (
            arrival.body == evidence.text(row) or (not arrival.body and evidence.is_recalled(row))
        ):
            yield Violation(WRONG, f"{record}: got {_name(arrival)} as {arrival.body!r:.60}, stored is {row}")
        if arrival.conversation not in record.conversations and -arrival.conversation not in record.groups:
            yield Violation(WRONG, f"{record}: got {_name(arrival)} of others")


def connections_bring_each_seq_once_and_in_order(evidence: Evidence) -> Iterator[Violation]:
    """On one connection the seqs of a conversation rise."""
    for record in evidence.records:
        for number, link in enumerate(record.connections, 1):
            seen: set[Place] = set()
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
    for record in evidence.records:
        has: set[Place] = set(evidence.own[record.user, record.device])
        for number, link in enumerate(record.connections, 1):
            for arrival in link.arrivals:
                before = arrival.conversation, arrival.seq - 1
                if arrival.conversation not in record.conversations:
                    continue  # see access.none_is_missing_inside_a_membership
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
    *access.RULES,
    *presence.RULES,
)


# -- Beside the verdict


def missing_of(evidence: Evidence) -> list[tuple[Record, set[Place]]]:
    """Return the devices that have not got everything yet, with what they miss."""
    missing = []
    for record in evidence.records:
        since = dict.fromkeys(record.conversations, 1) | access.entitled(evidence, record)
        wanted = {
            (conversation, seq)
            for conversation, first in since.items()
            for seq in range(first, evidence.heads.get(conversation, 0) + 1)
        }
        lacks = wanted - _got(record) - evidence.own[record.user, record.device]
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
    sent = {
        message.body: message
        for record in records
        for message in record.sent.values()
        if message.kind == TEXT
    }
    found = []
    for record in records:
        for link in record.connections:
            for arrival in link.arrivals:
                message = sent.get(arrival.body)
                if message is None or arrival.how != LIVE or arrival.kind != TEXT or link.began > message.at:
                    continue
                window = bisect_right(starts, message.at) - 1
                if window < 0 or message.at >= during[window][1]:
                    continue
                if (link.node != message.node) == across:
                    found.append(arrival.at - message.at)
    return sorted(found)


def _got(record: Record) -> set[Place]:
    return {(arrival.conversation, arrival.seq) for link in record.connections for arrival in link.arrivals}


def _name(arrival: Arrival) -> str:
    return f"{arrival.conversation}:{arrival.seq}"

"""Rules on the log: its order, and that each device gets it once, in order and whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from lab.record import TEXT, Arrival, Connection, Record, Row, Sent
from lab.rules.access import entitled
from lab.rules.evidence import DOUBLED, LOST, REORDERED, REPLACED, WRONG, Evidence, Place, Rule, Violation

NOT_LOGGED_IN = 5


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
    """Return True if a row is as it was sent, or is blank because it was recalled."""
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
    """Each arrival is in the log as it arrived, in a conversation of its receiver."""
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
    """A device that gets seq n got n-1 before it, on that connection or another one, or sent it itself."""
    for record in evidence.records:
        has: set[Place] = set(evidence.own[record.user, record.device])
        # By time: of two logins at once, each may bring entries that the other has not, for a while.
        arrivals = [
            (arrival.at, number, arrival)
            for number, link in enumerate(record.connections, 1)
            for arrival in link.arrivals
        ]
        for _, number, arrival in sorted(arrivals, key=lambda one: one[:2]):
            before = arrival.conversation, arrival.seq - 1
            if arrival.conversation not in record.conversations:
                continue  # see access.none_is_missing_inside_a_membership
            if arrival.seq > 1 and before not in has:
                node = record.connections[number - 1].node
                text = f"{record}: got {_name(arrival)} on connection {number} ({node}) first"
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
        for link in record.connections:
            yield from _not_replaced(evidence, record, link)


def _not_replaced(evidence: Evidence, record: Record, link: Connection) -> Iterator[Violation]:
    """RECEIVED is refused with "not logged in" only where a connection is replaced, which ends it."""
    for at in link.unreceived:
        if link.reason != REPLACED or link.ended > evidence.calm_after(at):
            text = f"{record}: RECEIVED got {NOT_LOGGED_IN} from {link.node} at {at:.2f}"
            yield Violation(WRONG, f"{text}, and the connection ended at {link.ended:.2f}: {link.reason!r}")


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


def missing_of(evidence: Evidence) -> list[tuple[Record, set[Place]]]:
    """Return the devices that have not got everything yet, with the missing entries."""
    missing = []
    for record in evidence.records:
        since = dict.fromkeys(record.conversations, 1) | entitled(evidence, record)
        wanted = {
            (conversation, seq)
            for conversation, first in since.items()
            for seq in range(first, evidence.heads.get(conversation, 0) + 1)
        }
        lacks = wanted - received_by(record) - evidence.own[record.user, record.device]
        if lacks:
            missing.append((record, lacks))
    return missing


def received_by(record: Record) -> set[Place]:
    """Return the entries that a device was sent, live and in pages of undelivered ones."""
    return {(arrival.conversation, arrival.seq) for link in record.connections for arrival in link.arrivals}


def _name(arrival: Arrival) -> str:
    return f"{arrival.conversation}:{arrival.seq}"

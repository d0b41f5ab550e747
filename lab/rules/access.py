"""Rules on access: memberships, blocks, recalls and histories, held against arrivals and rows.

The server tells nobody at which seq a membership begins and ends.  It follows from the times at which people
asked and were answered, so each rule judges only the cases that are certain.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from lab.record import LIVE, RECALL, TEXT, Arrival, Connection, Past, Record, Sent, peer_of
from lab.rules.evidence import LEAKED, LOST, REORDERED, WRONG, Change, Evidence, Place, Rule, Violation

NO_MEMBER, BLOCKED, BUSY, NOT_ALLOWED, NO_MESSAGE = 8, 10, 13, 14, 15

LATE = 100.0
"""Seconds after which a recall may come too late: the limit is 120."""

Period = tuple[Change, Change | None]


# -- Memberships


def nobody_gets_an_entry_outside_a_membership(evidence: Evidence) -> Iterator[Violation]:
    """No entry at or before a joining, or after a leaving, comes; after a leaving nothing comes at all."""
    for record, link, arrival in _group_arrivals(evidence):
        if arrival.sender == record.user:
            continue
        fitting = [
            period
            for period in evidence.membership(record.user, -arrival.conversation).periods()
            if _admits(evidence, period, link, arrival)
        ]
        if not fitting:
            text = f"{record}: got {_name(arrival)} {arrival.how} from {link.node} at {arrival.at:.2f}"
            yield Violation(LEAKED, f"{text}, outside {_told(evidence, record, arrival.conversation)}")


def none_is_missing_inside_a_membership(evidence: Evidence) -> Iterator[Violation]:
    """A device that gets an entry of a membership got all of it before that one, or sent it itself."""
    for record in evidence.records:
        for group in record.groups:
            yield from _skipped(evidence, record, group)


def nobody_writes_outside_a_membership(evidence: Evidence) -> Iterator[Violation]:
    """Nothing is stored that its sender sent after a leaving and before the next joining."""
    for record, sent in _stored(evidence):
        if -sent.conversation in record.groups:
            member = evidence.membership(record.user, -sent.conversation)
            if member.surely(False, sent.at, _acked(sent), evidence.bound(sent.at, sent.node)):
                text = f"{record}: {sent.cid} is stored in {sent.conversation}"
                text += f", sent at {sent.at:.2f} to {sent.node}"
                yield Violation(LEAKED, f"{text}, outside {_told(evidence, record, sent.conversation)}")


def _admits(evidence: Evidence, period: Period, link: Connection, arrival: Arrival) -> bool:
    """Return True if an entry may have come because of a membership."""
    begin, end = period
    seqs = evidence.seqs(arrival.conversation)
    if arrival.at < begin.asked or arrival.seq <= seqs.surely_by(begin.asked):
        return False
    if end is None or end.settled == inf:
        return True
    over = end.settled + evidence.bound(end.settled, link.node)
    return (arrival.asked or arrival.at) <= over and arrival.seq < seqs.surely_after(over)


def _skipped(evidence: Evidence, record: Record, group: int) -> Iterator[Violation]:
    has: set[Place] = set(evidence.own[record.user, record.device])
    seqs = evidence.seqs(-group)
    periods = evidence.membership(record.user, group).periods()
    due = {begin: seqs.surely_after(begin.settled) for begin, _ in periods}
    for link, arrival in _as_they_came(record):
        if arrival.conversation != -group:
            continue
        has.add((-group, arrival.seq))
        fitting = [one for one in periods if _admits(evidence, one, link, arrival)]
        if len(fitting) != 1:
            continue
        begin, end = fitting[0]
        if end and arrival.at >= end.asked:
            continue  # a leaver gets nothing more, but perhaps their own messages of meanwhile
        while due[begin] < arrival.seq:
            if (-group, int(due[begin])) not in has:
                text = f"{record}: got {_name(arrival)} {arrival.how} from {link.node} at {arrival.at:.2f}"
                since = f"member since {begin.asked:.2f}-{begin.settled:.2f}"
                yield Violation(REORDERED, f"{text}, and not {due[begin]}, {since}")
                due[begin] = arrival.seq
            else:
                due[begin] += 1


def _as_they_came(record: Record) -> list[tuple[Connection, Arrival]]:
    """Return all that a device was sent, in order.

    Of two logins of a device the earlier may live on for a moment at a node that was not told, and is sent
    the entries behind those that the device has acknowledged by the later one.
    """
    arrivals = [(link, arrival) for link in record.connections for arrival in link.arrivals]
    return sorted(arrivals, key=lambda pair: pair[1].at)


def entitled(evidence: Evidence, record: Record) -> dict[int, int]:
    """Return from which seq on a device must have the entries of the groups that its user is in now."""
    found = {}
    for group in record.groups:
        changes = evidence.membership(record.user, group).changes
        if changes and changes[-1].to and changes[-1].settled < inf:
            first = evidence.seqs(-group).surely_after(changes[-1].settled)
            if first < inf:
                found[-group] = int(first)
    return found


# -- Blocks and refusals


def nobody_writes_to_a_blocker(evidence: Evidence) -> Iterator[Violation]:
    """Nothing is stored that was sent to a user that had blocked the sender."""
    for record, sent in _stored(evidence):
        if sent.conversation > 0 and sent.kind == TEXT:
            block = evidence.blocking(peer_of(sent.conversation, record.user), record.user)
            if block.surely(True, sent.at, _acked(sent), evidence.bound(sent.at, sent.node)):
                text = f"{record}: {sent.cid} is stored, sent at {sent.at:.2f} to {sent.node}"
                yield Violation(LEAKED, f"{text}, and its sender was blocked: {_changes(block.changes)}")


def refusals_have_a_reason(evidence: Evidence) -> Iterator[Violation]:
    """No permitted request is refused."""
    for record in evidence.records:
        for sent in record.sent.values():
            if sent.refusal and not _is_excused(evidence, record, sent):
                errno, at = sent.refusal
                text = f"{record}: {sent.kind} {sent.cid} to {sent.conversation} got {errno} at {at:.2f}"
                yield Violation(WRONG, text)


def what_is_refused_is_not_stored(evidence: Evidence) -> Iterator[Violation]:
    """A message that is stored already is acknowledged, when it is sent again, whatever has changed since."""
    for record, sent in _stored(evidence):
        row = evidence.stored[record.user, sent.cid]
        if sent.refusal and evidence.was_stored(row, sent.refusal[1]):
            errno, at = sent.refusal
            text = f"{record}: {sent.cid} got {errno} at {at:.2f} after {sent.tries} tries"
            yield Violation(WRONG, f"{text}, and was {row.conversation}:{row.seq}")


def _is_excused(evidence: Evidence, record: Record, sent: Sent) -> bool:
    assert sent.refusal
    errno, at = sent.refusal
    slack, group = evidence.bound(sent.at, sent.node), -sent.conversation
    if errno == BLOCKED and sent.conversation > 0:
        block = evidence.blocking(peer_of(sent.conversation, record.user), record.user)
        return not block.surely(False, sent.at, at, slack)
    if errno == NO_MEMBER and group in record.groups:
        return not evidence.membership(record.user, group).surely(True, sent.at, at, slack)
    if errno == NO_MESSAGE and sent.kind == RECALL and group in record.groups:
        return True  # it may be from before the sender joined again
    return errno == NOT_ALLOWED and sent.kind == RECALL and at - sent.at > LATE


# -- Histories


def strangers_read_no_history(evidence: Evidence) -> Iterator[Violation]:
    """HISTORY of a group is answered for members, for all of them, and for no other user."""
    for record, link, page in _pasts(evidence):
        group = -page.conversation
        if group not in record.groups:
            if page.errno not in (0, BUSY):
                yield Violation(WRONG, f"{record}: HISTORY of {page.conversation} got {page.errno}")
            continue
        member = evidence.membership(record.user, group)
        slack = evidence.bound(page.asked, link.node)
        if page.errno == 0 and member.surely(False, page.asked, page.at, slack):
            text = f"{record}: reads the history of {page.conversation} at {page.asked:.2f} ({link.node})"
            yield Violation(LEAKED, f"{text}, outside {_told(evidence, record, page.conversation)}")
        elif page.errno not in (0, BUSY, NO_MEMBER) or (
            page.errno == NO_MEMBER and member.surely(True, page.asked, page.at, slack)
        ):
            text = (
                f"{record}: HISTORY of {page.conversation} got {page.errno} at {page.asked:.2f} ({link.node})"
            )
            yield Violation(WRONG, f"{text}, {_told(evidence, record, page.conversation)}")


def histories_are_whole(evidence: Evidence) -> Iterator[Violation]:
    """A page has no holes; the newest one reaches to the last entry acknowledged before the request."""
    for record, link, page in _pasts(evidence):
        if page.errno:
            continue
        seqs = [arrival.seq for arrival in page.arrivals]
        where = f"{record}: the history of {page.conversation} asked for at {page.asked:.2f} ({link.node})"
        if seqs != list(range(seqs[0] if seqs else 0, seqs[0] + len(seqs) if seqs else 0)):
            yield Violation(LOST, f"{where} is {seqs}")
        newest = page.before - 1 if page.before else evidence.seqs(page.conversation).surely_by(page.asked)
        if newest >= _readable(evidence, record, page) and (not seqs or seqs[-1] < newest):
            yield Violation(LOST, f"{where} ends at {seqs[-1] if seqs else 'nothing'} and not {newest}")


def _readable(evidence: Evidence, record: Record, page: Past) -> float:
    """Return the seq from which on a page must be whole."""
    group = -page.conversation
    if group not in record.groups:
        return 1
    for begin, end in evidence.membership(record.user, group).periods():
        if begin.settled < page.asked and (end is None or page.at < end.asked):
            return evidence.seqs(page.conversation).surely_after(begin.settled)
    return inf


# -- Recalls


def no_page_shows_what_was_recalled(evidence: Evidence) -> Iterator[Violation]:
    """No page that was asked for after the ACK of a recall holds the text."""
    recalls = _recalls(evidence)
    for record, arrival in evidence.arrivals(past=True):
        acked = recalls.get((arrival.conversation, arrival.seq), inf)
        if arrival.how != LIVE and arrival.kind == TEXT and arrival.body and arrival.asked > acked:
            text = f"{record}: {_name(arrival)} is in a page ({arrival.how}) asked for at {arrival.asked:.2f}"
            yield Violation(LEAKED, f"{text}, recalled at {acked:.2f}")


def no_push_brings_what_was_recalled(evidence: Evidence) -> Iterator[Violation]:
    """No live push with the text comes after the ACK of a recall, but for those under way."""
    recalls = _recalls(evidence)
    for record in evidence.records:
        for link in record.connections:
            for arrival in link.arrivals:
                acked = recalls.get((arrival.conversation, arrival.seq), inf)
                if arrival.how != LIVE or arrival.kind != TEXT or not arrival.body or arrival.at <= acked:
                    continue
                if arrival.at > acked + evidence.bound(acked, link.node):
                    text = f"{record}: {_name(arrival)} came from {link.node} at {arrival.at:.2f}"
                    yield Violation(LEAKED, f"{text}, recalled at {acked:.2f}")


def nothing_follows_its_recall(evidence: Evidence) -> Iterator[Violation]:
    """On one connection no text comes after the RECALL of it."""
    for record in evidence.records:
        for link in record.connections:
            recalled: set[Place] = set()
            for arrival in link.arrivals:
                if arrival.kind == RECALL:
                    recalled.add((arrival.conversation, int(arrival.body)))
                elif arrival.body and (arrival.conversation, arrival.seq) in recalled:
                    yield Violation(LEAKED, f"{record}: {_name(arrival)} came after its recall ({link.node})")


def _recalls(evidence: Evidence) -> dict[Place, float]:
    """Return when the recall of each message was acknowledged."""
    return {
        (sent.conversation, int(sent.body)): _acked(sent)
        for sent in evidence.sent.values()
        if sent.kind == RECALL
    }


RULES: tuple[Rule, ...] = (
    nobody_gets_an_entry_outside_a_membership,
    none_is_missing_inside_a_membership,
    nobody_writes_outside_a_membership,
    nobody_writes_to_a_blocker,
    refusals_have_a_reason,
    what_is_refused_is_not_stored,
    strangers_read_no_history,
    histories_are_whole,
    no_page_shows_what_was_recalled,
    no_push_brings_what_was_recalled,
    nothing_follows_its_recall,
)


def _group_arrivals(evidence: Evidence) -> Iterator[tuple[Record, Connection, Arrival]]:
    """Return the entries of groups that users join and leave, by whatever way they came."""
    for record in evidence.records:
        for link in record.connections:
            pages = (arrival for page in link.pasts for arrival in page.arrivals)
            for arrival in (*link.arrivals, *pages):
                if -arrival.conversation in record.groups:
                    yield record, link, arrival


def _stored(evidence: Evidence) -> Iterator[tuple[Record, Sent]]:
    for record in evidence.records:
        for sent in record.sent.values():
            if (record.user, sent.cid) in evidence.stored:
                yield record, sent


def _pasts(evidence: Evidence) -> Iterator[tuple[Record, Connection, Past]]:
    for record in evidence.records:
        for link in record.connections:
            for page in link.pasts:
                yield record, link, page


def _acked(sent: Sent) -> float:
    return min((at for _, at in sent.acks), default=inf)


def _name(arrival: Arrival) -> str:
    return f"{arrival.conversation}:{arrival.seq}"


def _told(evidence: Evidence, record: Record, conversation: int) -> str:
    return f"member {_changes(evidence.membership(record.user, -conversation).changes)}"


def _changes(changes: list[Change]) -> str:
    return (
        ", ".join(f"{'on' if one.to else 'off'} {one.asked:.2f}-{one.settled:.2f}" for one in changes)
        or "never"
    )

"""Rules on presence, sessions and passwords: nobody is stuck online or offline."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from lab.record import PASSWORD, Attempt, Connection, Record
from lab.rules.evidence import LEAKED, REPLACED, STUCK, WRONG, Evidence, Rule, Violation

ALREADY_ONLINE = 2

IN_DOUBT = 60.0
"""Seconds after a login without an answer in which it may still be carried out, and replace another."""

CLOSE = 0.5
"""Seconds that lie at most between the answer to a login and the record of its connection."""


def presence_is_right(evidence: Evidence) -> Iterator[Violation]:
    """Each device knows which friends are online, if their state has not changed for ten calm seconds."""
    for look in evidence.looks:
        for since, text in wrongly_told(evidence, look.at):
            if evidence.calm_after(since) <= look.at:
                yield Violation(STUCK, text)


def wrongly_told(evidence: Evidence, at: float) -> Iterator[tuple[float, str]]:
    """Return the wrong beliefs of devices at a time, each with the time since which it is wrong at most."""
    online = {record.user for record in evidence.records for link in record.connections if _lasts(link, at)}
    for record in evidence.records:
        for link in record.connections:
            if _lasts(link, at):
                yield from _wrong_by(evidence, record, link, at, online)


def _wrong_by(
    evidence: Evidence, record: Record, link: Connection, at: float, online: set[int]
) -> Iterator[tuple[float, str]]:
    told = {friend: state for when, friend, state in link.told if when <= at}
    for friend in record.friends:
        block = evidence.blocking(friend, record.user)
        if not block.surely(True, at, at) and not block.surely(False, at, at):
            continue
        right = "online" if friend in online and block.surely(False, at, at) else "offline"
        if told.get(friend) != right:
            settled = [change.settled for change in block.changes if change.settled <= at]
            since = max(link.began, evidence.moved(friend, at), *settled)
            text = f"{record} at {link.node} was told that {friend} is {told.get(friend)}"
            yield since, f"{text}, and at {at:.2f} it is {right}, since {since:.2f}"


def tables_are_right(evidence: Evidence) -> Iterator[Violation]:
    """``User`` and ``Device`` are right about users that have not moved for ten calm seconds."""
    for look in evidence.looks:
        for user, text in look.wrong:
            if evidence.calm_after(evidence.moved(user, look.at)) <= look.at:
                yield Violation(STUCK, f"{text} at {look.at:.2f}")


def nobody_hangs(evidence: Evidence) -> Iterator[Violation]:
    """After a calm time all devices that try are online, and nothing is unanswered."""
    for look in evidence.looks:
        for text in look.pending:
            yield Violation(STUCK, f"{text} at {look.at:.2f}")


def nobody_is_kept_out(evidence: Evidence) -> Iterator[Violation]:
    """A device that was away for a long calm time can log in without ``force``."""
    for record in evidence.records:
        for attempt in record.attempts:
            if attempt.errno != ALREADY_ONLINE:
                continue
            ends = [link.ended or inf for link in record.connections if link.began < attempt.asked]
            tries = [one.answered for one in record.attempts if one.asked < attempt.asked and one.errno == -1]
            left = max([*ends, *tries], default=inf)
            if attempt.asked > evidence.calm_after(left):
                text = f"{record}: is refused at {attempt.node} as online, at {attempt.asked:.2f}"
                yield Violation(STUCK, f"{text}, and left at {left:.2f}")


def of_logins_at_once_one_lives(evidence: Evidence) -> Iterator[Violation]:
    """No connection is replaced by nobody, or by another that is replaced by it."""
    for record in evidence.records:
        for clash in _clashes(record):
            links = [_connection(record, attempt) for attempt in clash]
            if not all(link and link.reason == REPLACED for link in links):
                continue
            began, ended = clash[0].asked, max(link.ended for link in links if link)
            others = [one for one in record.attempts if one not in clash and one.asked < ended]
            if any(one.asked > began for one in others):
                continue  # by that one
            if any(one.errno == -1 and one.answered > began - IN_DOUBT for one in others):
                continue
            if any(
                act.kind == PASSWORD and act.asked < ended and act.settled > began
                for act in evidence.acts[record.user]
            ):
                continue
            nodes = ", ".join(one.node for one in clash)
            yield Violation(WRONG, f"{record}: logged in at {nodes} at {began:.2f}, and all were replaced")


def what_is_replaced_ends(evidence: Evidence) -> Iterator[Violation]:
    """A connection ends when its device has logged in elsewhere, or its user has another password."""
    until = evidence.looks[-1].at if evidence.looks else 0.0
    for record in evidence.records:
        for number, link in enumerate(record.connections):
            over = link.ended or until
            stayed = [one for one in record.connections[number + 1 :] if one.reason != REPLACED]
            later = min((one.began for one in stayed), default=inf)
            changed = min(
                (
                    act.settled
                    for act in evidence.acts[record.user]
                    if act.kind == PASSWORD and act.asked > link.began and act not in record.acts
                ),
                default=inf,
            )
            for since, why in ((later, "another login"), (changed, "a change of the password")):
                if since < inf and over > evidence.calm_after(since):
                    yield Violation(
                        STUCK, f"{record}: at {link.node} still at {over:.2f}, after {why} at {since:.2f}"
                    )


def old_tokens_are_refused(evidence: Evidence) -> Iterator[Violation]:
    """No token from before a change of the password lets anybody in."""
    for record in evidence.records:
        for attempt in record.attempts:
            for act in evidence.acts[record.user]:
                if (
                    act.kind == PASSWORD
                    and attempt.errno == 0
                    and 0 < attempt.issued < act.asked
                    and attempt.asked > act.settled
                ):
                    text = f"{record}: logged in at {attempt.node} at {attempt.asked:.2f} by a token"
                    yield Violation(LEAKED, f"{text} of {attempt.issued:.2f}, ended at {act.settled:.2f}")


RULES: tuple[Rule, ...] = (
    presence_is_right,
    tables_are_right,
    nobody_hangs,
    nobody_is_kept_out,
    of_logins_at_once_one_lives,
    what_is_replaced_ends,
    old_tokens_are_refused,
)


def _lasts(link: Connection, at: float) -> bool:
    return link.began <= at and (not link.ended or link.ended > at)


def _clashes(record: Record) -> Iterator[list[Attempt]]:
    """Return the logins in groups: those of a group went on at a time."""
    group: list[Attempt] = []
    for attempt in sorted(record.attempts, key=lambda one: one.asked):
        if group and attempt.asked > max(one.answered for one in group):
            yield group
            group = []
        group.append(attempt)
    if group:
        yield group


def _connection(record: Record, attempt: Attempt) -> Connection | None:
    """Return the outcome of a login that was not refused."""
    if attempt.errno:
        return None
    near = [
        link
        for link in record.connections
        if link.node == attempt.node and abs(link.began - attempt.answered) < CLOSE
    ]
    return min(near, key=lambda link: abs(link.began - attempt.answered), default=None)

"""Appending a batch of messages to the log, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, tuple_, update

from greenchat.data.engine.query import pieces
from greenchat.data.engine.statements import Statements
from greenchat.data.queries.permission import lock_heads, raise_heads, refusals
from greenchat.data.schema import Message
from greenchat.errors import CidUsed, NoSuchMessage, RequestError
from greenchat.model.kinds import KINDS
from greenchat.model.records import First, NewEntry


class Stored(NamedTuple):
    """The outcome of a message that is in the log: the arguments of ``Delivery.stored``."""

    seq: int
    time: str
    repeated: bool


class Locked:
    """The outcome of a message that was left out: another program has its conversation's counter locked."""


Outcome = Stored | RequestError | Locked

Append = Callable[[Connection, Statements, Sequence[NewEntry]], list[Outcome]]
"""One of the ways to append messages."""


class Doubtful(Exception):
    """Raised if a batch cannot be appended without looking closer."""


class _Known(NamedTuple):
    """A message that had its cid first."""

    conversation: int
    kind: str
    body: str
    time: str
    seq: int
    """0 while it is about to be appended."""
    place: int
    """Which of the batch it is, or -1."""


_CONVERSATION = attrgetter("conversation")

_CHANGES = {
    kind.name: update(Message)
    .where(
        Message.c.conversation == bindparam("c"),
        Message.c.seq == bindparam("target"),
        Message.c.kind.in_([each.name for each in KINDS.values() if each.is_message]),
        Message.c.recalled == 0,
        Message.c.body != "",  # that of a message that a server before version 3 recalled is empty
    )
    .values(**kind.change)
    for kind in KINDS.values()
    if kind.change is not None
}
"""By the kinds that have a target: the change that the commit of such an entry makes in it."""

_BY_CID = select(
    Message.c.sender,
    Message.c.cid,
    Message.c.conversation,
    Message.c.kind,
    Message.c.body,
    Message.c.created,
    Message.c.seq,
).where(tuple_(Message.c.sender, Message.c.cid).in_(bindparam("cids", expanding=True)))
_AT = select(
    Message.c.conversation,
    Message.c.seq,
    Message.c.sender,
    Message.c.cid,
    Message.c.kind,
    Message.c.body,
    Message.c.created,
).where(tuple_(Message.c.conversation, Message.c.seq).in_(bindparam("places", expanding=True)))


def append_new(db: Connection, sql: Statements, messages: Sequence[NewEntry]) -> list[Outcome]:
    """Append messages, trusting that none is a repetition and that all senders may.

    Raises:
        IntegrityError, Doubtful: it is not so; roll back and call ``append_any``.
    """
    for message in messages:
        if message.kind in _CHANGES and not _change_target(db, message):
            raise Doubtful
    counts = Counter(map(_CONVERSATION, messages))
    heads = raise_heads(db, sql, counts, messages)
    if heads is None:
        raise Doubtful
    return _insert(db, sql, messages, counts, heads)


def append_any(db: Connection, sql: Statements, messages: Sequence[NewEntry]) -> list[Outcome]:
    """Append messages, of which some may be repetitions, not be the sender's to write, or recall nothing.

    A repetition is told its first seq even if the sender may write no more.

    Raises:
        IntegrityError: another server stored one of them meanwhile; roll back and try again.
    """
    lock_heads(db, {message.conversation for message in messages})
    refused = refusals(db, sql, messages)
    known = _known(db, messages)
    outcomes: dict[int, Outcome] = {}
    first_of: dict[int, int] = {}
    new: dict[int, NewEntry] = {}
    for place, message in enumerate(messages):
        first = known.get((message.sender, message.cid)) if message.cid is not None else None
        if first is not None:
            if not _same(first, message):
                outcomes[place] = CidUsed()
            elif first.place < 0:
                outcomes[place] = Stored(first.seq, first.time, True)
            else:
                first_of[place] = first.place
        elif place in refused:
            outcomes[place] = refused[place]
        elif message.kind in _CHANGES and not _change_target(db, message):
            outcomes[place] = NoSuchMessage()
        else:
            new[place] = message
            if message.cid is not None:
                known[message.sender, message.cid] = _Known(
                    message.conversation, message.kind, message.body, message.time, 0, place
                )
    entering = list(new.values())
    counts = Counter(map(_CONVERSATION, entering))
    inserted = _insert(db, sql, entering, counts, sql.raise_heads(db, counts))
    outcomes.update(zip(new, inserted, strict=True))
    for place, first_place in first_of.items():
        stored = outcomes[first_place]
        assert isinstance(stored, Stored)
        outcomes[place] = stored._replace(repeated=True)
    return [outcomes[place] for place in range(len(messages))]


def first_stored(db: Connection, message: NewEntry) -> First | None:
    """Return where a message was stored before, by its cid; None if it was not.

    Raises:
        CidUsed: the cid was used for another message.
    """
    for first in _known(db, [message]).values():
        if not _same(first, message):
            raise CidUsed
        return First(first.seq, first.time)
    return None


def append_free(
    db: Connection, sql: Statements, messages: Sequence[NewEntry], append: Append
) -> list[Outcome]:
    """Append messages as ``append`` does, but leave out those of conversations that are locked just now."""
    locked = sql.locked(db, {message.conversation for message in messages})
    free = [message for message in messages if message.conversation not in locked]
    outcomes = iter(append(db, sql, free) if free else ())
    return [Locked() if message.conversation in locked else next(outcomes) for message in messages]


def was_committed(db: Connection, messages: Sequence[NewEntry], outcomes: Sequence[Outcome]) -> bool:
    """Say whether a transaction was committed that appended messages with these outcomes.

    It may still be going on, unknown to us: its locks show when it has ended.
    """
    new = [
        (message.conversation, outcome.seq, *message[1:])
        for message, outcome in zip(messages, outcomes, strict=True)
        if isinstance(outcome, Stored) and not outcome.repeated
    ]
    lock_heads(db, {row[0] for row in new})
    for some in pieces(new):
        there = {tuple(row) for row in db.execute(_AT, {"places": [row[:2] for row in some]})}
        for row in some:
            recalled_since = (*row[:5], "", row[6])
            if row not in there and recalled_since not in there:
                return False
    return True


def _insert(
    db: Connection,
    sql: Statements,
    messages: Sequence[NewEntry],
    counts: Mapping[int, int],
    heads: Mapping[int, int],
) -> list[Outcome]:
    """Give out the seqs up to the heads and write the rows; MUST be in the order of the messages."""
    last: dict[int, int] = {}
    for conversation, count in counts.items():
        last[conversation] = heads[conversation] - count
    rows: list[tuple[Any, ...]] = []
    outcomes: list[Outcome] = []
    new = tuple.__new__  # half the time of Stored(…), and there is one for each message
    for conversation, sender, cid, kind, body, time in messages:
        last[conversation] = seq = last[conversation] + 1
        rows.append((conversation, seq, sender, cid, kind, body, time))
        outcomes.append(new(Stored, (seq, time, False)))
    sql.add_messages.run(db, rows)
    return outcomes


def _change_target(db: Connection, entry: NewEntry) -> bool:
    """Change the target of an entry; return True if it is a message that is not recalled."""
    changed = db.execute(_CHANGES[entry.kind], {"c": entry.conversation, "target": int(entry.body)})
    return changed.rowcount == 1


def _known(db: Connection, messages: Sequence[NewEntry]) -> dict[tuple[int, str], _Known]:
    """Find the messages in the log that have the cids of these."""
    cids = [(message.sender, message.cid) for message in messages if message.cid is not None]
    known = {}
    for some in pieces(cids):
        for row in db.execute(_BY_CID, {"cids": some}):
            known[row.sender, row.cid] = _Known(
                row.conversation, row.kind, row.body, row.created, row.seq, place=-1
            )
    return known


def _same(first: _Known, message: NewEntry) -> bool:
    """Return True if a message is the first one again; its body may have been recalled since."""
    same_place = (first.conversation, first.kind) == (message.conversation, message.kind)
    return same_place and first.body in (message.body, "")

"""Reading the log of a conversation: the SQL of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, bindparam, func, literal_column, select

from greenchat.data.engine.query import Query, Rows
from greenchat.data.schema import Conversation, Message, User
from greenchat.errors import Busy, NoSuchMessage
from greenchat.model import records
from greenchat.model.instants import shifted

CLOCK_STEP = 3 * 3600
"""Seconds that a server's clock may be put back, or be behind another's, without a day's history missing a
message.  As much is read in vain behind a day: 4 ms of MariaDB where 50,000 messages are sent a day."""

_HEAD = Query(select(Conversation.c.last_seq).where(Conversation.c.id == bindparam("c")))
_ENTRY = (
    select(
        Message.c.conversation,
        Message.c.seq,
        Message.c.sender,
        func.coalesce(User.c.name, literal_column(f"'{records.DELETED}'")),
        Message.c.cid,
        Message.c.kind,
        Message.c.body,
        Message.c.created,
        # Servers before version 3 of the schema only blank the body.
        literal_column("CASE WHEN recalled <> 0 OR body = '' THEN 1 ELSE 0 END"),
    )
    # Outer: an operator may have deleted the sender's row.  It also keeps MySQL from beginning with the few
    # users when its statistics are not those of today (measured: 7 ms a page of 200, and growing).
    .outerjoin_from(Message, User, User.c.id == Message.c.sender)
    .where(Message.c.conversation == bindparam("c"))
)
_ONE = Query(_ENTRY.where(Message.c.seq == bindparam("seq")))
SPAN = (
    _ENTRY.where(Message.c.seq > bindparam("after"), Message.c.seq <= bindparam("upto"))
    .order_by(Message.c.seq)
    .limit(bindparam("limit"))
)
_SPAN = Query(SPAN)
LAST = (
    _ENTRY.where(Message.c.seq > bindparam("after"), Message.c.seq < bindparam("before"))
    .order_by(Message.c.seq.desc())
    .limit(bindparam("limit"))
)
_LAST = Query(LAST)
_LAST_OF_DAY = Query(
    LAST.where(Message.c.created >= bindparam("first"), Message.c.created < bindparam("end"))
)
_TIME = Query(
    select(Message.c.created)
    .where(Message.c.conversation == bindparam("c"), Message.c.seq >= bindparam("seq"))
    .order_by(Message.c.seq)
    .limit(1)
)


def head(db: Connection, conversation: int) -> int:
    """Return the last seq of a conversation, 0 before its first message."""
    found = _HEAD.run(db, c=conversation)
    return found[0][0] if found else 0


def entry(db: Connection, conversation: int, seq: int) -> records.Entry:
    """Return one entry, or raise NoSuchMessage."""
    found = _ONE.run(db, c=conversation, seq=seq)
    if not found:
        raise NoSuchMessage
    return records.Entry(*found[0])


def entries(db: Connection, spans: Iterable[records.Span], limit: int) -> list[records.Entry]:
    """Return the first ``limit`` entries of some spans, in the order of the spans, oldest first in each.

    Raises:
        Busy: this database does not have the end of a span yet.
    """
    found: list[records.Entry] = []
    for span in spans:
        if len(found) == limit:
            break
        found += [records.Entry(*row) for row in _rows(db, span, limit - len(found))]
    return found


def _rows(db: Connection, span: records.Span, limit: int) -> Rows:
    """Read the first ``limit`` rows of a span that the log has."""
    conversation, after, upto = span
    rows = _SPAN.run(db, c=conversation, after=after, upto=upto, limit=limit)
    if len(rows) < min(limit, upto - after):
        # An operator has deleted messages, or this database has not caught up with the one that committed
        # them (a replica, another node of Galera): entries that are still to come must not pass for deleted.
        if head(db, conversation) < upto:
            raise Busy("the database does not have these messages yet")
        rows = _SPAN.run(
            db, c=conversation, after=after, upto=upto, limit=limit
        )  # with those that came meanwhile
    return rows


def history(
    db: Connection, conversation: int, after: int, before: int | None, day: tuple[str, str] | None, limit: int
) -> tuple[list[records.Entry], bool]:
    """Return the last ``limit`` entries that fit, oldest first, and whether older ones fit too."""
    last = head(db, conversation)
    before = last + 1 if before is None else min(before, last + 1)
    fit: dict[str, int | str] = {}
    if day is not None:
        after, before = _within(db, conversation, after, before, day)
        fit = {"first": day[0], "end": day[1]}
    last_ones = _LAST if day is None else _LAST_OF_DAY
    rows = last_ones.run(db, c=conversation, after=after, before=before, limit=limit + 1, **fit)
    return [records.Entry(*row) for row in reversed(rows[:limit])], len(rows) > limit


def _within(
    db: Connection, conversation: int, after: int, before: int, day: tuple[str, str]
) -> tuple[int, int]:
    """Narrow the open range of seqs to a day, with ``CLOCK_STEP`` before and after it.

    By bisection, since times grow with seq: a scan of the day would read all of a long conversation.  Where
    a clock was put back they do not.  But if it was by no more than ``CLOCK_STEP``, no message of the day is
    before the place that is found for an instant so much earlier, nor behind that for one so much later.  A
    seq of a deleted message counts with the next one.
    """
    begin, end = shifted(day[0], -CLOCK_STEP), shifted(day[1], CLOCK_STEP)

    def time(seq: int) -> str:
        found = _TIME.run(db, c=conversation, seq=seq)
        return str(found[0][0]) if found else end

    first = _first_not_before(begin, time, after + 1, before)
    return first - 1, _first_not_before(end, time, first, before)


def _first_not_before(instant: str, time: Callable[[int], str], low: int, high: int) -> int:
    """Return the first seq of ``low <= seq < high`` with a time not before the instant, else ``high``."""
    while low < high:
        middle = (low + high) // 2
        if time(middle) < instant:
            low = middle + 1
        else:
            high = middle
    return low

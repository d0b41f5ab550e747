"""Reading the log of a conversation: the SQL of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, bindparam, select

from greenchat import ports
from greenchat.data.query import Query
from greenchat.data.schema import Conversation, Message, User
from greenchat.errors import NoSuchMessage

_HEAD = Query(select(Conversation.c.last_seq).where(Conversation.c.id == bindparam("c")))
_ENTRY = (
    select(
        Message.c.conversation,
        Message.c.seq,
        Message.c.sender,
        User.c.name,
        Message.c.cid,
        Message.c.kind,
        Message.c.body,
        Message.c.created,
    )
    .join_from(Message, User, User.c.id == Message.c.sender)
    .where(Message.c.conversation == bindparam("c"))
    # The log first, by its key.  While its statistics are not those of today, MySQL may take all that the
    # few users have ever written for less (measured: 7 ms a page of 200, and growing).
    .prefix_with("STRAIGHT_JOIN", dialect="mysql")
)
_ONE = Query(_ENTRY.where(Message.c.seq == bindparam("seq")))
SPAN = _ENTRY.where(Message.c.seq > bindparam("after"), Message.c.seq <= bindparam("upto")).order_by(
    Message.c.seq
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
    select(Message.c.created).where(
        Message.c.conversation == bindparam("c"), Message.c.seq == bindparam("seq")
    )
)


def head(db: Connection, conversation: int) -> int:
    """Return the last seq of a conversation, 0 before its first message."""
    found = _HEAD.run(db, c=conversation)
    return found[0][0] if found else 0


def entry(db: Connection, conversation: int, seq: int) -> ports.Entry:
    """Return one entry, or raise NoSuchMessage."""
    found = _ONE.run(db, c=conversation, seq=seq)
    if not found:
        raise NoSuchMessage
    return ports.Entry(*found[0])


def entries(db: Connection, spans: Iterable[ports.Span]) -> list[ports.Entry]:
    """Return the entries of some spans, in the order of the spans, oldest first in each."""
    return [
        ports.Entry(*row)
        for conversation, after, upto in spans
        for row in _SPAN.run(db, c=conversation, after=after, upto=upto)
    ]


def history(
    db: Connection, conversation: int, after: int, before: int | None, day: tuple[str, str] | None, limit: int
) -> tuple[list[ports.Entry], bool]:
    """Return the last ``limit`` entries that fit, oldest first, and whether older ones fit too."""
    last = head(db, conversation)
    before = last + 1 if before is None else min(before, last + 1)
    fit: dict[str, int | str] = {}
    if day is not None:
        after, before = _within(db, conversation, after, before, day)
        fit = {"first": day[0], "end": day[1]}
    last_ones = _LAST if day is None else _LAST_OF_DAY
    rows = last_ones.run(db, c=conversation, after=after, before=before, limit=limit + 1, **fit)
    return [ports.Entry(*row) for row in reversed(rows[:limit])], len(rows) > limit


def _within(
    db: Connection, conversation: int, after: int, before: int, day: tuple[str, str]
) -> tuple[int, int]:
    """Narrow the open range of seqs to a day.

    By bisection, since seq has no gaps and times practically grow with it: a scan of the day
    would read all of a long conversation.
    """

    def time(seq: int) -> str:
        ((found,),) = _TIME.run(db, c=conversation, seq=seq)
        return str(found)

    first = _first_not_before(day[0], time, after + 1, before)
    return first - 1, _first_not_before(day[1], time, first, before)


def _first_not_before(instant: str, time: Callable[[int], str], low: int, high: int) -> int:
    """Return the first seq of ``low <= seq < high`` whose time is not before the instant, else ``high``."""
    while low < high:
        middle = (low + high) // 2
        if time(middle) < instant:
            low = middle + 1
        else:
            high = middle
    return low

"""Permission to write to a conversation, decided inside the transaction that appends to it.

A server's caches of blocks and memberships lag behind the commits of other servers.  So each transaction
checks its messages itself, after it has locked the heads of their conversations.  The transactions that block
a user and that end a membership lock the head too (``shut_out_of_pair``, ``shut_out_of_group``).  So no
message is committed after its sender has been blocked or has left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter

from sqlalchemy import Connection, bindparam, select

from greenchat.data.engine.statements import Pair, Statements
from greenchat.data.schema import Conversation
from greenchat.errors import Blocked, NotAMember, RequestError
from greenchat.model.conversations import of_pair
from greenchat.model.kinds import KINDS
from greenchat.model.records import NewEntry

_LOCK_HEADS = (
    select(Conversation.c.id)
    .where(Conversation.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(Conversation.c.id)
    .with_for_update()
)

_REFUSED = """
CASE WHEN conversation < 0 THEN NOT EXISTS (SELECT 1 FROM "GroupUser"
        WHERE groupid = -conversation AND userid = sender)
    ELSE EXISTS (SELECT 1 FROM "Block"
        WHERE blockedid = sender AND userid = CASE conversation & 4294967295
            WHEN sender THEN conversation >> 32 ELSE conversation & 4294967295 END)
END
"""

KNOWN_PAIRS = 100_000
"""Remembered pairs of a conversation and a sender that may write there."""

_MAY_WRITE = "may_write"
"""The key of the remembered pairs in ``Connection.info``."""

_NO_PAIRS: frozenset[Pair] = frozenset()

_PAIR: Callable[[NewEntry], Pair] = itemgetter(0, 1)
"""The conversation and the sender of a message."""


def lock_heads(db: Connection, conversations: Iterable[int]) -> None:
    """Wait for transactions that append to some conversations, and have later ones wait.

    One that has no message yet has no head, and is not locked.
    """
    db.execute(_LOCK_HEADS, {"ids": sorted(conversations)}).all()


def shut_out_of_pair(db: Connection, sql: Statements, one: int, other: int) -> None:
    """Get ready to keep one of two users from writing to the other."""
    _shut_out(db, sql, of_pair(one, other))


def shut_out_of_group(db: Connection, sql: Statements, groupid: int) -> None:
    """Get ready to keep a user from writing to a group."""
    _shut_out(db, sql, -groupid)


def _shut_out(db: Connection, sql: Statements, conversation: int) -> None:
    # This locks the head.  Where there is none it makes one: else the first message would not wait for us.
    sql.add_counts.run(db, [(conversation, 0)])
    _remembered(db).clear()


def raise_heads(
    db: Connection, sql: Statements, counts: Mapping[int, int], messages: Sequence[NewEntry]
) -> Mapping[int, int] | None:
    """Raise the heads for new messages, and return them if all senders may write.

    Return None if one may not, or is blocked and perhaps recalls an own message: then roll back and ask
    ``refusals``.

    Args:
        db: the connection.
        sql: its statements.
        counts: how many of the messages go to each conversation.
        messages: all of them.
    """
    if db.info.get(_MAY_WRITE, _NO_PAIRS).issuperset(map(_PAIR, messages)):
        return sql.raise_heads(db, counts)  # as usual on SQLite: no Python was run for each
    remembered = _remembered(db)
    asked = set(map(_PAIR, messages)) - remembered
    heads = sql.raise_heads_unless(db, counts, _REFUSED, asked)
    if heads is not None:
        _remember(remembered, asked)
    return heads


def refusals(db: Connection, sql: Statements, messages: Sequence[NewEntry]) -> dict[int, RequestError]:
    """Return why some of the messages may not be appended, by their place.

    A blocked sender may still recall an own message.
    """
    remembered = _remembered(db)
    asked = {
        (conversation, sender)
        for conversation, sender, _, kind, _, _ in messages
        if conversation < 0 or KINDS[kind].is_blockable
    }
    asked -= remembered
    refused = sql.pairs_where(db, _REFUSED, asked) if asked else set()
    _remember(remembered, asked - refused)
    return {
        place: NotAMember() if conversation < 0 else Blocked()
        for place, (conversation, sender, _, kind, _, _) in enumerate(messages if refused else ())
        if (conversation, sender) in refused and (conversation < 0 or KINDS[kind].is_blockable)
    }


def _remembered(db: Connection) -> set[Pair]:
    """Return which senders may write where, as far as that is known and cannot change behind our back.

    All that is written to a SQLite file goes through this connection, as no other server uses the file.
    """
    if db.dialect.name != "sqlite":
        return set()
    remembered: set[Pair] = db.info.setdefault(_MAY_WRITE, set())
    return remembered


def _remember(remembered: set[Pair], pairs: set[Pair]) -> None:
    if len(remembered) > KNOWN_PAIRS:
        remembered.clear()
    remembered |= pairs

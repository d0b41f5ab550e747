"""Who may write to a conversation, decided inside the transaction that appends to it.

A server's caches of blocks and memberships lag behind the commits of other servers.  So each transaction
checks its messages itself, with one statement, after it has locked the heads of their conversations.  The
transactions that block a user and that end a membership lock the head too (``lock_heads``).  So no message is
committed after its sender has been blocked or has left.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from operator import itemgetter

from sqlalchemy import Connection, bindparam, select

from greenchat.data.engine.query import run_text
from greenchat.data.schema import Conversation
from greenchat.errors import Blocked, NotAMember, RequestError
from greenchat.model.conversations import of_pair, pair_of
from greenchat.model.records import Message

_LOCK_HEADS = (
    select(Conversation.c.id)
    .where(Conversation.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(Conversation.c.id)
    .with_for_update()
)

# A question is one number: group << 32 | sender, negative, or receiver << 32 | sender.  The JSON array of all
# is one parameter, and each is looked up by a primary key.  Tuples behind IN are not: for 200 of each kind,
# MariaDB 10.11 takes the index of the second column and 9 to 17 ms; this takes 1 ms (measured).
_REFUSED = """
SELECT value FROM {asked} WHERE CASE
    WHEN value < 0 THEN NOT EXISTS (SELECT 1 FROM "GroupUser"
        WHERE groupid = (-value) >> 32 AND userid = (-value) & 4294967295)
    ELSE EXISTS (SELECT 1 FROM "Block"
        WHERE userid = value >> 32 AND blockedid = value & 4294967295)
    END
"""
_REFUSED_IN = {
    "sqlite": _REFUSED.format(asked="json_each(?)"),
    "mysql": _REFUSED.format(asked="JSON_TABLE(%s, '$[*]' COLUMNS (value BIGINT PATH '$')) AS asked"),
}


REMEMBERED = 100_000
"""Pairs of a conversation and a sender who may write there that are remembered."""

_PAIR = itemgetter(0, 1)
"""The conversation and the sender of a message."""


def lock_heads(db: Connection, conversations: Iterable[int]) -> None:
    """Wait for transactions that append to some conversations, and have later ones wait.

    One that has no message yet has no head, and is not locked.
    """
    db.execute(_LOCK_HEADS, {"ids": sorted(conversations)}).all()


def shut_out_of_pair(db: Connection, one: int, other: int) -> None:
    """Get ready to keep one of two users from writing to the other."""
    _shut_out(db, of_pair(one, other))


def shut_out_of_group(db: Connection, groupid: int) -> None:
    """Get ready to keep a user from writing to a group."""
    _shut_out(db, -groupid)


def _shut_out(db: Connection, conversation: int) -> None:
    lock_heads(db, [conversation])
    _remembered(db).clear()


def refusals(db: Connection, messages: Sequence[Message]) -> dict[int, RequestError]:
    """Return why some of the messages may not be appended, by their place; usually nothing.

    A blocked sender may still recall an own message.
    """
    remembered = _remembered(db)
    # Usually all are known.  No Python is run for each; a recall that needs no question is sorted out below.
    if remembered.issuperset(map(_PAIR, messages)):
        return {}
    asked = {
        (conversation, sender)
        for conversation, sender, _, kind, _, _ in messages
        if conversation < 0 or kind == "text"
    }
    asked -= remembered
    refused = _refused(db, asked) if asked else ()
    if len(remembered) > REMEMBERED:
        remembered.clear()
    remembered.update(asked.difference(refused))
    return {
        place: NotAMember() if conversation < 0 else Blocked()
        for place, (conversation, sender, _, kind, _, _) in enumerate(messages if refused else ())
        if (conversation, sender) in refused and (conversation < 0 or kind == "text")
    }


def _remembered(db: Connection) -> set[tuple[int, int]]:
    """Return which senders may write where, as far as that is known and cannot change behind our back.

    All that is written to a SQLite file goes through this connection, as no other server uses the file.
    """
    if db.dialect.name != "sqlite":
        return set()
    remembered: set[tuple[int, int]] = db.info.setdefault("may_write", set())
    return remembered


def _refused(db: Connection, asked: Iterable[tuple[int, int]]) -> Collection[tuple[int, int]]:
    """Return those of some conversations and senders who may not write there."""
    questions = {_question(*pair): pair for pair in asked}
    rows = run_text(db, _REFUSED_IN[db.dialect.name], (json.dumps(list(questions)),))
    return {questions[value] for (value,) in rows}


def _question(conversation: int, sender: int) -> int:
    if conversation < 0:
        return -(-conversation << 32 | sender)
    low, high = pair_of(conversation)
    return (low if high == sender else high) << 32 | sender

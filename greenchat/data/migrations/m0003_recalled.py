"""Version 3: a recalled message is marked by a column of its own, not by an empty body.

Servers of version 2 blank the body of a message and do not know the column.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, inspect, select, update

from greenchat.data.migrations.migration import Alter, Migration
from greenchat.data.schema import Conversation, Message

ROWS = 1000
"""Messages in a batch at most: 2 to 5 ms of the database."""

CONVERSATIONS = 200
"""Conversations in a batch at most."""

_NEXT = (
    select(Conversation.c.id, Conversation.c.last_seq)
    .where(Conversation.c.id >= bindparam("c"))
    .order_by(Conversation.c.id)
    .limit(CONVERSATIONS)
)
# Ranges of the primary key.  A range of whole conversations has no bounds of seq.
_BLANK = Message.c.kind == "text", Message.c.body == "", Message.c.recalled == 0
_PART = (
    update(Message)
    .where(
        Message.c.conversation == bindparam("c"),
        Message.c.seq > bindparam("after"),
        Message.c.seq <= bindparam("upto"),
        *_BLANK,
    )
    .values(recalled=1)
)
_WHOLE = (
    update(Message)
    .where(Message.c.conversation >= bindparam("c"), Message.c.conversation <= bindparam("last"), *_BLANK)
    .values(recalled=1)
)


def _expand(db: Connection, alter: Alter) -> None:
    if all(column["name"] != "recalled" for column in inspect(db).get_columns(Message.name)):
        alter(db, Message.name, "ADD COLUMN recalled SMALLINT DEFAULT 0 NOT NULL")


def _move(db: Connection, position: str) -> str | None:
    """Mark the recalled messages of a batch; a position is a conversation and a seq that was reached."""
    conversation, reached = map(int, position.split()) if position else (-(2**62), 0)
    rows = db.execute(_NEXT, {"c": conversation}).all()
    if not rows:
        return None
    first, head = rows[0]
    if first != conversation:
        reached = 0
    if reached or head > ROWS:
        upto = min(reached + ROWS, head)
        db.execute(_PART, {"c": first, "after": reached, "upto": upto})
        return f"{first} {upto}" if upto < head else f"{first + 1} 0"
    last, count = first, 0
    for row in rows:
        count += row.last_seq
        if count > ROWS:
            break
        last = row.id
    db.execute(_WHOLE, {"c": first, "last": last})
    return f"{last + 1} 0"


MIGRATION = Migration(3, _expand, _move)

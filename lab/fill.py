"""Filling a SQLite database with people and what they have, without asking a server.

Registering through a server costs a slow hash for each.  The server must have made the database, and
may run.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from greenchat.model.instants import to_instant
from greenchat.service.identity.tokens import Tokens
from greenchat.service.service import TOKEN_SECRET

TOKEN_DAYS = 1

LOCK_SECONDS = 60.0
"""How long a lock of the server's is waited for."""

ROWS_AT_A_TIME = 2_000
"""Rows of an INSERT: 14,000 variables of the 32,766 that SQLite takes."""


class Person(NamedTuple):
    """A user who can log in, by token and with the unnamed device."""

    id: int
    token: str


def people(database: Path, count: int, first: int = 1) -> list[Person]:
    """Add users with the ids from ``first`` on."""
    now, ids = to_instant(time.time()), range(first, first + count)
    with closing(_open(database)) as db, db:
        _insert(db, "User (id, name, password, state, created)",
                ((id, f"user{id}", "none", "offline", now) for id in ids))  # fmt: skip
        _insert(db, "Device (userid, device, generation, last_login)", ((id, "", 1, now) for id in ids))
        secret: str = db.execute("SELECT value FROM Setting WHERE name = ?", (TOKEN_SECRET,)).fetchone()[0]
    tokens = Tokens(secret, TOKEN_DAYS, time.time)
    return [Person(id, tokens.issue(id, "", 1)) for id in ids]


def group(database: Path, groupid: int, members: Sequence[Person]) -> None:
    """Add a group of these people; the first is its creator."""
    now = to_instant(time.time())
    with closing(_open(database)) as db, db:
        _insert(db, "AllGroup (id, groupname, groupdesc, size, created)",
                [(groupid, f"group{groupid}", "", len(members), now)])  # fmt: skip
        roles = ["creator"] + ["normal"] * (len(members) - 1)
        rows = ((groupid, one.id, role, 0, now) for one, role in zip(members, roles, strict=True))
        _insert(db, "GroupUser (groupid, userid, grouprole, joined_seq, joined)", rows)


def unread(database: Path, sender: Person, receiver: Person, texts: Sequence[str]) -> None:
    """Let the receiver have got none of these messages yet, the first between the two."""
    low, high = sorted((sender.id, receiver.id))
    conversation, now = low << 32 | high, to_instant(time.time())
    with closing(_open(database)) as db, db:
        _insert(db, "Conversation (id, last_seq)", [(conversation, len(texts))])
        rows = ((conversation, seq, sender.id, "text", text, now) for seq, text in enumerate(texts, 1))
        _insert(db, "Message (conversation, seq, sender, kind, body, created)", rows)


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=LOCK_SECONDS)


def _insert(db: sqlite3.Connection, into: str, rows: Iterable[tuple[object, ...]]) -> None:
    columns = into.count(",") + 1
    waiting = list(rows)
    while waiting:
        some, waiting = waiting[:ROWS_AT_A_TIME], waiting[ROWS_AT_A_TIME:]
        places = ", ".join(["(" + ", ".join("?" * columns) + ")"] * len(some))
        db.execute(f"INSERT INTO {into} VALUES {places}", [value for row in some for value in row])

"""Filling a database before a server opens it: people, groups and logs, by multi-row statements.

Registering through the server would cost a slow hash for each of a million users.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from time import time
from typing import Any, NamedTuple

import argon2
from sqlalchemy import Table, insert, make_url

from greenchat.data import BACKENDS
from greenchat.data.engine.database import Database
from greenchat.data.engine.query import DIALECTS
from greenchat.data.engine.statements import Bulk
from greenchat.data.queries.accounts import setting
from greenchat.data.schema import AllGroup, Conversation, Cursor, Device, Friend, GroupUser, Message, User
from greenchat.model.conversations import of_pair
from greenchat.model.instants import to_instant
from greenchat.service.identity.tokens import Tokens, new_secret
from greenchat.service.service import TOKEN_SECRET

PASSWORD = "correct horse"
"""Of everybody."""

TEXT = "." * 64

TOKEN_DAYS = 1
_AT_A_TIME = 51_200
"""Rows of a transaction."""

_GENERATION = 1


class Person(NamedTuple):
    """A user that can log in by token or password."""

    id: int
    token: str


class Filling:
    """A new database, while it is being filled.

    Args:
        url: of an empty database.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._database: Database = BACKENDS[parsed.drivername](parsed)
        self._dialect = DIALECTS[parsed.get_backend_name()]
        self._now = to_instant(time())
        self._database.open()
        with self._database.writing() as db:
            self._tokens = Tokens(setting(db, TOKEN_SECRET, new_secret()), TOKEN_DAYS, time)

    @cached_property
    def _password(self) -> str:
        return argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(PASSWORD)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def people(self, count: int, first: int = 1, every: int = 1) -> list[Person]:
        """Add users, each with the unnamed device, and return every so many of them.

        Args:
            count: how many.
            first: the id of the first; the others follow.
            every: of how many one is returned.
        """
        ids = range(first, first + count)
        self._insert(
            User, ((id, f"user{id}", self._password, "offline", None, self._now, None) for id in ids)
        )
        self._insert(Device, ((id, "", _GENERATION, None, None, self._now) for id in ids))
        return [Person(id, self._tokens.issue(id, "", _GENERATION)) for id in ids[::every]]

    def group(self, members: Sequence[Person], groupid: int = 1) -> None:
        """Add a group of these people; the first is its creator."""
        self._insert(AllGroup, [(groupid, f"group{groupid}", "", len(members), self._now)])
        roles = ["creator"] + ["normal"] * (len(members) - 1)
        self._insert(
            GroupUser,
            ((groupid, one.id, role, 0, self._now) for one, role in zip(members, roles, strict=True)),
        )

    def friends(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Make the second of each pair a friend of the first."""
        self._insert(Friend, ((*pair, self._now) for pair in pairs))

    def logs(self, users: Iterable[tuple[int, int]], each: int) -> None:
        """Give each pair of users a log of so many messages from the first, which both have received."""
        for sender, receiver in users:
            self.unread(sender, receiver, [TEXT] * each)

            conversation = of_pair(sender, receiver)
            self._insert(Cursor, [(user, "", conversation, each) for user in {sender, receiver}])

    def unread(self, sender: int, receiver: int, texts: Sequence[str]) -> None:
        """Give two users a log of these messages from the first, of which the second has received none."""
        conversation = of_pair(sender, receiver)
        self._insert(Conversation, [(conversation, len(texts))], ["id", "last_seq"])
        self._insert(
            Message,
            (
                (conversation, seq, sender, f"{receiver}-{seq}", "text", text, self._now, 0)
                for seq, text in enumerate(texts, 1)
            ),
        )

    def _insert(
        self, table: Table, rows: Iterable[tuple[Any, ...]], columns: list[str] | None = None
    ) -> None:
        bulk = Bulk(insert(table), columns or [column.name for column in table.c], self._dialect)
        waiting = iter(rows)
        while some := list(islice(waiting, _AT_A_TIME)):
            with self._database.writing() as db:
                bulk.run(db, some)

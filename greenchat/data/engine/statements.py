"""The statements that write many rows at once, in the spelling of each SQL dialect."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, Insert, Table, bindparam, case, insert, select

from greenchat.data.engine.query import RUN, run_text
from greenchat.data.schema import Conversation, Cursor, Message, ReadMark

Update = Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[Any]]
"""The new value of a column, from the one that is there and the one that was to be inserted."""


Pair = tuple[int, int]
"""A conversation and a user that writes to it."""


NEW_MESSAGE = ("conversation", "seq", "sender", "cid", "kind", "body", "created")
"""The columns of a new entry; all others have their defaults."""


class Bulk:
    """A multi-row INSERT: one statement for many rows, where ``executemany`` would do one for each.

    Attributes:
        sizes: rows of a statement, the most first; the rows that are left make one of their own size.
    """

    sizes: tuple[int, ...] = (256, 64)

    def __init__(self, statement: Insert, columns: Sequence[str], dialect: Dialect) -> None:
        text = str(statement.values([dict.fromkeys(columns)]).compile(dialect=dialect))
        mark = "?" if dialect.paramstyle == "qmark" else "%s"
        self._head, self._row, self._tail = text.partition(f"({', '.join([mark] * len(columns))})")
        self._run = RUN[dialect.name]

    def run(self, db: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows, each a tuple in the order of the columns."""
        while rows:
            size = len(rows)
            for largest in self.sizes:
                if largest <= size:
                    size = largest
                    break
            some, rows = rows[:size], rows[size:]
            text = f"{self._head}{', '.join([self._row] * size)}{self._tail}"
            self._run(db, text, tuple(chain.from_iterable(some)))


class Statements:
    """The statements of the append path and of the marks, for one dialect.

    A subclass says how an upsert is spelled, and how many rows are written at a time.

    Attributes:
        pairs: a table with the columns ``conversation`` and ``sender``, made of one parameter: a JSON array.
    """

    bulk: type[Bulk]
    pairs: str

    def __init__(self, dialect: Dialect) -> None:
        self.add_messages = self.bulk(insert(Message), NEW_MESSAGE, dialect)
        self.add_counts = self.bulk(self.upsert(Conversation, "last_seq", _sum), ["id", "last_seq"], dialect)
        self.raise_cursors = self.bulk(
            self.upsert(Cursor, "delivered_seq", _larger), [column.name for column in Cursor.c], dialect
        )
        self.raise_read_marks = self.bulk(
            self.upsert(ReadMark, "read_seq", _larger), [column.name for column in ReadMark.c], dialect
        )

    def upsert(self, table: Table, column: str, update: Update) -> Insert:
        """Return an INSERT that changes one column where the key is there already."""
        raise NotImplementedError

    def raise_heads(self, db: Connection, counts: Mapping[int, int]) -> Mapping[int, int]:
        """Count so many new messages in conversations, and return the last seq of each."""
        # In id order, so that writers on other servers lock the rows in the same order as this one.
        self.add_counts.run(db, sorted(counts.items()))
        return self.heads(db, counts)

    def raise_heads_unless(
        self, db: Connection, counts: Mapping[int, int], condition: str, pairs: Iterable[Pair]
    ) -> Mapping[int, int] | None:
        """Do ``raise_heads``, and return None if an SQL condition is true for one of the pairs."""
        heads = self.raise_heads(db, counts)
        # Last, as the heads are locked by now.
        return None if self.pairs_where(db, condition, pairs) else heads

    def pairs_where(self, db: Connection, condition: str, pairs: Iterable[Pair]) -> set[Pair]:
        """Return the pairs for which an SQL condition is true."""
        text = f"SELECT conversation, sender FROM {self.pairs} WHERE {condition}"
        return {(row[0], row[1]) for row in run_text(db, text, (json.dumps(list(pairs)),))}

    def locked(self, db: Connection, conversations: Iterable[int]) -> set[int]:
        """Lock the counters of some conversations; return those that other programs have locked."""
        return set()

    def heads(self, db: Connection, conversations: Iterable[int]) -> dict[int, int]:
        """Return the last seq of those of the conversations that have one."""
        rows = db.execute(_HEADS, {"ids": list(conversations)})
        return {row.id: row.last_seq for row in rows}


_HEADS = select(Conversation.c.id, Conversation.c.last_seq).where(
    Conversation.c.id.in_(bindparam("ids", expanding=True))
)


def _sum(old: ColumnElement[Any], new: ColumnElement[Any]) -> ColumnElement[Any]:
    return old + new


def _larger(old: ColumnElement[Any], new: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((new > old, new), else_=old)

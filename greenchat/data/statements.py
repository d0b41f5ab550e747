"""The statements that write many rows at once, and what SQL dialects spell differently in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, Insert, Table, bindparam, case, insert, select

from greenchat.data.schema import Conversation, Cursor, Message, ReadMark

SIZES = (256, 64, 16, 4, 1)
"""Rows of the statements that are kept; few, so that the driver's own cache keeps them too."""

Update = Callable[[ColumnElement[Any], ColumnElement[Any]], ColumnElement[Any]]
"""The new value of a column, from the one that is there and the one that was to be inserted."""


class Bulk:
    """A multi-row INSERT, compiled to SQL text once for each of ``SIZES``.

    One statement for many rows, not ``executemany``: SQLite's driver lets go of the GIL at every
    step, and with a busy loop beside it each row would wait for it.
    """

    def __init__(self, statement: Insert, columns: Sequence[str], dialect: Dialect) -> None:
        self._statement = statement
        self._columns = columns
        self._dialect = dialect
        self._texts: dict[int, str] = {}

    def run(self, db: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows, each a tuple in the order of the columns."""
        start = 0
        for size in SIZES:
            while len(rows) - start >= size:
                values = tuple(chain.from_iterable(rows[start : start + size]))
                db.exec_driver_sql(self._texts.get(size) or self._compile(size), values)
                start += size

    def _compile(self, size: int) -> str:
        many = self._statement.values([dict.fromkeys(self._columns)] * size)
        self._texts[size] = text = str(many.compile(dialect=self._dialect))
        return text


class Statements:
    """The statements of the append path and of the marks, for one dialect.

    A subclass says how an upsert is spelled.
    """

    bulk: type[Bulk] = Bulk

    def __init__(self, dialect: Dialect) -> None:
        self.add_messages = self.bulk(insert(Message), [column.name for column in Message.c], dialect)
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

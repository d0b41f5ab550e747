"""Statements that are compiled to SQL text once, and keys for a statement in pieces."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, TypeVar

from sqlalchemy import BindParameter, ClauseElement, Connection, Dialect, bindparam
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

DIALECTS: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "mysql": mysql.dialect(paramstyle="format"),
}
"""The dialects for which statements are compiled, by name, with positional parameters."""

Rows = Sequence[Sequence[Any]]
T = TypeVar("T")

AT_A_TIME = 200
"""Keys that one statement is given: keeps it far below the databases' limits of parameters."""


def _by_driver(db: Connection, text: str, values: tuple[Any, ...]) -> Rows:
    """Run a statement past SQLAlchemy, which takes 4 to 20 µs a call of its own (measured)."""
    driver: Any = db.connection.dbapi_connection
    try:
        rows: Rows = driver.execute(text, values).fetchall()
    except sqlite3.Error as error:
        raise as_sqlalchemy_raises(text, error) from error
    return rows


def as_sqlalchemy_raises(text: str, error: sqlite3.Error) -> Exception:
    """Return the exception in which SQLAlchemy wraps an error of the driver.

    Args:
        text: the statement.
        error: raised by the driver.
    """
    return DBAPIError.instance(text, (), error, sqlite3.Error, hide_parameters=True)


def _by_sqlalchemy(db: Connection, text: str, values: tuple[Any, ...]) -> Rows:
    """Run a statement where a greenlet may be cut off in it: then SQLAlchemy throws the connection away."""
    result = db.exec_driver_sql(text, values)
    return result.all() if result.returns_rows else ()


RUN: dict[str, Callable[[Connection, str, tuple[Any, ...]], Rows]] = {
    "sqlite": _by_driver,
    "mysql": _by_sqlalchemy,
}
"""Functions that run SQL text and return its rows, if it is a statement that has any, by dialect."""


def run_text(db: Connection, text: str, values: tuple[Any, ...] = ()) -> Rows:
    """Run SQL text in the dialect of the connection, and return its rows, if it is one that has any."""
    return RUN[db.dialect.name](db, text, values)


def pieces(keys: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield keys in pieces of at most ``AT_A_TIME``."""
    for start in range(0, len(keys), AT_A_TIME):
        yield keys[start : start + AT_A_TIME]


class Query:
    """A statement of SQLAlchemy's, compiled once for each of ``DIALECTS``.

    ``Connection.execute`` looks a statement up in a cache of compiled ones each time, by a key that it
    makes of all its parts: 12 to 40 µs a call, where running it takes 2 to 5 (measured on SQLite).

    Values go to the driver as they are, and come as they are: for columns of integers and texts, of
    which both drivers make the same.

    Args:
        statement: with a ``bindparam`` for each value that changes.  None of them may be expanding (see
            ``KeysQuery``).
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def run(self, db: Connection, **values: Any) -> Rows:
        """Run it with these values of its parameters, and return its rows, if it is one that has any."""
        name = db.dialect.name
        compiled = self._compiled.get(name) or self._compile(name)
        values |= compiled.fixed
        return run_text(db, compiled.text, tuple([values[name] for name in compiled.names]))

    def _compile(self, name: str) -> _Compiled:
        self._compiled[name] = compiled = _Compiled(self._statement, DIALECTS[name])
        return compiled


class KeysQuery:
    """A statement with a list of keys: a ``Query`` for each power of two of them.

    A list between two powers is filled up with its last key.  SQLAlchemy would build the text of each list
    anew: 140 µs for four keys, of which SQLite itself takes 10 (measured).

    Args:
        select: returns the statement, given the parameters that its IN lists.
    """

    def __init__(self, select: Callable[[Sequence[BindParameter[Any]]], ClauseElement]) -> None:
        self._select = select
        self._names = [f"key{number}" for number in range(1 << (AT_A_TIME - 1).bit_length())]
        self._queries: dict[int, Query] = {}

    def run(self, db: Connection, keys: Sequence[Any], **values: Any) -> list[Sequence[Any]]:
        """Run it for these keys, ``AT_A_TIME`` at a time, and return all rows."""
        rows: list[Sequence[Any]] = []
        for some in pieces(keys):
            size = 1 << (len(some) - 1).bit_length()
            query = self._queries.get(size) or self._query(size)
            filled = chain(some, repeat(some[-1]))
            rows += query.run(db, **values, **dict(zip(self._names[:size], filled, strict=False)))
        return rows

    def _query(self, size: int) -> Query:
        self._queries[size] = query = Query(self._select([bindparam(name) for name in self._names[:size]]))
        return query


class _Compiled:
    """A statement in one dialect: its text, the names of its parameters in order, those that never change."""

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        self.text = str(compiled)
        self.names = list(compiled.positiontup or ())
        # A literal in the statement is a parameter with a value; one that has to be given has none.
        self.fixed = {name: value for name, value in compiled.params.items() if value is not None}

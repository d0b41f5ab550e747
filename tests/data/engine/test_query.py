"""Statements that are compiled once, on SQLite: what comes back, and what is raised.

What the store does with them, on both databases, is in ``test_store_contract``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, bindparam, create_engine, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from greenchat.data.engine.query import AT_A_TIME, KeysQuery, Query
from greenchat.data.schema import Setting

ADD = Query(insert(Setting).values(name=bindparam("n"), value=bindparam("v")))
CHANGE = Query(update(Setting).values(value="fixed").where(Setting.c.name == bindparam("n")))
ALL = Query(select(Setting.c.name, Setting.c.value).order_by(Setting.c.name))

SOME = KeysQuery(lambda keys: select(Setting.c.name).where(Setting.c.name.in_(keys)))


@pytest.fixture
def db() -> Iterator[Connection]:
    with create_engine("sqlite://", hide_parameters=True).connect() as connection:
        Setting.create(connection)
        yield connection


def test_rows_come_in_their_order(db: Connection) -> None:
    ADD.run(db, n="b", v="2")
    ADD.run(db, n="a", v="1")
    assert [tuple(row) for row in ALL.run(db)] == [("a", "1"), ("b", "2")]


def test_where_there_are_no_rows_none_come(db: Connection) -> None:
    assert not ALL.run(db)
    assert not ADD.run(db, n="a", v="1")


def test_a_literal_in_a_statement_needs_no_value(db: Connection) -> None:
    ADD.run(db, n="a", v="1")
    CHANGE.run(db, n="a")
    assert [tuple(row) for row in ALL.run(db)] == [("a", "fixed")]


def test_what_the_driver_raises_is_an_error_of_sqlalchemys(db: Connection) -> None:
    """It MUST be: by that the store tells a database that fails from a bug."""
    ADD.run(db, n="a", v="1")
    with pytest.raises(IntegrityError):
        ADD.run(db, n="a", v="2")
    Setting.drop(db)
    with pytest.raises(OperationalError):
        ALL.run(db)


def test_an_error_shows_no_values(db: Connection) -> None:
    ADD.run(db, n="a", v="1")
    with pytest.raises(IntegrityError) as raised:
        ADD.run(db, n="a", v="secret")
    assert "secret" not in str(raised.value)


def test_it_is_part_of_its_connections_transaction(db: Connection) -> None:
    db.commit()
    with db.begin():
        ADD.run(db, n="kept", v="1")
    transaction = db.begin()
    ADD.run(db, n="undone", v="1")
    transaction.rollback()
    assert [name for name, _ in ALL.run(db)] == ["kept"]


def test_each_row_of_a_list_comes_once(db: Connection) -> None:
    """Of any length: short of a power of two, and beyond what one statement takes."""
    names = [f"{number:04}" for number in range(2 * AT_A_TIME + 5)]
    for name in names:
        ADD.run(db, n=name, v="")
    for length in (0, 1, 2, 3, 4, 5, AT_A_TIME, len(names)):
        found = [name for (name,) in SOME.run(db, [*names[:length], "unknown"])]
        assert sorted(found) == names[:length]
    assert SOME.run(db, []) == []

"""Setting up an empty database, and checking that an old one is ours and can be read."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from sqlalchemy import Connection, inspect, select

from greenchat.data.migrations import upgrade
from greenchat.data.migrations.migration import Alter
from greenchat.data.schema import VERSION, Setting, insert_new, metadata
from greenchat.errors import StartupError
from greenchat.model.instants import to_instant


def set_up(db: Connection, view: Sequence[str], alter: Alter) -> bool:
    """Create the tables and settings of an empty database, or expand an older one; in a writing transaction.

    Args:
        db: the database.
        view: the statements that create the view OfflineMessage anew; each dialect writes JSON its own way.
        alter: changes a table.

    Returns:
        True if the database is of an older version, and an upgrade under way.

    Raises:
        StartupError: the database holds something else, or is of a version that this program cannot read.
    """
    # Without case: with lower_case_table_names=1 MySQL keeps the names in small letters.
    tables = {name.casefold() for name in inspect(db).get_table_names()}
    ours = {name.casefold() for name in metadata.tables}
    is_set_up = Setting.name.casefold() in tables
    if tables - ours and not is_set_up:
        raise StartupError("the database holds something else than a greenchat server's tables")
    if not is_set_up or _has_no_version(db):
        _create(db, view)
    is_older = upgrade.expand(db, alter, to_instant(time()))
    if is_older:
        _execute(db, view)
    return is_older


def _has_no_version(db: Connection) -> bool:
    return db.scalar(select(Setting.c.value).where(Setting.c.name == "schema_version")) is None


def _create(db: Connection, view: Sequence[str]) -> None:
    """Create the missing parts, the version last: DDL may be no transaction, and a kill have cut it short."""
    for table in metadata.sorted_tables:
        table.create(db, checkfirst=True)
        for index in table.indexes:
            index.create(db, checkfirst=True)
    _execute(db, view)
    db.execute(insert_new(Setting), {"name": "schema_version", "value": str(VERSION)})


def _execute(db: Connection, view: Sequence[str]) -> None:
    for statement in view:
        db.exec_driver_sql(statement)

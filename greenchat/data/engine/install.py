"""Setting up an empty database, and checking that an old one is ours.

Tables are added to an older database when a server starts on it; its version stays.  Such a change is seen by
no server that does not know the tables, so old and new ones can share the database.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, select

from greenchat.data.schema import VERSION, Setting, insert_new, metadata
from greenchat.errors import StartupError


def set_up(db: Connection, view: str) -> None:
    """Create the missing tables and settings, those of an older database too; in a transaction that writes.

    Args:
        db: the database.
        view: the CREATE statement of OfflineMessage in the dialect; each writes JSON in its own way.

    Raises:
        StartupError: the database holds something else, or is newer than this program.
    """
    # Without case: with lower_case_table_names=1 MySQL keeps the names in small letters.
    tables = {name.casefold() for name in inspect(db).get_table_names()}
    ours = {name.casefold() for name in metadata.tables}
    is_set_up = Setting.name.casefold() in tables
    if tables - ours and not is_set_up:
        raise StartupError("the database holds something else than a greenchat server's tables")
    found = _version(db) if is_set_up else None
    if found is None:
        _create(db, view)
        found = _version(db)
    elif ours - tables:
        metadata.create_all(db)
    if found is None or not found.isdecimal():
        raise StartupError("the database has no readable schema version")
    if int(found) > VERSION:
        raise StartupError(
            f"the database has schema version {found}, this program knows {VERSION}: run a newer greenchat"
        )


def _version(db: Connection) -> str | None:
    found: str | None = db.scalar(select(Setting.c.value).where(Setting.c.name == "schema_version"))
    return found


def _create(db: Connection, view: str) -> None:
    """Create the missing parts, the version last: DDL may be no transaction, and a kill have cut it short."""
    for table in metadata.sorted_tables:
        table.create(db, checkfirst=True)
        for index in table.indexes:
            index.create(db, checkfirst=True)
    db.exec_driver_sql(view)
    db.execute(insert_new(Setting), {"name": "schema_version", "value": str(VERSION)})

"""Setting up an empty database, and checking that an old one is ours."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, select

from greenchat.data.schema import VERSION, Setting, insert_new, metadata
from greenchat.errors import StartupError


def set_up(db: Connection, view: str) -> None:
    """Create what an empty database lacks; in a transaction that writes.

    Args:
        db: the database.
        view: the CREATE statement of OfflineMessage, whose JSON each dialect writes in its own way.

    Raises:
        StartupError: the database holds something else, or is newer than this program.
    """
    tables = set(inspect(db).get_table_names())
    if tables and Setting.name not in tables:
        raise StartupError("the database holds something else than a greenchat server's tables")
    if not tables:
        metadata.create_all(db)
        db.exec_driver_sql(view)
        db.execute(insert_new(Setting), {"name": "schema_version", "value": str(VERSION)})
    found = db.scalar(select(Setting.c.value).where(Setting.c.name == "schema_version"))
    if found is None or not found.isdecimal():
        raise StartupError("the database has no readable schema version")
    if int(found) > VERSION:
        raise StartupError(
            f"the database has schema version {found}, this program knows {VERSION}: run a newer greenchat"
        )

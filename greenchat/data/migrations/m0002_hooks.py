"""Version 2: the tables of hooks."""

from __future__ import annotations

from sqlalchemy import Connection

from greenchat.data.migrations.migration import Alter, Migration
from greenchat.data.schema import Hook, HookFailure


def _expand(db: Connection, alter: Alter) -> None:
    for table in (Hook, HookFailure):
        table.create(db, checkfirst=True)


MIGRATION = Migration(2, _expand)

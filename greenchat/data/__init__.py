"""The database: tables, SQL, group commit, and one backend a URL scheme.

It implements ``ports.Store``; ``open_store`` is the way in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from greenchat.data.engine.database import Database
from greenchat.data.engine.mysql import MysqlDatabase
from greenchat.data.engine.runner import Greenlets, Inline, Runner, Threads
from greenchat.data.engine.sqlite import SqliteDatabase
from greenchat.data.store import SqlStore
from greenchat.errors import ConfigError

__all__ = ["BACKENDS", "Greenlets", "Inline", "SqlStore", "Threads", "open_store"]

BACKENDS: dict[str, Callable[[URL], Database]] = {"sqlite": SqliteDatabase, "mysql+pymysql": MysqlDatabase}
"""The database of each URL scheme."""


def open_store(url: str, *, runner: Runner | None = None, **options: Any) -> SqlStore:
    """Return the store at a URL, not yet started.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``sqlite://`` for one in memory, or
            ``mysql+pymysql://user:password@host:port/chat`` (see ``MysqlDatabase``).
        runner: runs the calls that block; by default the one that suits the database.
        options: limits, as ``SqlStore`` takes them.

    Raises:
        ConfigError: the URL names no database that is known here, or an option that is not; it is
            not repeated, since a password may stand in it.
    """
    known = ", ".join(f"{scheme}://" for scheme in BACKENDS)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(f"store: not a URL; it must begin with one of {known}") from None
    if parsed.drivername not in BACKENDS:
        raise ConfigError(f"store: unknown database {parsed.drivername}://, not one of {known}")
    database = BACKENDS[parsed.drivername](parsed)
    return SqlStore(database, runner or database.runner(), **options)

"""The SQLite backend: one file, one server, and the disk's fsync behind every acknowledgement."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from time import time
from typing import ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Dialect, Insert, Table, bindparam, create_engine, event, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from greenchat.data.engine.database import Database
from greenchat.data.engine.health import explain
from greenchat.data.engine.install import set_up
from greenchat.data.engine.query import DIALECTS, as_sqlalchemy_raises, run_text
from greenchat.data.engine.rights import keep_private
from greenchat.data.engine.runner import Runner, Threads
from greenchat.data.engine.statements import Bulk, Statements, Update
from greenchat.data.engine.view import create_view
from greenchat.data.schema import Device, User
from greenchat.errors import StartupError
from greenchat.model.instants import to_instant

P = ParamSpec("P")
T = TypeVar("T")

LOCK_WAIT = 5.0
"""Seconds that a transaction waits for another program that has the file locked."""

PREPARED = 512
"""Statements that the driver keeps prepared: those of 1 to 64 and 256 rows of four tables, and all others."""

KNOWN_HEADS = 100_000
"""Conversations with a remembered last seq."""

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # FULL: a commit is on the disk when it returns (with NORMAL a power cut may take the last ones).
    "PRAGMA synchronous = FULL",
)

_VIEW = (
    'DROP VIEW IF EXISTS "OfflineMessage"',
    create_view(create="CREATE", integer="INTEGER", true="json('true')"),
)

_HEADS = """
SELECT json_group_object(id, last_seq) FROM "Conversation" WHERE id IN (SELECT value FROM json_each(?))
"""
_CLOSE_DEVICES = update(Device).where(Device.c.node.is_not(None)).values(node=None, incarnation=None)
_CLOSE_USERS = (
    update(User).where(User.c.state != "offline").values(state="offline", node=None, last_seen=bindparam("t"))
)


class _RollbackBulk(Bulk):
    """A multi-row INSERT that, if it fails, undoes the whole transaction.

    Not ``executemany``, for which the driver would let go of the GIL at every row: with a busy loop beside it
    each could wait for it.

    Of one that undoes only itself, SQLite keeps a copy of each page that it changes, in a file (a statement
    journal): 15 % of the cost of a message, for changes that are rolled back anyway.
    """

    def __init__(self, statement: Insert, columns: Sequence[str], dialect: Dialect) -> None:
        super().__init__(statement.prefix_with("OR ROLLBACK"), columns, dialect)


class SqliteStatements(Statements):
    """The multi-row statements as SQLite spells them.

    As one server alone writes to a file, it remembers the heads of conversations that it read or wrote in
    committed transactions.

    Attributes:
        known_heads: the last seq of each conversation that is remembered.
    """

    bulk = _RollbackBulk
    pairs = """
        (SELECT json_extract(value, '$[0]') AS conversation, json_extract(value, '$[1]') AS sender
        FROM json_each(?))
    """

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.known_heads: dict[int, int] = {}

    def forget_heads(self) -> None:
        """Forget all heads: a transaction was rolled back."""
        self.known_heads.clear()

    def raise_heads(self, db: Connection, counts: Mapping[int, int]) -> Mapping[int, int]:
        """Count, and read only the heads of conversations that are not remembered."""
        self.add_counts.run(db, list(counts.items()))
        heads = self.known_heads
        if len(heads) > KNOWN_HEADS:
            heads.clear()
        unknown = []
        for conversation, count in counts.items():
            if conversation in heads:
                heads[conversation] += count
            else:
                unknown.append(conversation)
        if unknown:
            heads.update(self.heads(db, unknown))
        return heads

    def upsert(self, table: Table, column: str, update: Update) -> Insert:
        """Return an INSERT … ON CONFLICT DO UPDATE."""
        insert = sqlite.insert(table)
        changed = {column: update(table.c[column], insert.excluded[column])}
        return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed)

    def heads(self, db: Connection, conversations: Iterable[int]) -> dict[int, int]:
        """Read all in one row: each row that is fetched may cost a wait for the GIL (see ``Bulk``)."""
        ((found,),) = run_text(db, _HEADS, (json.dumps(list(conversations)),))
        return {int(conversation): last for conversation, last in json.loads(found).items()}


class _Transaction:
    """A transaction of the writing connection, begun and ended by the driver.

    SQLAlchemy's own takes 30 Python calls, a fifth of those of a message that comes alone.

    Args:
        connection: the one that writes.
        failed: called when a transaction was rolled back.
    """

    def __init__(self, connection: Connection, failed: Callable[[], None]) -> None:
        driver = connection.connection.driver_connection
        assert driver is not None
        self._connection = connection
        self._driver = driver
        self._failed = failed

    def __enter__(self) -> Connection:
        try:
            self._driver.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._undo()  # one that could not be rolled back may be open still
            raise as_sqlalchemy_raises("BEGIN IMMEDIATE", error) from error
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            self._undo()
            return
        try:
            self._driver.execute("COMMIT")
        except sqlite3.Error as refused:
            self._undo()
            raise as_sqlalchemy_raises("COMMIT", refused) from refused

    def _undo(self) -> None:
        self._failed()
        if self._driver.in_transaction:  # also after a COMMIT that failed
            self._driver.rollback()


class SqliteDatabase(Database):
    """A SQLite file (``sqlite:///relative.db``, ``sqlite:////absolute.db``), or one in memory (``sqlite://``).

    Args:
        url: where it is.
    """

    statements: SqliteStatements
    parallel = False
    exclusive = True

    def __init__(self, url: URL) -> None:
        self._path = url.database or ""
        self._alone = self._path in ("", ":memory:")
        self._lock = -1
        self._file: tuple[int, int] | None = None
        self._connections: list[Connection] = []
        self._writing: AbstractContextManager[Connection] = nullcontext()  # type: ignore[assignment]
        self.statements = SqliteStatements(DIALECTS["sqlite"])

    def runner(self) -> Runner:
        """Return native threads; reads share the writer's where there is one connection for all."""
        return Threads(apart=not self._alone)

    def open(self) -> bool:
        """Open or create the file, readable by its owner alone, and keep other servers off it."""
        try:
            return self._open()
        except StartupError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise StartupError(f"cannot write the database {self._path}: {error.strerror}") from None
        except (DBAPIError, sqlite3.Error) as error:
            self.close()
            raise StartupError(f"cannot open the database {self._path}: {explain(error)}") from None

    def _open(self) -> bool:
        if not self._alone:
            self._claim()
        writer = self._connect()
        self._connections.append(writer)
        self._writing = _Transaction(writer, self.statements.forget_heads)
        if not self._alone and run_text(writer, "PRAGMA journal_mode") != [("wal",)]:
            raise StartupError(
                f"cannot write the database {self._path}: no write-ahead log is possible there"
            )
        with self.writing():
            is_older = set_up(writer, _VIEW, _alter)
            if not self._alone:  # then no other server has the file: nobody is online
                _close_everybody(writer, to_instant(time()))
                keep_private(self._path)  # now that the file is known to be ours
        if not self._alone:
            self._connections.append(self._connect())
        return is_older

    def close(self) -> None:
        """Close the file; its lock goes with it."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            _used_here.discard(self._file)

    def writing(self) -> AbstractContextManager[Connection]:
        """Return a transaction of the writing connection."""
        return self._writing

    operating = writing

    def reading(self) -> AbstractContextManager[Connection]:
        """Return the reading connection, on which each statement has a snapshot of its own."""
        return self.writing() if self._alone else nullcontext(self._connections[-1])

    def retrying(self, transaction: Callable[P, T]) -> Callable[P, T]:
        """Return it as it is: SQLite itself waits for locks, and a failing disk fails again."""
        return transaction

    def _claim(self) -> None:
        """Create the file and take the lock that says that a server uses it.

        The lock is that of flock(2) upon the file itself, so that no other name of it (a link) leads around
        it.  Linux keeps it apart from the fcntl(2) locks of SQLite.  Those end, in the whole process, when
        any descriptor of the file is closed (https://www.sqlite.org/howtocorrupt.html, 2.2): so ours is
        opened before SQLite's and closed after them, and a file that this process uses is not opened again.
        """
        directory = os.path.dirname(self._path) or "."
        if not os.path.isdir(directory):
            raise StartupError(f"cannot write the database {self._path}: there is no directory {directory}")
        in_use = StartupError(f"the database {self._path} is in use by another server")
        if os.path.exists(self._path) and _identity(os.stat(self._path)) in _used_here:
            raise in_use
        # SQLite gives the -wal and -shm files the rights of the database, so making it is enough.
        self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise in_use from None
        self._file = _identity(os.fstat(self._lock))
        _used_here.add(self._file)

    def _connect(self) -> Connection:
        """Open a connection that one thread will use, and that begins no transaction by itself."""
        options = {
            "isolation_level": None,
            "check_same_thread": False,
            "timeout": LOCK_WAIT,
            "cached_statements": PREPARED,
        }
        url = URL.create("sqlite", database=self._path or None)
        engine = create_engine(url, connect_args=options, poolclass=NullPool, hide_parameters=True)
        event.listen(engine, "connect", _prepare)
        return engine.connect()


_used_here: set[tuple[int, int] | None] = set()
"""The files that this process has locked, by device and inode."""


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _prepare(connection: sqlite3.Connection, record: object) -> None:
    with closing(connection.cursor()) as cursor:
        for pragma in PRAGMAS:
            cursor.execute(pragma)


def _alter(db: Connection, table: str, change: str) -> None:
    """Change a table; SQLite adds a column without touching the rows."""
    db.exec_driver_sql(f'ALTER TABLE "{table}" {change}')


def _close_everybody(db: Connection, now: str) -> None:
    """Mark all devices and users offline."""
    db.execute(_CLOSE_DEVICES)
    db.execute(_CLOSE_USERS, {"t": now})

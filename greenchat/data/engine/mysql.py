"""The MySQL backend: MariaDB 10.6 and later, MySQL 8.0.17 and later, for one server or many."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, repeat
from time import monotonic
from typing import Any, ParamSpec, TypeVar

import gevent
from sqlalchemy import URL, Connection, Engine, ExceptionContext, Insert, Table, create_engine, event
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from greenchat.data.engine.database import CommitUnknown, Database, LockedOut
from greenchat.data.engine.health import explain
from greenchat.data.engine.install import set_up
from greenchat.data.engine.query import DIALECTS, run_text
from greenchat.data.engine.runner import Greenlets, Runner
from greenchat.data.engine.statements import Bulk, Pair, Statements, Update
from greenchat.data.engine.view import create_view
from greenchat.errors import Busy, ConfigError, DatabaseAway, StartupError

P = ParamSpec("P")
T = TypeVar("T")

_TIMEOUTS = ("connect_timeout", "read_timeout", "write_timeout")
_TLS = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher", "ssl_check_hostname")

OPTIONS = frozenset(("unix_socket", *_TIMEOUTS, *_TLS))
"""The parameters that a URL may have; any other one might be a password, and would be shown."""

OLDEST = {True: (10, 6), False: (8, 0, 17)}
"""The first version that will do, of MariaDB and of MySQL."""

RECYCLE = 60.0
"""Seconds after which a connection is replaced: a firewall may have forgotten one that is older."""

PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Seconds before the next tries of a transaction; from then on the last."""

SETUP_WAIT = 3
"""Seconds to wait for another server that sets the database up, before that is told as being away."""

ALTER_TRIES, ALTER_PAUSE = 100, 0.1
"""Tries to change a table that transactions use, and the seconds between."""

LOCK_WAIT = 1
"""Seconds that a statement waits for a row.  Our nodes hold one for a commit; a batch that waits longer
goes on without it (see ``LockedOut``).  MySQL knows no shorter wait than this, but for none at all."""

# A server that was stopped, or died with its machine, would hold its rows' locks for hours otherwise, and
# with them everybody else's messages to these conversations.  MySQL has no timeout for transactions
# alone; there the pool's idle connections end with the others, and are replaced when they are used.
_SESSION = (
    "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',"
    f" innodb_lock_wait_timeout = {LOCK_WAIT}"
    " /*M!100600 , idle_transaction_timeout = 3 */ /*!80017 , wait_timeout = 10 */"
)

_GONE = frozenset((1036, 1047, 1053, 1290, 1792, 1836, 1874, 3032, 3168, 3169))
"""Errors of a server that will not write for us any more, though it may still answer: it was made read-only
(a switch to another primary), is going offline or down, or its node of Galera has lost the others."""

_ROLLED_BACK = frozenset((1020, 1213, 3101))
"""Errors that say, in COMMIT too, that the transaction was rolled back: a deadlock, a conflict of nodes."""

_LOCK_TIMEOUT = 1205

_AGAIN = (
    _GONE
    | _ROLLED_BACK
    | {1040, 1203, _LOCK_TIMEOUT, 1226, 1317, 1637, 1969, 2002, 2003, 2006, 2013, 2055, 3024}
)
"""Errors after which a transaction that was not committed may do better: also too many connections (of all,
or of this user) or transactions, a statement that an operator or a time limit of the server ended, a server
that is away or has lost us."""

MOST_ROWS = 256
"""Rows of a statement: of the longest messages, 4 MiB and so a quarter of ``max_allowed_packet``."""

_LOCK = "SELECT GET_LOCK(SHA1(CONCAT('greenchat ', DATABASE())), %s)"
_UNLOCK = "SELECT RELEASE_LOCK(SHA1(CONCAT('greenchat ', DATABASE())))"

_VIEW = (create_view(create="CREATE OR REPLACE", integer="SIGNED", true="JSON_EXTRACT('true', '$')"),)


class _LargeBulk(Bulk):
    """A multi-row INSERT of any size: a round trip costs more than a statement's text."""

    sizes = (MOST_ROWS,)


class MysqlStatements(Statements):
    """The multi-row statements as MariaDB and MySQL spell them."""

    bulk = _LargeBulk

    # So each pair is looked up by a primary key.  Tuples behind IN are not: for 200 of groups and 200 of
    # users, MariaDB 10.11 takes the index of the second column and 9 to 17 ms; this takes 2 ms (measured).
    pairs = """
        JSON_TABLE(%s, '$[*]' COLUMNS (conversation BIGINT PATH '$[0]', sender BIGINT PATH '$[1]')) AS asked
    """

    def upsert(self, table: Table, column: str, update: Update) -> Insert:
        """Return an INSERT … ON DUPLICATE KEY UPDATE."""
        insert = mysql.insert(table)
        return insert.on_duplicate_key_update({column: update(table.c[column], insert.inserted[column])})

    def raise_heads_unless(
        self, db: Connection, counts: Mapping[int, int], condition: str, pairs: Iterable[Pair]
    ) -> Mapping[int, int] | None:
        """Read the heads and judge the pairs by one statement: a second takes 0.2 ms of the server's CPU."""
        self.add_counts.run(db, sorted(counts.items()))
        # One row, as the driver takes 5 µs for each.  Unlike JSON_ARRAYAGG, JSON_OBJECTAGG is not cut off
        # by MariaDB at group_concat_max_len.
        text = f"""
            SELECT IF(MAX({condition}), NULL, JSON_OBJECTAGG(id, last_seq))
            FROM {self.pairs} STRAIGHT_JOIN "Conversation" ON id = conversation
        """
        ((heads,),) = run_text(db, text, (json.dumps(list(pairs)),))
        return None if heads is None else {int(id): last for id, last in json.loads(heads).items()}

    def heads(self, db: Connection, conversations: Iterable[int]) -> dict[int, int]:
        """Read with the numbers in the text: as parameters they cost 8 % of the CPU of a batch."""
        ids = ", ".join(map(str, conversations)) or "NULL"
        rows = db.exec_driver_sql(f"SELECT id, last_seq FROM `Conversation` WHERE id IN ({ids})")
        return {row[0]: row[1] for row in rows}

    def locked(self, db: Connection, conversations: Iterable[int]) -> set[int]:
        """Ask which are there, then lock those that nobody has locked, without waiting for the others."""
        there = set(self.heads(db, conversations))
        ids = ", ".join(map(str, there)) or "NULL"
        free = f"SELECT id FROM `Conversation` WHERE id IN ({ids}) ORDER BY id FOR UPDATE SKIP LOCKED"
        return there - {row[0] for row in db.exec_driver_sql(free)}


class MysqlDatabase(Database):
    """A database of a MariaDB or MySQL server: ``mysql+pymysql://user:password@host:port/chat``.

    The committer has a connection of its own; whatever else reads or writes shares a pool.  Nothing
    takes much longer than the waits below together: then it fails, and the peer is told Busy.

    Args:
        url: where it is; ``OPTIONS`` may follow (timeouts in whole seconds, ``ssl_ca=/path/ca.pem``).
        pool_size: connections of the pool.
        pool_wait: seconds that a call may wait for one of them.
        answer_wait: seconds that a connection, and each statement, may take.
        patience: seconds from the start of a transaction in which it may be tried again.

    Raises:
        ConfigError: the URL names no database, or an unknown option.
    """

    statements: Statements = MysqlStatements(DIALECTS["mysql"])
    parallel = True
    exclusive = False

    def __init__(
        self,
        url: URL,
        *,
        pool_size: int = 16,
        pool_wait: float = 3.0,
        answer_wait: int = 5,
        patience: float = 5.0,
    ) -> None:
        self._where = f"{url.host or 'localhost'}:{url.port or 3306}/{url.database}"
        self._patience = patience
        self._usable = False
        self._was_gone = False
        self._age = 0  # connections of an earlier one are replaced
        options = _connect_options(url, answer_wait)
        try:
            self._committer = _engine(url, options, pool_size=1)
            self._pool = _engine(url, options, pool_size=pool_size, pool_timeout=pool_wait)
        except ValueError as error:
            raise ConfigError(f"store: {error}") from None
        for engine in (self._committer, self._pool):
            event.listen(engine, "handle_error", self._note)
            event.listen(engine, "checkout", self._check_out)

    def runner(self) -> Runner:
        """Return greenlets: PyMySQL lets them run where the program is monkey-patched."""
        return Greenlets()

    def open(self) -> bool:
        """Connect, and set an empty database up, or expand an older one, one server at a time."""
        self._usable = True
        try:
            with self.writing() as db:
                _check_version(db)
                if not db.exec_driver_sql(_LOCK, (SETUP_WAIT,)).scalar():
                    raise DatabaseAway(f"the database {self._where} is being set up by another server")
                is_older = set_up(db, _VIEW, _alter)
                db.exec_driver_sql(_UNLOCK)
            return is_older
        except StartupError:
            self.close()
            raise
        except (SQLAlchemyError, OSError) as error:
            self.close()
            kind = DatabaseAway if isinstance(error, CommitUnknown) or _passes(error) else StartupError
            raise kind(f"cannot open the database {self._where}: {explain(error)}") from None

    def close(self) -> None:
        """Disconnect."""
        self._usable = False
        self._disconnect()

    def writing(self) -> AbstractContextManager[Connection]:
        """Return a transaction of the committer's connection."""
        return self._transaction(self._committer)

    def operating(self) -> AbstractContextManager[Connection]:
        """Return a transaction of a connection of the pool."""
        return self._transaction(self._pool)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Return a transaction of a connection of the pool, each statement with a snapshot of its own.

        If the read is given up, the pool's other connections are replaced, too, each when it is used next.
        A firewall that forgot one has forgotten them all, and each would hold up one more read.  SQLAlchemy
        does this for errors, and not for a Timeout.
        """
        try:
            with self._connect(self._pool) as db:
                yield db
        except gevent.Timeout:
            self._distrust()
            raise

    def retrying(self, transaction: Callable[P, T]) -> Callable[P, T]:
        """Return a function that tries again after a deadlock or a lost connection, for ``patience`` seconds.

        That is safe, since a transaction that may have been committed ends in CommitUnknown instead.
        """

        def attempts(*args: P.args, **kwargs: P.kwargs) -> T:
            end = monotonic() + self._patience
            for pause in chain(PAUSES, repeat(PAUSES[-1])):
                try:
                    return transaction(*args, **kwargs)
                except (DBAPIError, LockedOut) as error:
                    if not _passes(error) or monotonic() + pause > end:
                        raise
                gevent.sleep(pause * random.uniform(0.5, 1))
            raise AssertionError

        return attempts

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        with self._connect(engine) as db:
            try:
                yield db
            except DBAPIError as error:
                if _code(error.orig) == _LOCK_TIMEOUT:
                    raise LockedOut(explain(error)) from None
                raise
            try:
                db.commit()
            except DBAPIError as error:
                if _code(error.orig) in _ROLLED_BACK:
                    raise
                raise CommitUnknown(f"in COMMIT: {explain(error)}") from None
        if self._was_gone:
            self._was_gone = False
            self._distrust()  # the connections to the former primary, which may have answered reads since

    def _note(self, context: ExceptionContext) -> None:
        """Throw away all connections to a server that is of no use any more: the name may lead to another."""
        if _code(context.original_exception) in _GONE:
            context.is_disconnect = True
            self._was_gone = True
            self._distrust()

    def _distrust(self) -> None:
        """Replace each connection when it is used next.

        It keeps its place in the pool.  One that was disposed of would make room for as many connections once
        more, beside those that are in use.
        """
        self._age += 1

    def _check_out(self, _connection: object, record: ConnectionPoolEntry, *_: object) -> None:
        """Refuse a connection that is to be replaced; SQLAlchemy then makes a new one in its place."""
        if record.info.setdefault("age", self._age) < self._age:
            raise DisconnectionError("the connection is not trusted any more")

    def _disconnect(self) -> None:
        """Close the connections that are not in use, and each of the others when it is given back."""
        self._committer.dispose()
        self._pool.dispose()

    def _connect(self, engine: Engine) -> Connection:
        """Take a connection; changes that its block leaves uncommitted are rolled back.

        SQLAlchemy throws it away after any exception in mid-query that is not MySQL's own (a killed
        greenlet, a Timeout): the answer would come to whoever asks next.
        """
        if not self._usable:
            raise Busy
        return engine.connect()


def _engine(url: URL, options: dict[str, Any], **pool: Any) -> Engine:
    return create_engine(
        url.set(password=None),
        connect_args=options,
        # The default, REPEATABLE READ, would show a transaction the seqs that it waited for, and not
        # the messages that came with them.
        isolation_level="READ COMMITTED",
        poolclass=QueuePool,
        max_overflow=0,
        pool_recycle=RECYCLE,
        pool_use_lifo=True,
        # The Connection rolls back an open transaction; the pool would do so again after a COMMIT.
        pool_reset_on_return=None,
        hide_parameters=True,
        **pool,
    )


def _connect_options(url: URL, answer_wait: int) -> dict[str, Any]:
    """Return the driver's options besides the URL."""
    unknown = sorted(set(url.query) - OPTIONS)
    if unknown:
        raise ConfigError(f"store: unknown option {unknown[0]}, not one of {', '.join(sorted(OPTIONS))}")
    for name in _TIMEOUTS:
        seconds = str(url.query.get(name, "1"))
        if not (seconds.isdecimal() and int(seconds)):
            raise ConfigError(f"store: {name}: a whole number of seconds is needed")
    if not url.database:
        raise ConfigError("store: the URL names no database, as in mysql+pymysql://user:password@host/chat")
    options: dict[str, Any] = {name: answer_wait for name in _TIMEOUTS if name not in url.query}
    # As bytes: the driver would encode it as Latin-1.
    return options | {
        "charset": "utf8mb4",
        "init_command": _SESSION,
        "password": (url.password or "").encode(),
    }


def _alter(db: Connection, table: str, change: str) -> None:
    """Change a table without copying it, between the transactions that use it.

    An ALTER that waits for one transaction has all later ones wait behind it: with one SELECT left open in a
    shell, every server would stand.  So it does not wait, and is tried again.

    Raises:
        DatabaseAway: a transaction has used the table all the time.
    """
    dialect = db.dialect
    assert isinstance(dialect, mysql.dialect)
    if not dialect.is_mariadb:  # MySQL has no NOWAIT here; this is the shortest wait it knows
        db.exec_driver_sql("SET SESSION lock_wait_timeout = 1")
    no_wait = "NOWAIT " if dialect.is_mariadb else ""
    for _ in range(ALTER_TRIES):
        try:
            db.exec_driver_sql(f"ALTER TABLE `{table}` {no_wait}{change}, ALGORITHM=INSTANT")
        except DBAPIError as error:
            if _code(error.orig) != _LOCK_TIMEOUT:
                raise
            gevent.sleep(ALTER_PAUSE)
        else:
            return
    raise DatabaseAway(f"the table {table} is used by a transaction that does not end")


def _check_version(db: Connection) -> None:
    dialect = db.dialect
    assert isinstance(dialect, mysql.dialect)
    found, oldest = dialect.server_version_info or (), OLDEST[dialect.is_mariadb]
    if found < oldest:
        name = "MariaDB" if dialect.is_mariadb else "MySQL"
        versions = [".".join(map(str, version)) for version in (found, oldest)]
        raise StartupError(f"{name} {versions[0]} is too old: {versions[1]} or later is needed")


def _passes(error: Exception) -> bool:
    """Return whether an error may go away by itself."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, LockedOut)
    return error.connection_invalidated or _code(error.orig) in _AGAIN


def _code(error: BaseException | None) -> object:
    """Return the number of an error of the driver; None if it has none."""
    return error.args[0] if error is not None and error.args else None

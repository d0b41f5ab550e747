"""A database of version 1, with data, becomes one of this version while servers of both use it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import gevent
import pytest

from greenchat.data import Inline, SqlStore, lease, open_store
from greenchat.data.engine import mysql
from greenchat.data.migrations import MIGRATIONS, m0003_recalled, upgrade
from greenchat.data.migrations.upgrade import QUIET, Terms
from greenchat.data.schema import VERSION
from greenchat.errors import DatabaseAway, StartupError
from greenchat.model.instants import shifted
from greenchat.model.records import NewHook, Span
from lab.servers.mariadb import MariaDb
from tests.data.shared import NOW, Told, pair, recall, text
from tests.servers import private

CHAT = pair(1, 2)
TEA = -1
LONG = pair(2, 3)
FOLDER = Path(__file__).with_name("version1")

OLD_COLUMNS = "(conversation, seq, sender, cid, kind, body, created)"

RECALL_OF_OLD = f"UPDATE Message SET body = '' WHERE conversation = {CHAT} AND seq = 1"
"""As a server of version 1 or 2 does it."""


def data() -> list[str]:
    """Statements that fill a database of version 1: two short conversations and one of 50 messages."""
    rows = [
        (CHAT, 1, 1, "text", "hello"),
        (CHAT, 2, 2, "text", ""),
        (CHAT, 3, 2, "recall", "2"),
        (TEA, 1, 1, "text", ""),
        (TEA, 2, 1, "recall", "1"),
        *((LONG, seq, 2, "text", "" if seq % 5 == 0 else f"text {seq}") for seq in range(1, 51)),
    ]
    values = ", ".join(
        f"({c}, {seq}, {s}, NULL, '{kind}', '{body}', '{NOW}')" for c, seq, s, kind, body in rows
    )
    return [
        f"INSERT INTO Message {OLD_COLUMNS} VALUES {values}",
        f"INSERT INTO Conversation (id, last_seq) VALUES ({CHAT}, 3), ({TEA}, 2), ({LONG}, 50)",
    ]


class Old:
    """A database of version 1.

    Attributes:
        url: for a store.
    """

    def __init__(self, url: str, server: MariaDb | None) -> None:
        self.url = url
        self._server = server
        self._path = url.removeprefix("sqlite:///")
        name = "sqlite.sql" if server is None else "mysql.sql"
        if server is None:
            with closing(sqlite3.connect(self._path)) as file:
                file.executescript((FOLDER / name).read_text())
        else:
            server.load(FOLDER / name, "chat_old")
        self.run(*data())

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements beside the servers, and return the rows of the last."""
        if self._server is not None:
            return self._server.run(*statements, database="chat_old")
        with closing(sqlite3.connect(self._path, isolation_level=None)) as file:
            return [file.execute(statement).fetchall() for statement in statements][-1]

    def version(self) -> int:
        return int(self.run("SELECT value FROM Setting WHERE name = 'schema_version'")[0][0])

    def state(self) -> upgrade.State | None:
        found = self.run("SELECT value FROM Setting WHERE name = 'upgrade'")
        return upgrade.State(*found[0][0].split("|")) if found else None

    def unmarked(self) -> int:
        """Count the recalled messages that are not marked."""
        return int(self.run("SELECT COUNT(*) FROM Message WHERE body = '' AND recalled = 0")[0][0])

    def marked(self) -> list[tuple[int, int]]:
        return self.run("SELECT conversation, seq FROM Message WHERE recalled = 1 ORDER BY conversation, seq")


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDb]:
    with private(MariaDb, "--skip-ssl", "--innodb-flush-method=nosync") as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Old:
    if request.param == "sqlite":
        return Old(f"sqlite:///{tmp_path / 'chat.db'}", None)
    server: MariaDb = request.getfixturevalue("mariadb")
    return Old(server.fresh("chat_old"), server)


@pytest.fixture
def old_mariadb(mariadb: MariaDb) -> Old:
    return Old(mariadb.fresh("chat_old"), mariadb)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m0003_recalled, "ROWS", 20)


def started(old: Old, **options: Any) -> SqlStore:
    """Return a store that does nothing by itself."""
    store = open_store(old.url, runner=Inline(), **options)
    store.start()
    return store


def step(store: SqlStore, now: str, grace: float = 0.0) -> float | None:
    terms = Terms(grace, store.database.exclusive)
    return store.write(upgrade.step, terms, now)


def finish(store: SqlStore, now: str) -> int:
    """Do all steps, each at the same instant; return their number."""
    for number in range(1, 100):
        if step(store, now) is None:
            return number
    raise AssertionError("no end")


def later(old: Old, seconds: int) -> str:
    """Return an instant so many seconds after the last at which an older server may have run."""
    state = old.state()
    assert state is not None
    return shifted(state.since, seconds)


def append(store: SqlStore, *messages: Any) -> list[Any]:
    told = [Told() for _ in messages]
    for message, delivery in zip(messages, told, strict=True):
        store.append(message, delivery)
    store.commit_waiting()
    return [delivery.outcomes[0] for delivery in told]


def recalled(store: SqlStore, conversation: int) -> list[int]:
    found = store.entries([Span(conversation, 0, store.head(conversation))])
    return [entry.seq for entry in found if entry.recalled]


def test_the_migrations_are_numbered_up_to_this_version() -> None:
    assert [migration.number for migration in MIGRATIONS] == list(range(2, VERSION + 1))


def test_an_older_database_is_expanded_and_of_its_old_version_still(old: Old) -> None:
    store = started(old)
    assert old.version() == 1
    assert recalled(store, CHAT) == [2]
    assert recalled(store, LONG) == list(range(5, 51, 5))
    hook = store.add_hook(NewHook("a" * 64, store.create_user("eve", "h", NOW)), NOW)
    assert store.hooks() == [hook]
    assert not store.upgrade.is_over
    store.close()


def test_what_servers_of_both_versions_write_is_read_by_this_one(old: Old) -> None:
    store = started(old)
    old.run(
        f"INSERT INTO Message {OLD_COLUMNS} VALUES ({CHAT}, 4, 2, NULL, 'text', 'old', '{NOW}')",
        f"UPDATE Conversation SET last_seq = 4 WHERE id = {CHAT}",
        RECALL_OF_OLD,
    )
    assert append(store, text(CHAT, 1, "new")) == [(5, NOW, False)]
    assert append(store, recall(CHAT, 1, 5)) == [(6, NOW, False)]
    assert recalled(store, CHAT) == [1, 2, 5]
    assert old.marked() == [(CHAT, 5)]
    # What an old server recalled cannot be recalled again.
    (again,) = append(store, recall(CHAT, 1, 1))
    assert again.errno == 15
    # What this one recalled looks to an old server as if that had done it.
    assert old.run(f"SELECT body FROM Message WHERE conversation = {CHAT} AND seq = 5") == [("",)]
    store.close()


def test_the_upgrade_marks_all_and_then_raises_the_version(old: Old) -> None:
    store = started(old)
    blank = old.run("SELECT conversation, seq FROM Message WHERE body = '' ORDER BY conversation, seq")
    steps = finish(store, later(old, QUIET))
    assert old.version() == VERSION
    assert old.marked() == blank
    assert len(blank) == 12
    assert old.state() is None
    assert steps > 4  # the long conversation alone takes three batches
    assert step(store, later_of(NOW)) is None
    store.close()


def test_a_state_that_was_left_behind_the_contract_is_dropped(old: Old) -> None:
    """A server that starts in the moment of another's contract may leave one."""
    store = started(old)
    finish(store, later(old, QUIET))
    old.run(f"INSERT INTO Setting VALUES ('upgrade', '{later_of(NOW)}|{NOW}|{upgrade.DONE}|')")
    assert step(store, later_of(later_of(NOW))) is None
    assert old.state() is None
    store.close()


def later_of(instant: str) -> str:
    return shifted(instant, 10 * 365 * 86_400)


def test_a_move_goes_on_where_a_stopped_server_left_it(old: Old) -> None:
    store = started(old)
    assert step(store, later(old, 0)) == upgrade.PAUSE  # version 2 has nothing to move
    for _ in range(2):
        step(store, later(old, 0))
    before = old.state()
    assert before is not None
    store.close()
    store = started(old)
    after = old.state()
    assert after is not None
    assert (after.number, after.position, after.begun) == (before.number, before.position, before.begun)
    assert before.position
    assert after.since >= before.since
    finish(store, later(old, QUIET + 1))
    assert old.unmarked() == 0
    store.close()


def test_what_an_old_server_recalled_behind_the_position_is_found_by_the_next_pass(old: Old) -> None:
    store = started(old)
    while (state := old.state()) and int(state.number) != upgrade.DONE:
        step(store, later(old, 0))
    assert old.unmarked() == 0
    old.run(RECALL_OF_OLD)  # by an old server, whose sign moves the instant on
    store.write(upgrade.note_older_server, later(old, 30))
    assert step(store, later(old, 1)) == (upgrade.PAUSE if store.database.exclusive else upgrade.LOOK)
    assert old.version() == 1
    finish(store, later(old, QUIET))
    assert old.unmarked() == 0
    assert (CHAT, 1) in old.marked()
    store.close()


def test_an_old_server_can_come_back_for_the_grace(old: Old) -> None:
    store = started(old)
    while (state := old.state()) and int(state.number) != upgrade.DONE:
        step(store, later(old, 0), grace=600)
    assert step(store, later(old, 599), grace=600) == upgrade.LOOK
    assert old.version() == 1
    assert step(store, later(old, 600), grace=600) is None
    assert old.version() == VERSION
    store.close()


def test_an_upgrade_runs_by_itself(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"QUIET": 0, "LOOK": 0.01, "PAUSE": 0.001}.items():
        monkeypatch.setattr(upgrade, name, seconds)
    store = open_store(old.url, upgrade_grace=0.0)
    store.start()
    assert not store.upgrade.is_over
    with gevent.Timeout(30):
        while not store.upgrade.is_over:
            gevent.sleep(0.01)
    assert old.version() == VERSION
    assert old.unmarked() == 0
    store.close()


def test_a_new_database_has_nothing_to_upgrade(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'new.db'}", runner=Inline())
    store.start()
    assert store.upgrade.is_over
    assert store.setting("schema_version", "") == str(VERSION)
    assert store.setting("upgrade", "none") == "none"
    store.close()


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (str(VERSION + 1), f"has schema version {VERSION + 1}, this program knows {VERSION}: run a newer"),
        ("0", f"has schema version 0, this program reads 1 to {VERSION}: run an older greenchat first"),
        ("x", "no readable schema version"),
    ],
)
def test_a_version_that_cannot_be_read_is_refused_with_one_line(
    tmp_path: Path, version: str, words: str
) -> None:
    old = Old(f"sqlite:///{tmp_path / 'chat.db'}", None)
    old.run(f"UPDATE Setting SET value = '{version}' WHERE name = 'schema_version'")
    with pytest.raises(StartupError) as refused:
        started(old)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_expanded_tables_are_those_of_a_new_database(old: Old, mariadb: MariaDb, tmp_path: Path) -> None:
    started(old).close()
    if old.url.startswith("sqlite"):
        new = f"sqlite:///{tmp_path / 'new.db'}"
    else:
        new = mariadb.fresh("chat_new")
    store = open_store(new, runner=Inline())
    store.start()
    store.close()
    assert columns(old.url, mariadb) == columns(new, mariadb)


def columns(url: str, mariadb: MariaDb) -> Any:
    """Return name, type, default and key of the columns of each table, in no order, and the views."""
    if not url.startswith("sqlite"):
        name = url.rpartition("/")[2]
        return sorted(
            mariadb.run(
                "SELECT table_name, column_name, column_type, column_default, is_nullable, column_key,"
                f" collation_name FROM information_schema.columns WHERE table_schema = '{name}'"
            )
        )
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
        tables = [row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        views = file.execute("SELECT sql FROM sqlite_master WHERE type = 'view'").fetchall()
        found = {
            table: sorted(row[1:] for row in file.execute(f"PRAGMA table_info('{table}')"))
            for table in tables
        }
    return found, views


# -- Servers that share a database


def test_an_older_node_that_lives_is_noticed(old_mariadb: Old) -> None:
    store = started(old_mariadb)
    store.write(lease.take, None, "cluster 1a2b3c4d")
    before = later(old_mariadb, 0)
    assert store.write(lease.renew, "cluster", f"cluster {VERSION} 5e6f7a8b")
    noticed = later(old_mariadb, 0)
    assert noticed > before
    assert store.write(lease.renew, "cluster", f"cluster {VERSION} 12345678")  # only this version now
    assert later(old_mariadb, 0) == noticed
    # An old node renews what a new one wrote: it looks at the first word.
    (value,) = old_mariadb.run("SELECT value FROM Setting WHERE name = 'server'")[0]
    assert value.startswith("cluster ")
    store.close()


def test_a_server_ends_when_the_database_becomes_newer_than_it(old_mariadb: Old) -> None:
    store = started(old_mariadb)
    store.write(lease.take, None, f"cluster {VERSION} 5e6f7a8b")
    old_mariadb.run(f"UPDATE Setting SET value = '{VERSION + 1}' WHERE name = 'schema_version'")
    with pytest.raises(StartupError, match="run a newer greenchat"):
        store.write(lease.renew, "cluster", f"cluster {VERSION} 00000000")
    store.close()


def test_an_open_transaction_delays_the_start_and_nobody_else(
    old_mariadb: Old, mariadb: MariaDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql, "ALTER_TRIES", 5)
    reader = mariadb.connect("chat_old")
    cursor = reader.cursor()
    cursor.execute("START TRANSACTION")
    cursor.execute("SELECT COUNT(*) FROM Message")
    refused: list[StartupError] = []

    def start() -> None:
        try:
            started(old_mariadb)
        except StartupError as error:
            refused.append(error)

    starting = Thread(target=start)
    starting.start()
    seq = 4
    while starting.is_alive():  # an old server goes on to write
        insert = f"INSERT INTO Message {OLD_COLUMNS} VALUES ({CHAT}, {seq}, 2, NULL, 'text', 'old', '{NOW}')"
        old_mariadb.run("SET SESSION lock_wait_timeout = 1", insert)
        seq += 1
    assert isinstance(refused[0], DatabaseAway)
    assert str(refused[0]) == "the table Message is used by a transaction that does not end"
    assert seq > 4
    reader.close()
    started(old_mariadb).close()
    assert old_mariadb.unmarked() == 12

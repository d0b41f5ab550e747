"""What is special about SQLite: the file, its rights, its lock, a full disk, a sudden death."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy import text as sql

from greenchat.data import SqlStore, open_store
from greenchat.data.engine import sqlite
from greenchat.data.queries.login import STATE
from greenchat.errors import Busy, ConfigError, StartupError
from greenchat.model.records import Node
from lab import ROOT
from tests.data.shared import NOW, append, pair, recall, text

HERE = Node("here", 1)


@contextmanager
def running(path: Path, **options: Any) -> Iterator[SqlStore]:
    store = open_store(f"sqlite:///{path}", **options)
    store.start()
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.db"


def refusal(path: Path | str) -> str:
    """Return the one clear line with which a start is refused."""
    with pytest.raises(StartupError) as refused:
        open_store(f"sqlite:///{path}").start()
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_the_files_are_readable_by_their_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with running(path) as store:
            store.create_user("ann", "hash", NOW)
            rights = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert {"chat.db", "chat.db-wal", "chat.db-shm"} <= set(rights)
    assert set(rights.values()) == {0o600}


def test_a_second_server_on_the_same_file_is_refused(path: Path) -> None:
    with running(path):
        assert "in use by another server" in refusal(path)
    with running(path):
        pass


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_no_other_name_of_the_file_leads_around_the_lock(
    path: Path, link: Callable[[Path, Path], None]
) -> None:
    program = f"from greenchat.data import open_store; open_store('sqlite:///{path}.other').start()"
    start = [sys.executable, "-c", program]
    with running(path):
        for leftover in path.parent.glob("*.lock"):
            leftover.unlink()
        other = Path(f"{path}.other")
        link(other, path)
        assert "in use by another server" in refusal(other)
        second = subprocess.run(start, check=False, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        assert "in use by another server" in second.stderr
    subprocess.run(start, check=True, cwd=ROOT)


def test_a_server_that_was_refused_leaves_the_first_one_alone(path: Path) -> None:
    with running(path) as store:
        refusal(path)
        assert store.create_user("ann", "hash", NOW) == 1
        refusal(path)


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    assert "there is no directory" in refusal(tmp_path / "none" / "chat.db")


def test_a_directory_that_cannot_be_written_is_told() -> None:
    assert "cannot write the database" in refusal("/proc/chat.db")


def test_a_directory_in_place_of_the_file_is_told(path: Path) -> None:
    path.mkdir()
    assert "cannot write the database" in refusal(path)


def test_a_file_that_is_no_database_is_told_and_left_alone(path: Path) -> None:
    path.write_bytes(b"a letter to my aunt " * 100)
    assert "not a database" in refusal(path)
    assert path.read_bytes() == b"a letter to my aunt " * 100


def test_a_database_of_something_else_is_told(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipe (name)")
    assert "something else" in refusal(path)


def test_a_file_that_another_program_has_locked_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenchat.data.engine.sqlite.LOCK_WAIT", 0.05)
    with running(path):
        pass
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert "locked" in refusal(path)
    other.close()


def test_a_newer_schema_is_refused(path: Path) -> None:
    with running(path):
        pass
    with sqlite3.connect(path) as other:
        other.execute("UPDATE Setting SET value = 99 WHERE name = 'schema_version'")
    assert "run a newer greenchat" in refusal(path)


@pytest.mark.parametrize("url", ["oracle://ann:s3cret@db/chat", "ann:s3cret@db", "sqlite:chat.db", ""])
def test_an_unknown_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_store(url)
    assert "sqlite://" in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_commits_reach_the_disk(path: Path) -> None:
    with running(path) as store:
        pragmas = store.write(
            lambda db: [
                db.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
            ]
        )
    assert pragmas == ["wal", 2]


DOOMED = """
import sys
from greenchat.data import open_store
from greenchat.model.records import NewEntry

ALONE = 1 << 32 | 1

class Print:
    def stored(self, seq, time, repeated):
        print(seq, flush=True)
    def failed(self, error):
        pass  # the disk is slow, the queue is full

store = open_store("sqlite:///" + sys.argv[1])
store.start()
store.create_user("ann", "hash", "2026")
while True:
    for _ in range(20):
        store.append(NewEntry(ALONE, 1, None, "text", "hi", "2026"), Print())
    store.head(ALONE)
"""


def test_all_that_was_acknowledged_survives_a_kill(path: Path) -> None:
    doomed = subprocess.Popen(
        [sys.executable, "-c", DOOMED, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert doomed.stdout
    acknowledged = [int(doomed.stdout.readline()) for _ in range(500)]
    doomed.send_signal(signal.SIGKILL)
    rest = doomed.stdout.read().rpartition("\n")[0]  # what follows was cut by the kill
    acknowledged += [int(line) for line in rest.split()]
    doomed.wait(10)
    doomed.stdout.close()
    with running(path) as store:
        stored = store.read(lambda db: list(db.scalars(sql('SELECT seq FROM "Message" ORDER BY seq'))))
        assert stored == list(range(1, store.head(pair(1, 1)) + 1))
    assert acknowledged == list(range(1, len(acknowledged) + 1))
    assert len(stored) >= len(acknowledged) >= 500


def test_a_full_disk_is_busy_until_there_is_room_again(path: Path) -> None:
    with running(path) as store:
        ann = store.create_user("ann", "hash", NOW)
        body = "x" * 4000

        def pages(limit: int) -> None:
            store.write(lambda db: db.exec_driver_sql(f"PRAGMA max_page_count = {limit}").scalar())

        assert append(store, text(pair(ann, ann), ann, body, "c0")) == [(1, NOW, False)]
        pages(store.read(lambda db: db.exec_driver_sql("PRAGMA page_count").scalar_one()) + 5)
        told = append(store, *[text(pair(ann, ann), ann, body, f"c{n}") for n in range(1, 50)])
        assert {type(outcome) for outcome in told} == {Busy}
        assert store.head(pair(ann, ann)) == 1
        pages(1 << 30)
        told = append(store, *[text(pair(ann, ann), ann, body, f"c{n}") for n in range(50)])
        assert told == [(1, NOW, True), *[(n, NOW, False) for n in range(2, 51)]]


def test_a_failed_commit_leaves_no_transaction_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_a_promise(db: Connection) -> None:
        # Looked at when it is committed, and then the transaction stays open.
        db.execute(
            sql(
                "CREATE TABLE promise (id INTEGER PRIMARY KEY,"
                " other INTEGER REFERENCES promise DEFERRABLE INITIALLY DEFERRED)"
            )
        )
        db.execute(sql("INSERT INTO promise VALUES (1, 2)"))

    monkeypatch.setattr(sqlite, "PRAGMAS", (*sqlite.PRAGMAS, "PRAGMA foreign_keys = ON"))
    with running(path) as store:
        driver: Any = store.write(lambda db: db.connection.driver_connection)
        with pytest.raises(Busy):
            store.write(break_a_promise)
        assert not driver.in_transaction
        assert store.create_user("ann", "hash", NOW) == 1


def test_a_transaction_that_was_left_open_fails_the_next_one_only(path: Path) -> None:
    with running(path) as store:
        writing = store.database.writing()
        with writing as db:
            driver = db.connection.driver_connection
        assert driver is not None
        driver.execute("BEGIN IMMEDIATE")  # as after a ROLLBACK that failed
        with pytest.raises(Busy):
            store.create_user("ann", "hash", NOW)
        store.create_user("ann", "hash", NOW)


def test_a_file_without_a_write_ahead_log_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that does not share memory between processes."""
    monkeypatch.setattr(sqlite, "PRAGMAS", ("PRAGMA journal_mode = DELETE",))
    with pytest.raises(StartupError, match="no write-ahead log"), running(path):
        pass


FILE_LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from gevent.event import Event
from greenchat.data import open_store
from greenchat.model.records import NewEntry

ALONE = 1 << 32 | 1

class Told:
    def __init__(self):
        self.event = Event()
    def stored(self, seq, time, repeated):
        self.outcome = seq
        self.event.set()
    def failed(self, error):
        self.outcome = error.error
        self.event.set()

def send():
    told = Told()
    store.append(NewEntry(ALONE, 1, None, "text", "x" * 4000, "2026"), told)
    assert told.event.wait(10)
    return told.outcome

store = open_store("sqlite:///" + sys.argv[1])
store.start()
store.create_user("ann", "hash", "2026")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
outcomes = [send()]
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
while outcomes[-1] != "busy":
    outcomes.append(send())
outcomes.append(send())
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
outcomes += [send(), store.head(ALONE)]
store.close()
print(outcomes)
"""


def test_a_file_that_may_not_grow_is_busy_until_it_may_again(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILE_LIMITED, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    *stored, busy, still_busy, again, head = json.loads(done.stdout.replace("'", '"'))
    assert stored == list(range(1, len(stored) + 1))
    assert (busy, still_busy) == ("busy", "busy")
    assert again == head == len(stored) + 1


def test_the_view_shows_what_is_undelivered_as_it_would_be_delivered(path: Path) -> None:
    with running(path) as store:
        ann, bob, cem = (store.create_user(name, "hash", NOW) for name in ("ann", 'b"ob', "cem"))
        group = store.create_group(ann, "tea", "", NOW)
        chat = pair(ann, bob)
        append(store, text(-group, ann, "early"))
        store.join_group(bob, group, NOW)
        append(
            store,
            text(chat, ann, "one"),
            text(chat, ann, 'two "🦀"\n'),
            text(chat, bob, "my own"),
            text(chat, ann, "oh no", "c1"),
            text(-group, ann, "tea?"),
            text(-group, ann, "or not", "c2"),
            text(pair(bob, bob), bob, "to myself"),
            text(pair(ann, cem), cem, "not for bob"),
        )
        append(store, recall(chat, ann, 4), recall(-group, ann, 3))
        for device in "ab":
            store.open_device(bob, device, HERE, NOW)
        store.move_cursor(bob, "b", chat, 1, 0, 0)
        store.write_marks()
        rows = store.read(
            lambda db: list(
                db.execute(sql(f'SELECT message FROM "OfflineMessage" WHERE userid = {bob}')).scalars()
            )
        )
        who = {"id": ann, "name": "ann"}
        assert [json.loads(row) for row in rows] == [
            {"msgid": 10, **who, "groupid": group, "msg": "tea?", "seq": 2, "time": NOW},
            {
                "msgid": 10,
                "id": ann,
                "name": "ann",
                "groupid": group,
                "seq": 3,
                "time": NOW,
                "recalled": True,
            },
            {"msgid": 17, "id": ann, "target": 3, "seq": 4, "time": NOW, "groupid": group},
            {"msgid": 6, **who, "toid": bob, "msg": 'two "🦀"\n', "seq": 2, "time": NOW},
            {"msgid": 6, **who, "toid": bob, "seq": 4, "time": NOW, "recalled": True},
            {"msgid": 17, "id": ann, "target": 4, "seq": 5, "time": NOW, "peerid": ann},
        ]


def test_the_state_of_a_login_is_found_by_indexes(path: Path) -> None:
    statement = sql(f"EXPLAIN QUERY PLAN {STATE}")
    given = dict.fromkeys(statement.compile().params, 1)
    with running(path) as store:
        plan = store.read(lambda db: [row.detail for row in db.execute(statement, given)])
    assert plan
    assert not [step for step in plan if step.startswith("SCAN")]

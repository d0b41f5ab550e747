"""Group commit: what waits together is committed together, and fails together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import AsyncResult
from sqlalchemy import Connection, make_url
from sqlalchemy import text as sql
from sqlalchemy.exc import OperationalError

from greenchat.data import Inline, SqlStore, Threads, commit
from greenchat.data.commit import GroupCommit, InDoubt, Operation
from greenchat.data.engine.runner import Runner
from greenchat.data.engine.sqlite import SqliteDatabase
from greenchat.data.queries import accounts
from greenchat.data.queries.append import Stored
from greenchat.data.queries.marks import Marks
from greenchat.errors import Busy, NameTaken, RequestError
from greenchat.model.records import NewEntry, Node
from tests.data.shared import NOW, Told, pair, text

CHAT = pair(1, 2)
HERE = Node("here", 1)


class Faulty(SqliteDatabase):
    """A database in memory that counts its transactions, and is away when told."""

    def __init__(self) -> None:
        super().__init__(make_url("sqlite://"))
        self.transactions = 0
        self.away: BaseException | None = None
        self.away_at_commit = False

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self.transactions += 1
        if self.away and not self.away_at_commit:
            raise self.away
        with super().writing() as db:
            yield db
            if self.away:
                raise self.away

    def fail(self, *, at_commit: bool = False, error: BaseException | None = None) -> None:
        self.away = error or OperationalError("COMMIT", {}, Exception("disk I/O error"))
        self.away_at_commit = at_commit


@pytest.fixture
def database() -> Faulty:
    return Faulty()


def opened(database: Faulty, runner: Runner, **options: Any) -> SqlStore:
    store = SqlStore(database, runner, **options)
    store.start()
    for name in ("ann", "bob"):
        store.create_user(name, "hash", NOW)
    database.transactions = 0
    return store


@pytest.fixture
def store(database: Faulty) -> Iterator[SqlStore]:
    """A store in place: only what the test asks for happens."""
    store = opened(database, Inline(), max_batch=4, max_queue=12)
    yield store
    database.away = None
    store.close()


@pytest.fixture
def threaded(database: Faulty) -> Iterator[SqlStore]:
    store = opened(database, Threads(apart=False))
    yield store
    database.away = None
    store.close()


def send(store: SqlStore, count: int, journal: list[object] | None = None) -> list[Told]:
    told = [Told(journal) for _ in range(count)]
    for n, delivery in enumerate(told):
        store.append(text(CHAT, 1, f"m{n}"), delivery)
    return told


def test_nothing_is_told_before_the_commit(store: SqlStore) -> None:
    told = send(store, 3)
    assert not any(delivery.outcomes for delivery in told)
    store.commit_waiting()
    assert [delivery.outcomes for delivery in told] == [[(n, NOW, False)] for n in (1, 2, 3)]


def test_what_waits_together_is_committed_together(store: SqlStore, database: Faulty) -> None:
    send(store, 4)
    store.commit_waiting()
    assert database.transactions == 1


def test_a_transaction_takes_no_more_than_a_batch(store: SqlStore, database: Faulty) -> None:
    journal: list[object] = []
    told = send(store, 9, journal)
    store.commit_waiting()
    assert database.transactions == 3
    assert journal == told


def test_while_one_batch_is_committed_the_next_one_gathers(threaded: SqlStore, database: Faulty) -> None:
    told = send(threaded, 1)
    with gevent.Timeout(60):
        while not database.transactions:
            gevent.sleep(0)
    told += send(threaded, 700)
    assert [delivery.wait()[0] for delivery in told] == list(range(1, 702))
    assert database.transactions == 2


def test_the_loop_turns_while_a_large_batch_is_told_of(threaded: SqlStore) -> None:
    turned_at: list[int] = []
    told: list[object] = []

    class Turning(Told):
        def stored(self, seq: int, time: str, repeated: bool) -> None:
            if seq == 1:
                gevent.spawn(lambda: turned_at.append(len(told)))
            super().stored(seq, time, repeated)

    first, last = Turning(told), Told(told)
    threaded.append(text(CHAT, 1, "first"), first)
    send(threaded, 998, told)
    threaded.append(text(CHAT, 1, "last"), last)
    assert last.wait() == (1000, NOW, False)
    assert turned_at
    assert turned_at[0] < 1000


def test_seqs_are_right_past_the_bound_of_heads_that_are_remembered(
    store: SqlStore, database: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greenchat.data.engine.sqlite.KNOWN_HEADS", 3)
    for n in range(20):
        sometimes, always = Told(), Told()
        store.append(text(pair(1, 3 + n % 10), 1, "hi"), sometimes)
        store.append(text(CHAT, 1, "hi"), always)
        store.commit_waiting()
        assert sometimes.outcomes == [(n // 10 + 1, NOW, False)]
        assert always.outcomes == [(n + 1, NOW, False)]
        assert len(database.statements.known_heads) <= 5
    assert database.transactions == 20  # a wrong seq would clash, and be put right by a second try


def test_operations_of_many_greenlets_share_a_transaction(threaded: SqlStore, database: Faulty) -> None:
    logins = [gevent.spawn(threaded.open_device, 1, f"d{n}", HERE, NOW) for n in range(8)]
    gevent.joinall(logins, timeout=60, raise_error=True)
    assert all(login.ready() for login in logins)
    assert database.transactions <= 2


def test_an_operation_sees_what_was_appended_before(store: SqlStore, database: Faulty) -> None:
    told = send(store, 6)
    assert [span.upto for span in store.open_device(2, "", HERE, NOW).backlog] == [6]
    assert all(delivery.outcomes for delivery in told)


def test_a_bad_operation_harms_nobody_else(threaded: SqlStore, database: Faulty) -> None:
    def half_done(db: Connection) -> None:
        db.execute(sql("INSERT INTO \"Setting\" VALUES ('half', 'done')"))
        raise ZeroDivisionError

    def no_table(db: Connection) -> None:
        db.execute(sql("SELECT * FROM nowhere"))

    told = send(threaded, 2)
    bug = gevent.spawn(threaded.write, half_done)
    trouble = gevent.spawn(threaded.write, no_table)
    taken = gevent.spawn(threaded.create_user, "ann", "h", NOW)
    good = gevent.spawn(threaded.create_user, "cem", "h", NOW)
    assert [delivery.wait() for delivery in told] == [(1, NOW, False), (2, NOW, False)]
    gevent.joinall([bug, trouble, taken, good], timeout=60)
    assert isinstance(bug.exception, ZeroDivisionError)
    assert isinstance(trouble.exception, Busy)
    assert isinstance(taken.exception, NameTaken)
    assert good.value == 3
    assert threaded.setting("half", "undone") == "undone"


def test_a_multi_row_statement_that_fails_undoes_its_own_operation(threaded: SqlStore) -> None:
    runs: list[str] = []

    def add(db: Connection, name: str) -> int:
        runs.append(name)
        return accounts.create_user(db, name, "h", NOW)

    def fail(db: Connection) -> None:
        runs.append("bad")
        db.execute(sql('DROP TABLE "Cursor"'))
        threaded.database.statements.raise_cursors.run(db, [(1, "", CHAT, 1), (2, "", CHAT, 1)])

    told = send(threaded, 2)
    before = gevent.spawn(threaded.write, add, "cem")
    bad = gevent.spawn(threaded.write, fail)
    behind = gevent.spawn(threaded.write, add, "dee")
    assert [delivery.wait() for delivery in told] == [(1, NOW, False), (2, NOW, False)]
    gevent.joinall([before, bad, behind], timeout=60)
    assert runs == ["cem", "bad", "cem", "bad", "dee"]
    assert isinstance(bad.exception, Busy)
    assert (before.value, behind.value) == (3, 4)
    assert [delivery.wait() for delivery in send(threaded, 2)] == [(3, NOW, False), (4, NOW, False)]
    assert [span.upto for span in threaded.open_device(2, "", HERE, NOW).backlog] == [4]


def test_a_multi_row_statement_that_breaks_a_constraint_undoes_its_transaction(threaded: SqlStore) -> None:
    """It ends the transaction in SQLite, so all that were in it may try again."""
    told = send(threaded, 2)
    assert [delivery.wait() for delivery in told] == [(1, NOW, False), (2, NOW, False)]
    told = send(threaded, 2)
    good = gevent.spawn(threaded.create_user, "cem", "h", NOW)
    bad = gevent.spawn(
        threaded.write, lambda db: threaded.database.statements.raise_cursors.run(db, [(1, "", CHAT, None)])
    )
    assert all(isinstance(delivery.wait(), Busy) for delivery in told)
    gevent.joinall([good, bad], timeout=60)
    assert isinstance(good.exception, Busy)
    assert isinstance(bad.exception, Busy)
    assert threaded.head(CHAT) == 2
    assert threaded.account(name="cem") is None
    assert [delivery.wait() for delivery in send(threaded, 2)] == [(3, NOW, False), (4, NOW, False)]


@pytest.mark.parametrize("at_commit", [False, True])
def test_a_failed_transaction_fails_all_that_wait_and_the_next_one_is_tried(
    store: SqlStore, database: Faulty, at_commit: bool
) -> None:
    database.fail(at_commit=at_commit)
    journal: list[object] = []
    told = send(store, 9, journal)
    store.commit_waiting()
    assert database.transactions == 1
    assert journal == told
    assert all(isinstance(delivery.outcomes[0], Busy) for delivery in told)
    with pytest.raises(Busy):
        store.create_user("cem", "h", NOW)
    database.away = None
    again = send(store, 2)
    store.commit_waiting()
    assert [delivery.outcomes for delivery in again] == [[(1, NOW, False)], [(2, NOW, False)]]
    assert store.create_user("cem", "h", NOW) == 3


def test_who_tries_again_at_once_does_not_keep_the_database_from_being_tried(
    threaded: SqlStore, database: Faulty
) -> None:
    database.fail()
    for tries in range(1, 4):
        assert isinstance(send(threaded, 1)[0].wait(), Busy)
        assert database.transactions == tries
    database.away = None
    assert send(threaded, 1)[0].wait() == (1, NOW, False)


def test_a_failing_database_is_logged_once_and_its_recovery_once(
    store: SqlStore, database: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "greenchat"):
        for away in (True, True, True, False, False, True):
            database.away = None
            if away:
                database.fail()
            send(store, 2)
            store.commit_waiting()
    assert [record.getMessage() for record in caplog.records] == [
        "writing to the database fails: disk I/O error",
        "writing to the database works again",
        "writing to the database fails: disk I/O error",
    ]


def test_a_bug_in_the_transaction_is_logged_and_the_committer_goes_on(
    threaded: SqlStore, database: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    database.fail(error=ZeroDivisionError("bug"))
    told = send(threaded, 1)[0]
    assert isinstance(told.wait(), Busy)
    assert "ZeroDivisionError" in caplog.text
    database.away = None
    assert send(threaded, 1)[0].wait() == (1, NOW, False)


def test_a_bug_in_a_delivery_harms_no_other(threaded: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Told):
        def stored(self, seq: int, time: str, repeated: bool) -> None:
            raise ZeroDivisionError

    threaded.append(text(CHAT, 1, "one"), Broken())
    assert send(threaded, 1)[0].wait() == (2, NOW, False)
    assert "ZeroDivisionError" in caplog.text


def test_a_full_queue_refuses_and_says_so_in_time(store: SqlStore) -> None:
    told = [Told() for _ in range(12)]
    half_full = [store.append(text(CHAT, 1, f"{place}"), delivery) for place, delivery in enumerate(told)]
    assert half_full == [False] * 7 + [True] * 5
    assert not any(delivery.outcomes for delivery in told)
    assert store.queued == 12
    refused = Told()
    assert not store.append(text(CHAT, 1, "too many"), refused)
    assert isinstance(refused.outcomes[0], Busy)
    with pytest.raises(Busy):
        store.add_friend(1, 2, NOW)
    store.commit_waiting()
    assert store.queued == 0
    assert [delivery.outcomes[0][0] for delivery in told] == list(range(1, 13))


def test_what_waits_is_committed_at_the_end_and_nothing_is_taken_after(threaded: SqlStore) -> None:
    told = send(threaded, 5)
    threaded.close()
    assert [delivery.outcomes for delivery in told] == [[(n, NOW, False)] for n in range(1, 6)]
    late = send(threaded, 1)[0]
    assert isinstance(late.outcomes[0], Busy)


def test_what_is_in_doubt_when_all_ends_is_refused_like_what_waits_behind_it() -> None:
    def transact(messages: Sequence[NewEntry], operations: Sequence[Operation], apart: bool) -> Any:
        def was_committed() -> bool:
            raise OSError("it cannot be asked either")

        raise InDoubt(OSError("the line broke during COMMIT"), [], [], was_committed)

    runner = Inline()
    commit = GroupCommit(transact, runner)
    runner.start(commit.commit_waiting)
    in_doubt, behind = Told(), Told()
    commit.append(text(CHAT, 1, "in doubt"), in_doubt)
    commit.commit_waiting()
    commit.append(text(CHAT, 1, "behind"), behind)
    commit.commit_waiting()
    assert (len(in_doubt.outcomes), len(behind.outcomes)) == (0, 1)
    assert isinstance(behind.wait(), Busy)
    commit.close()
    commit.commit_waiting()
    assert isinstance(in_doubt.wait(), Busy)


def test_marks_stay_until_they_are_written(store: SqlStore, database: Faulty) -> None:
    send(store, 3)
    store.commit_waiting()
    store.open_device(2, "", HERE, NOW)
    database.fail()
    store.move_cursor(2, "", CHAT, 1, 0, 0)
    store.mark_read(2, CHAT, 3)
    store.close_device(2, "", HERE, NOW)
    store.write_marks()
    store.move_cursor(2, "", CHAT, 2, 0, 0)
    store.mark_read(2, CHAT, 1)
    with pytest.raises(Busy):
        store.open_device(1, "", HERE, NOW)
    database.away = None
    store.write_marks()
    read = store.read(lambda db: db.scalar(sql('SELECT read_seq FROM "ReadMark"')))
    assert read == 3
    assert store.read(lambda db: db.scalar(sql('SELECT state FROM "User" WHERE id = 2'))) == "offline"
    assert [span.after for span in store.open_device(2, "", HERE, NOW).backlog] == [2]


def test_marks_that_came_since_are_newer_than_those_that_failed() -> None:
    marks = Marks(AsyncResult)
    marks.unwritten.cursors[1, "", CHAT] = (3, 0, 0)
    marks.unwritten.cursors[1, "", -1] = (3, 0, 0)
    marks.read(1, CHAT, 3)
    marks.read(2, CHAT, 3)
    marks.close(1, "", HERE, "before")
    with suppress(Busy), marks.taken():
        marks.unwritten.cursors[1, "", CHAT] = (3, 4, 5)
        marks.read(1, CHAT, 2)
        marks.read(2, CHAT, 4)
        marks.close(1, "", HERE, "after")
        raise Busy
    with marks.taken() as kept:
        assert kept.cursors == {(1, "", CHAT): (3, 4, 5), (1, "", -1): (3, 0, 0)}
        assert kept.read == {(1, CHAT): 3, (2, CHAT): 4}
        assert kept.closes[1, ""].now == "after"
    assert not marks


def test_marks_are_written_by_themselves(threaded: SqlStore) -> None:
    send(threaded, 3)[2].wait()
    threaded.mark_read(1, CHAT, 2)
    with gevent.Timeout(60):
        while threaded.read(lambda db: db.scalar(sql('SELECT read_seq FROM "ReadMark"'))) != 2:
            gevent.sleep(0.02)


def test_marks_are_written_by_themselves_once_the_database_is_back(
    threaded: SqlStore, database: Faulty
) -> None:
    send(threaded, 3)[2].wait()
    database.fail()
    threaded.mark_read(1, CHAT, 2)
    tried = database.transactions
    with gevent.Timeout(60):
        while database.transactions == tried:
            gevent.sleep(0.02)
        database.away = None
        while threaded.read(lambda db: db.scalar(sql('SELECT read_seq FROM "ReadMark"'))) != 2:
            gevent.sleep(0.02)


def test_a_failed_read_is_busy(
    store: SqlStore, database: Faulty, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> Any:
        raise OperationalError("SELECT", {}, Exception("disk I/O error"))

    with monkeypatch.context() as patch:
        patch.setattr(database, "reading", away)
        for _ in range(2):
            with pytest.raises(RequestError) as failed:
                store.head(CHAT)
            assert isinstance(failed.value, Busy)
    assert store.head(CHAT) == 0
    assert caplog.text.count("reading from the database") == 2


def test_the_delivery_time_of_a_queue_that_never_empties_does_not_grow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float] = []
    now = [0.0]
    monkeypatch.setattr(commit, "monotonic", lambda: now[0])
    monkeypatch.setattr(commit, "DELIVERY_SECONDS", SimpleNamespace(observe=seen.append))

    def transact(messages: Sequence[Any], operations: Any, apart: bool) -> tuple[list[Any], list[Any]]:
        now[0] += 1.0
        if now[0] < 50:
            queue.append(messages[0], Told())
        return [Stored(1, NOW, False) for _ in messages], []

    runner = Inline()
    queue = GroupCommit(transact, runner, max_batch=1, max_queue=10)
    runner.start(queue.commit_waiting)
    for _ in range(2):
        queue.append(text(CHAT, 1, "x"), Told())
    queue.commit_waiting()
    assert len(seen) > 40
    assert max(seen) <= 2.0

"""MariaDB: the contract, and what is special about a database that others share and that may go away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, make_url
from sqlalchemy import text as sql

from greenchat.data import SqlStore, open_store
from greenchat.data.engine import mysql
from greenchat.data.engine.mysql import OLDEST, MysqlDatabase
from greenchat.data.engine.query import DIALECTS
from greenchat.data.queries.log import LAST, SPAN
from greenchat.data.queries.login import STATE
from greenchat.data.schema import metadata
from greenchat.errors import Busy, ConfigError, DatabaseAway, StartupError
from greenchat.model.records import Node, Span
from lab import ROOT
from lab.servers.mariadb import PASSWORD, MariaDb
from tests.data.shared import NOW, append, pair, recall, text
from tests.data.test_store_contract import StoreContract
from tests.scenarios import Scenario
from tests.servers import private

HERE = Node("here", 1)
CHAT = pair(1, 2)
ALONE = pair(1, 1)

EMPTY = [
    *(f"DELETE FROM `{table}`" for table in metadata.tables if table != "Setting"),
    "DELETE FROM Setting WHERE name <> 'schema_version'",
    # Ids as in a new database.
    "ALTER TABLE User AUTO_INCREMENT = 1",
    "ALTER TABLE AllGroup AUTO_INCREMENT = 1",
]


def set_up(url: str) -> None:
    store = open_store(url)
    store.start()
    store.close()


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDb]:
    # Without TLS, so that a proxy can read along.  A limit of connections that is zero at the start stays so.
    with private(MariaDb, "--skip-ssl", "--max-user-connections=100") as server:
        set_up(server.fresh("chat_used"))
        yield server


@pytest.fixture
def url(mariadb: MariaDb) -> str:
    """The URL of a database that is set up and empty."""
    mariadb.run(*EMPTY, database="chat_used")
    return mariadb.url("chat_used")


@pytest.fixture
def fresh(mariadb: MariaDb) -> str:
    """The URL of a database without tables."""
    return mariadb.fresh("chat_fresh")


class TestMariaDb(StoreContract):
    """MariaDB, with a client that blocks: nothing is monkey-patched here."""

    @pytest.fixture(autouse=True)
    def _empty(self, url: str) -> None:
        self.url = url

    def open(self, tmp_path: Path, **options: Any) -> SqlStore:
        return open_store(self.url, **options)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = open_store(url)
    store.start()
    yield store
    store.close()


# -- What it keeps


def test_all_of_unicode_comes_back(store: SqlStore) -> None:
    store.create_user("ann", "h", NOW)
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    bodies = ["".join(map(chr, points[start : start + 4096])) for start in range(0, len(points), 4096)]
    assert max(len(body.encode()) for body in bodies) == 4 * 4096
    append(store, *[text(ALONE, 1, body) for body in bodies])
    assert [entry.body for entry in store.entries([Span(ALONE, 0, len(bodies))])] == bodies


def test_a_full_batch_of_the_longest_messages_is_stored(store: SqlStore) -> None:
    store.create_user("ann", "h", NOW)
    for body in ("\U0010ffff" * 4096, "\\" * 4096, "\0" * 4096):
        outcomes = append(store, *[text(ALONE, 1, body, f"{ord(body[0])}.{n}") for n in range(1024)])
        assert {type(outcome) for outcome in outcomes} == {tuple}
        assert store.entry(ALONE, outcomes[-1][0]).body == body


def test_blanks_at_the_end_count_everywhere(store: SqlStore) -> None:
    for name in ("ann", "ann ", "ann  "):
        store.create_user(name, "h", NOW)
    assert [store.user(name=name).id for name in ("ann ", "ann", "ann  ")] == [2, 1, 3]
    chat = pair(1, 2)
    assert [outcome[0] for outcome in append(store, text(chat, 1, "a", "c"), text(chat, 1, "b", "c "))] == [
        1,
        2,
    ]
    assert append(store, text(chat, 1, " ", "s")) == [(3, NOW, False)]
    assert append(store, recall(chat, 1, 3)) == [(4, NOW, False)]
    store.open_device(2, "d", HERE, NOW)
    store.open_device(2, "d ", HERE, NOW)
    store.move_cursor(2, "d ", chat, 2, 0, 0)
    assert [span.after for span in store.open_device(2, "d", HERE, NOW).backlog] == [0]
    assert [span.after for span in store.open_device(2, "d ", HERE, NOW).backlog] == [2]


def talk(store: SqlStore) -> list[tuple[int, Any]]:
    """Have a conversation with all kinds of entries and return what OfflineMessage shows of it."""
    ann, bob, cem = (store.create_user(name, "hash", NOW) for name in ("ann", 'b"ob', "cem"))
    group = store.create_group(ann, "tea", "", NOW)
    chat = pair(ann, bob)
    append(store, text(-group, ann, "early"))
    store.join_group(bob, group, NOW)
    store.join_group(cem, group, NOW)
    bodies = ["one", 'two "🦀"\\\n\0\u2028', "oh no"]
    append(store, *[text(chat, ann, body) for body in bodies], text(chat, bob, "my own"))
    append(store, *[text(-group, ann, "tea?"), text(-group, bob, "or not"), text(-group, cem, "1e9")])
    append(store, text(pair(bob, bob), bob, "to myself"), text(pair(ann, cem), cem, "not for bob"))
    append(store, recall(chat, ann, 3), recall(-group, ann, 3), text(chat, ann, "7"))
    for device in "ab":
        store.open_device(bob, device, HERE, NOW)
    store.move_cursor(bob, "b", chat, 1, 0, 0)
    store.write_marks()
    rows = store.read(lambda db: list(db.execute(sql('SELECT userid, message FROM "OfflineMessage"'))))
    return [(userid, json.loads(message)) for userid, message in rows]


def test_the_view_shows_what_the_view_of_sqlite_shows(store: SqlStore) -> None:
    other = open_store("sqlite://")
    other.start()
    expected, shown = talk(other), talk(store)
    other.close()
    assert shown == expected
    assert len(shown) > 10
    assert {type(entry.get("recalled", True)) for _, entry in shown} == {bool}


def test_the_state_of_a_login_is_found_by_indexes(store: SqlStore) -> None:
    with store.database.operating() as db:  # in tables of a few rows, an index would be a detour
        for rows in (
            "AllGroup SELECT seq, seq, '', 2, '' FROM seq_1_to_1000",
            "GroupUser SELECT seq DIV 2, seq, 'normal', 0, '' FROM seq_2_to_2001",
            "User SELECT seq, seq, '', 'offline', NULL, '', NULL FROM seq_1_to_2001",
        ):
            db.exec_driver_sql(f"INSERT INTO {rows}")
        db.exec_driver_sql("ANALYZE TABLE AllGroup, GroupUser, User")
    statement = sql(f"EXPLAIN {STATE}")
    given = dict.fromkeys(statement.compile().params, 1)
    plan = store.read(lambda db: [row.type for row in db.execute(statement, given)])
    assert plan
    assert "ALL" not in plan


@pytest.mark.parametrize("page", [SPAN, LAST], ids=["span", "last"])
def test_a_page_is_found_by_the_logs_key_whatever_the_statistics_say(
    store: SqlStore, page: Select[Any]
) -> None:
    with store.database.operating() as db:
        db.exec_driver_sql("INSERT INTO User SELECT seq, seq, '', 'offline', NULL, '', NULL FROM seq_1_to_2")
        db.exec_driver_sql("INSERT INTO Message SELECT 7, seq, 1, seq, 'text', '', '', 0 FROM seq_1_to_2000")
    given = {"c": 7, "after": 1000, "upto": 1200, "before": 1200, "limit": 200}
    compiled = page.compile(dialect=DIALECTS["mysql"])
    assert compiled.positiontup
    values = tuple(given[name] for name in compiled.positiontup)
    first, *_ = store.read(lambda db: db.exec_driver_sql(f"EXPLAIN {compiled}", values).all())
    assert (first.table, first.type, first.key) == ("Message", "range", "PRIMARY")


def test_a_commit_waits_for_nothing_but_the_server(store: SqlStore) -> None:
    session = store.read(
        lambda db: tuple(
            db.exec_driver_sql(
                "SELECT @@tx_isolation, @@sql_mode, @@innodb_lock_wait_timeout, @@idle_transaction_timeout"
            ).one()
        )
    )
    assert session == ("READ-COMMITTED", "ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION", 1, 3)


def test_a_batch_takes_four_statements(mariadb: MariaDb, store: SqlStore) -> None:
    """Each is a round trip.  The second reads the heads and refusals, when the first has locked the heads."""
    for name in ("ann", "bob"):
        store.create_user(name, "h", NOW)
    group = store.create_group(1, "tea", "", NOW)
    batch = text(CHAT, 1, "hi", "c"), text(-group, 1, "tea?", "d"), text(CHAT, 2, "ho", "e")
    append(store, *batch)
    logged = "SELECT argument FROM mysql.general_log WHERE user_host LIKE 'chat%'"
    mariadb.run("SET GLOBAL log_output = 'TABLE'", "TRUNCATE mysql.general_log", "SET GLOBAL general_log = 1")
    try:
        append(store, *[message._replace(cid=None) for message in batch])
    finally:
        statements = [argument for (argument,) in mariadb.run("SET GLOBAL general_log = 0", logged)]
    assert [statement.split()[0] for statement in statements] == ["INSERT", "SELECT", "INSERT", "COMMIT"]
    plan = store.read(lambda db: db.exec_driver_sql(f"EXPLAIN {statements[1]}").all())
    assert {(row.table, row.type, row.key) for row in plan if row.table in ("Block", "GroupUser")} == {
        ("Block", "eq_ref", "PRIMARY"),
        ("GroupUser", "eq_ref", "PRIMARY"),
    }


# -- The schema


def schema(mariadb: MariaDb, name: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return what the server says of the tables, columns, indexes and views of a database."""
    asked = {
        "tables": "SELECT table_name, table_type, engine, table_collation FROM information_schema.tables",
        "columns": "SELECT table_name, ordinal_position, column_name, column_type, is_nullable,"
        " column_default, character_set_name, collation_name, extra, generation_expression"
        " FROM information_schema.columns",
        "indexes": "SELECT table_name, index_name, seq_in_index, column_name, non_unique"
        " FROM information_schema.statistics",
        "views": f"SELECT table_name, REPLACE(view_definition, '{name}', ''), is_updatable"
        " FROM information_schema.views",
    }
    return {
        what: sorted(mariadb.run(f"{statement} WHERE table_schema = '{name}'"), key=repr)
        for what, statement in asked.items()
    }


def test_chat_sql_makes_what_the_server_makes(mariadb: MariaDb, fresh: str) -> None:
    set_up(fresh)
    mariadb.fresh("chat_loaded")
    mariadb.load(ROOT / "chat.sql", "chat_loaded")
    made, loaded = schema(mariadb, "chat_fresh"), schema(mariadb, "chat_loaded")
    assert loaded == made
    assert len(made["tables"]) == len(metadata.tables) + 1
    settings = [mariadb.run("SELECT * FROM Setting", database=name) for name in ("chat_fresh", "chat_loaded")]
    assert settings[0] == settings[1]
    store = open_store(mariadb.url("chat_loaded"))
    store.start()
    assert store.create_user("ann", "h", NOW) == 1
    store.close()


def test_a_set_up_that_was_cut_short_is_finished(mariadb: MariaDb, fresh: str) -> None:
    set_up(fresh)
    made = schema(mariadb, "chat_fresh")
    mariadb.run(
        "DELETE FROM Setting",
        "DROP VIEW OfflineMessage",
        "DROP TABLE User",
        "DROP INDEX Friend_friendid ON Friend",
        database="chat_fresh",
    )
    set_up(fresh)
    assert schema(mariadb, "chat_fresh") == made


def test_a_server_that_keeps_names_in_small_letters_will_do() -> None:
    with private(MariaDb, "--lower-case-table-names=1") as server:
        url = server.fresh()
        for name in ("ann", "bob"):
            store = open_store(url)
            store.start()
            store.create_user(name, "h", NOW)
            append(store, text(pair(1, 1), 1, "hi"))
            store.close()
        assert server.run("SELECT COUNT(*) FROM offlinemessage", database="chat") == [(0,)]
        assert server.run("SELECT last_seq FROM conversation", database="chat") == [(2,)]
        server.run("DELETE FROM setting", "DROP VIEW offlinemessage", "DROP TABLE user", database="chat")
        set_up(url)  # finishes what was cut short
        assert server.run("SELECT COUNT(*) FROM user", database="chat") == [(0,)]


# -- The start


def refusal(url: str, kind: type[StartupError] = StartupError) -> str:
    """Return the one clear line with which a start is refused."""
    with pytest.raises(StartupError) as refused:
        open_store(url).start()
    line = str(refused.value)
    assert type(refused.value) is kind
    assert "\n" not in line
    assert "s3cret" not in line
    assert refused.value.__cause__ is None
    return line


def test_a_newer_schema_is_refused(mariadb: MariaDb, fresh: str) -> None:
    set_up(fresh)
    mariadb.run("UPDATE Setting SET value = 99 WHERE name = 'schema_version'", database="chat_fresh")
    assert "run a newer greenchat" in refusal(fresh)


def test_a_database_of_something_else_is_refused(mariadb: MariaDb, fresh: str) -> None:
    mariadb.run("CREATE TABLE recipe (name INT)", database="chat_fresh")
    assert "something else" in refusal(fresh)
    assert mariadb.run("SHOW TABLES", database="chat_fresh") == [("recipe",)]


def test_an_old_server_is_refused(fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OLDEST, True, (99, 1))
    assert "is too old: 99.1 or later is needed" in refusal(fresh)


def test_a_wrong_password_is_told_at_once(mariadb: MariaDb) -> None:
    wrong = make_url(mariadb.url()).set(password="s3cret")
    assert "Access denied" in refusal(wrong.render_as_string(hide_password=False))


def test_a_database_that_is_not_there_is_told_at_once(mariadb: MariaDb) -> None:
    assert "Unknown database 'chat_none'" in refusal(mariadb.url("chat_none"))


def test_a_missing_certificate_is_told_at_once(fresh: str) -> None:
    assert "No such file" in refusal(f"{fresh}?ssl_ca=/none.pem")


def test_tls_that_is_asked_for_is_not_done_without(fresh: str) -> None:
    assert "SSL" in refusal(f"{fresh}?ssl_cipher=HIGH")


def test_a_server_that_is_away_can_be_waited_for() -> None:
    with private(MariaDb) as server:
        url = server.fresh()
        server.kill()
        with pytest.raises(DatabaseAway) as away:
            open_store(url).start()
        assert f"127.0.0.1:{server.port}/chat" in str(away.value)
        database = MysqlDatabase(make_url(url), patience=0)
        store = SqlStore(database, database.runner())
        for _ in range(2):
            with pytest.raises(DatabaseAway):
                store.start()
        server.start()
        store.start()
        assert store.create_user("ann", "h", NOW) == 1
        assert append(store, text(ALONE, 1, "hi")) == [(1, NOW, False)]
        store.close()


@pytest.mark.parametrize(
    ("limit", "before"),
    [
        ("ALTER USER chat@'127.0.0.1' WITH MAX_USER_CONNECTIONS", 0),
        ("SET GLOBAL max_user_connections =", 100),
    ],
)
def test_a_user_with_too_many_connections_waits_for_one(
    mariadb: MariaDb, url: str, limit: str, before: int
) -> None:
    database = MysqlDatabase(make_url(url), patience=0)
    store = SqlStore(database, database.runner())
    other = open_store(url)
    other.start()
    try:
        other.user(id=other.create_user("ann", "h", NOW))
        mariadb.run(f"{limit} 1")
        with pytest.raises(DatabaseAway):
            store.start()
    finally:
        mariadb.run(f"{limit} {before}")
    store.start()
    for used in (store, other):
        used.close()


@pytest.fixture
def switchable(mariadb: MariaDb, tmp_path: Path) -> Iterator[tuple[str, MariaDb]]:
    """The URL of a database, and another server that the name in the URL leads to once it is moved."""
    with private(MariaDb) as other:
        for server in (mariadb, other):
            set_up(server.fresh("chat_moved"))
            server.run(
                f"CREATE OR REPLACE USER chat@localhost IDENTIFIED BY '{PASSWORD}'",
                "GRANT ALL ON `chat%`.* TO chat@localhost",
            )
        name = tmp_path / "sock"
        name.symlink_to(mariadb.folder / "sock")
        try:
            yield f"{mariadb.url('chat_moved')}?unix_socket={name}", other
        finally:
            mariadb.run("SET GLOBAL read_only = 0", "DROP USER chat@localhost")


def test_a_planned_switch_to_another_server_is_followed_at_once(
    mariadb: MariaDb, switchable: tuple[str, MariaDb], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql, "RECYCLE", 3600.0)
    url, other = switchable
    database = MysqlDatabase(make_url(url), patience=0)
    store = SqlStore(database, database.runner())
    store.start()
    assert append(store, text(CHAT, 1, "one"), text(CHAT, 1, "two")) == [(1, NOW, False), (2, NOW, False)]
    assert store.create_user("ann", "h", NOW) == 1
    mariadb.run("SET GLOBAL read_only = 1")
    assert [type(told) for told in append(store, text(CHAT, 1, "three"))] == [Busy]
    with pytest.raises(Busy):
        store.create_user("bob", "h", NOW)
    assert store.head(CHAT) == 2  # it still answers
    name = Path(str(make_url(url).query["unix_socket"]))
    name.unlink()
    name.symlink_to(other.folder / "sock")
    assert append(store, text(CHAT, 1, "three")) == [(1, NOW, False)]
    assert store.head(CHAT) == 1
    assert store.create_user("bob", "h", NOW) == 1
    store.close()


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("?password=s3cret", "unknown option password"),
        ("?local_infile=1", "unknown option local_infile"),
        ("?read_timeout=s3cret1", "read_timeout: a whole number"),
        ("?read_timeout=0", "read_timeout: a whole number"),
        ("", "names no database"),
    ],
)
def test_a_url_that_will_not_do_is_refused_without_its_password(ending: str, said: str) -> None:
    name = "chat" if ending else ""
    with pytest.raises(ConfigError, match=said) as refused:
        open_store(f"mysql+pymysql://chat:s3cret@127.0.0.1/{name}{ending}")
    assert "s3cret" not in repr(refused.value)


def test_the_password_is_in_no_repr(url: str) -> None:
    database = MysqlDatabase(make_url(url))
    kept = [*vars(database).values()]
    known = repr([database, kept, *(getattr(one, name, "") for one in kept for name in ("url", "pool"))])
    assert "127.0.0.1" in known
    assert PASSWORD not in known
    assert "s3cret" not in known


def test_nothing_is_done_after_the_end(store: SqlStore) -> None:
    store.close()
    with pytest.raises(Exception, match="cannot store this now"):
        store.user(id=1)
    with pytest.raises(Exception, match="cannot store this now"):
        store.create_user("ann", "h", NOW)


# -- In a monkey-patched process


@pytest.fixture
def scenario(mariadb: MariaDb) -> Scenario:
    return Scenario("tests.data.engine.mysql_scenarios", mariadb)


def test_a_kill_of_the_server_loses_nothing_that_was_acknowledged(scenario: Scenario, url: str) -> None:
    scenario("killed_under_load", url)


def test_a_read_of_a_server_that_hangs_ends_soon(scenario: Scenario, url: str) -> None:
    scenario("hung", url)


def test_connections_that_a_firewall_forgot_hold_up_one_read_and_not_one_each(
    scenario: Scenario, url: str
) -> None:
    scenario("forgotten", url)


def test_reads_that_are_given_up_make_no_more_connections(scenario: Scenario, url: str) -> None:
    scenario("given_up", url)


def test_a_stopped_server_is_busy_and_then_well(scenario: Scenario, url: str) -> None:
    scenario("stopped", url)


def test_a_commit_whose_answer_was_lost_is_found_out(scenario: Scenario, url: str) -> None:
    scenario("committed_unheard", url)


def test_a_commit_that_is_answered_with_an_error_is_found_out(scenario: Scenario, url: str) -> None:
    scenario("committed_with_an_error", url)


def test_a_commit_that_never_arrived_is_busy(scenario: Scenario, url: str) -> None:
    scenario("cut_before_commit", url)


def test_a_commit_that_is_late_is_waited_for(scenario: Scenario, url: str) -> None:
    scenario("committed_late", url)


def test_a_change_whose_commit_was_not_answered_is_found_out(scenario: Scenario, url: str) -> None:
    scenario("leave_in_doubt", url)


def test_what_is_in_doubt_is_told_when_it_is_known(scenario: Scenario, url: str) -> None:
    scenario("in_doubt_for_long", url)


def test_what_is_in_doubt_does_not_keep_a_store_from_closing(scenario: Scenario, url: str) -> None:
    scenario("in_doubt_at_the_end", url)


def test_a_greenlet_killed_in_mid_query_costs_its_connection_only(scenario: Scenario, url: str) -> None:
    scenario("killed_greenlet", url)


def test_waiting_for_a_connection_has_an_end(scenario: Scenario, url: str) -> None:
    scenario("pool_deadline", url)


def test_many_greenlets_share_few_connections(scenario: Scenario, url: str) -> None:
    scenario("many_readers", url)


def test_a_deadlock_is_tried_again(scenario: Scenario, url: str) -> None:
    scenario("deadlocked_operations", url)


def test_closing_a_node_waits_for_the_messages_before(scenario: Scenario, url: str) -> None:
    scenario("closing_a_node_waits_for_the_messages_before", url)


def test_a_login_waits_for_the_end_of_the_one_before(scenario: Scenario, url: str) -> None:
    scenario("a_login_waits_for_the_close_before_it", url)


def test_servers_that_would_not_know_of_each_other_are_kept_apart(scenario: Scenario, url: str) -> None:
    scenario("servers_without_a_bus", url)


def test_a_server_that_was_killed_keeps_nobody_off(scenario: Scenario, url: str) -> None:
    scenario("a_server_that_was_killed", url)


def test_a_database_is_kept_over_its_own_restart(scenario: Scenario, url: str) -> None:
    scenario("a_lease_is_renewed_over_an_outage", url)


def test_a_read_only_server_can_be_waited_for(mariadb: MariaDb, url: str) -> None:
    database = MysqlDatabase(make_url(url), patience=0)
    store = SqlStore(database, database.runner())
    mariadb.run("SET GLOBAL read_only = 1")
    try:
        store.start()
        with pytest.raises(DatabaseAway, match="read-only"):
            store.claim(True, pytest.fail)
    finally:
        mariadb.run("SET GLOBAL read_only = 0")
    store.claim(True, pytest.fail)
    store.close()


def test_a_locked_conversation_delays_no_other(scenario: Scenario, url: str) -> None:
    scenario("a_locked_conversation_delays_no_other", url)


def test_who_waits_for_a_lock_too_long_is_told(scenario: Scenario, url: str) -> None:
    scenario("who_waits_for_a_lock_too_long_is_told", url)


def test_a_store_that_closes_waits_for_no_lock(scenario: Scenario, url: str) -> None:
    scenario("a_store_that_closes_waits_for_no_lock", url)


def test_two_nodes_write_to_the_same_conversations(scenario: Scenario, url: str) -> None:
    scenario("two_nodes", url)


def test_a_message_that_reaches_two_nodes_is_stored_once(scenario: Scenario, url: str) -> None:
    scenario("a_raced_cid", url)


def test_the_state_of_a_user_with_devices_on_two_nodes_is_right(scenario: Scenario, url: str) -> None:
    scenario("devices_on_two_nodes", url)


def test_a_message_waits_for_a_block_or_leaving_under_way(scenario: Scenario, url: str) -> None:
    scenario("a_message_waits_for_a_block_or_leaving", url)


def test_the_last_devices_of_a_user_are_closed_on_two_nodes_at_a_time(scenario: Scenario, url: str) -> None:
    scenario("devices_closed_while_another_is", url)


def test_a_device_may_log_in_first_on_two_nodes_at_a_time(scenario: Scenario, url: str) -> None:
    scenario("a_first_login_on_two_nodes", url)


def test_several_servers_start_at_once_on_an_empty_database(scenario: Scenario, fresh: str) -> None:
    scenario("starts_at_once", fresh)

"""The life of a server process: how it starts, refuses to start, supervises, stops and comes back."""

from __future__ import annotations

import ctypes
import re
import resource
import select
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from platform import python_version
from time import monotonic

import pytest

from greenchat import __version__
from lab.servers.program import free_port, free_ports
from tests.system.server import DEADLINE, READY, Client, Ended, Frame, Server, get, join, run

STATES = 'SELECT name, state FROM "User" ORDER BY name'

Start = Callable[..., Server]


def pause(seconds: float) -> None:
    """Let time pass, where that is what is tested."""
    select.select([], [], [], seconds)


# -- The ready line


def test_when_it_can_serve_it_prints_one_line_that_says_where_and_with_what(start: Start) -> None:
    server = start("--node", "n1")
    match = READY.fullmatch(server.ready)
    assert match
    store = f"sqlite:///{server.database}"
    assert match.groups() == (__version__, "127.0.0.1", str(server.port), store, "local://", "n1", None)
    with Client(server) as client:
        assert client.ask(12)["msgid"] == 12


def test_a_password_in_a_url_is_never_printed(tmp_path: Path, start: Start) -> None:
    server = start("--store", f"sqlite://somebody:s3cret@/{tmp_path}/other.db")
    server.stop()
    assert "s3cret" not in server.ready + server.log.read_text()
    assert "s3cret" not in "".join(run(0, "--store", "nosql://u:s3cret@host/db", folder=tmp_path)[1:])


def test_the_name_of_the_node_is_the_hosts_and_the_port(start: Start) -> None:
    server = start()
    server.stop()
    server.start()  # on the port that is known by now
    assert server.ready.endswith(f" node={socket.gethostname()}-{server.port}\n")


@pytest.mark.parametrize(
    ("host", "shown", "clients"), [("::1", "[::1]", ["::1"]), ("::", "[::]", ["::1", "127.0.0.1"])]
)
def test_ipv6_is_served_and_by_two_colons_ipv4_too(
    start: Start, host: str, shown: str, clients: list[str]
) -> None:
    server = start("--host", host)
    assert f"listening on {shown}:{server.port} " in server.ready
    for server.host in clients:
        with Client(server) as client:
            assert client.ask(12)["msgid"] == 12


# -- Settings


@pytest.mark.parametrize(
    ("env", "options", "node"),
    [
        ({}, [], "toml"),
        ({"GREENCHAT_NODE": "environment"}, [], "environment"),
        ({"GREENCHAT_NODE": "environment"}, ["--node", "option"], "option"),
        ({}, ["--node=option"], "option"),
    ],
)
def test_toml_gives_way_to_the_environment_and_that_to_the_command_line(
    start: Start, tmp_path: Path, env: dict[str, str], options: list[str], node: str
) -> None:
    config = tmp_path / "greenchat.toml"
    config.write_text('node = "toml"\nmax_connections = 1\n')
    server = start("--config", config, *options, env=env)
    assert server.ready.endswith(f" node={node}\n")
    with Client(server) as first, Client(server) as second:
        assert first.ask(12)["msgid"] == 12
        assert second.ended()[-1]["msgid"] == 24, "the other setting of the file counts as well"


def test_the_file_may_be_named_by_the_environment(start: Start, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('node = "mine"\n')
    assert start(env={"GREENCHAT_CONFIG": str(tmp_path / "my.toml")}).ready.endswith(" node=mine\n")


def test_help_and_version_are_answered(tmp_path: Path) -> None:
    status, out, err = run("--version", folder=tmp_path)
    assert (status, out, err) == (0, f"greenchat {__version__}\n", "")
    status, out, err = run("--help", folder=tmp_path)
    assert (status, err) == (0, "")
    assert {"PORT", "--heartbeat-interval", "--store", "GREENCHAT_NAME"} <= set(re.findall(r"[-\w]+", out))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["0", "--unknown", "1"], {}, "--unknown"),
        (["many"], {}, "PORT"),
        (["65536"], {}, "port"),
        (["0", "--max-missed", "0"], {}, "max-missed"),
        (["0", "--heartbeat-interval", "soon"], {}, "--heartbeat-interval"),
        (["0", "--token-days", "inf"], {}, "token-days"),
        (["0", "--store", "nonsense"], {}, "store"),
        (["0", "--store", "nosql://x"], {}, "nosql"),
        (["0", "--bus", "carrier://pigeon"], {}, "carrier"),
        (["0", "--admin", "nowhere"], {}, "admin"),
        (["0", "--config", "missing.toml"], {}, "missing.toml"),
        ([], {"GREENCHAT_PORT": "many"}, "GREENCHAT_PORT"),
        (["0"], {"GREENCHAT_CONFIG": "missing.toml"}, "missing.toml"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line_and_by_status_2(
    tmp_path: Path, arguments: list[str], env: dict[str, str], words: str
) -> None:
    status, out, err = run(*arguments, "--max-connections", 100, folder=tmp_path, env=env)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"greenchat: .+\n", err)
    assert words in err


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (b"port = ", "TOML"),
        (b"\xff\xfe", "TOML"),
        (b'port = "6000"\n', "port"),
        (b"login_timeout = -1\n", "login-timeout"),
        (b"token_days = 1" + b"0" * 400 + b"\n", "token"),
        (b"colour = 5\n", "colour"),
    ],
)
def test_a_wrong_file_is_told_in_one_line_and_by_status_2(tmp_path: Path, toml: bytes, words: str) -> None:
    (tmp_path / "greenchat.toml").write_bytes(toml)
    status, out, err = run("--config", "greenchat.toml", folder=tmp_path)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"greenchat: .+\n", err)
    assert words in err


# -- What keeps it from starting


def refused(folder: Path, *arguments: object, before: Callable[[], None] | None = None) -> str:
    """Run a server that cannot start; return the one line in which it says why."""
    status, out, err = run(*arguments, "--max-connections", 100, folder=folder, before=before)
    assert (status, out) == (1, "")
    assert re.fullmatch(r"greenchat: .+\n", err), err
    return err


def test_a_port_in_use_is_told(start: Start, tmp_path: Path) -> None:
    server = start()
    said = refused(tmp_path, server.port)
    assert f"127.0.0.1:{server.port}" in said
    assert "in use" in said


def test_a_host_that_is_not_here_is_told(tmp_path: Path) -> None:
    assert "192.0.2.1" in refused(tmp_path, 0, "--host", "192.0.2.1")


@pytest.mark.parametrize("files", [32, 60, 64])
def test_too_few_open_files_are_told_with_how_many_are_needed(tmp_path: Path, files: int) -> None:
    said = refused(tmp_path, 0, before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
    assert f"(ulimit -n) is {files}: 64 are needed for the server itself" in said
    assert "164 for max_connections" in said
    assert list(tmp_path.iterdir()) == [], "it made a database before it looked"


def test_with_the_fewest_open_files_one_client_is_served(start: Start) -> None:
    server = start(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (65, 65)))
    with Client(server) as client:
        assert client.ask(12)["msgid"] == 12


def test_an_admin_port_in_use_is_told(start: Start, tmp_path: Path) -> None:
    server = start()
    said = refused(tmp_path, 0, "--admin", f"127.0.0.1:{server.port}")
    assert said.startswith(f"greenchat: admin: cannot listen on 127.0.0.1:{server.port}: ")
    assert "HOST:+N" in said
    assert "in use" in said


def test_a_database_whose_folder_is_missing_is_told(tmp_path: Path) -> None:
    assert f"{tmp_path}/missing" in refused(tmp_path, 0, "--store", f"sqlite:///{tmp_path}/missing/chat.db")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_a_folder_is_told(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(tmp_path, 0, "--store", f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear reader, " * 1_000)
    assert "letter.txt" in refused(tmp_path, 0, "--store", f"sqlite:///{file}")
    assert file.read_text() == "Dear reader, " * 1_000


def test_the_database_of_another_program_is_told_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE recipes (name)")
    refused(tmp_path, 0, "--store", f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]


def test_a_database_of_a_newer_greenchat_is_told(start: Start) -> None:
    server = start()
    server.stop()
    with closing(sqlite3.connect(server.database)) as db:
        db.execute("UPDATE Setting SET value = '999' WHERE name = 'schema_version'")
        db.commit()
    assert "999" in refused(server.folder, 0, "--store", f"sqlite:///{server.database}")


def powerless() -> None:
    """Take from root the right to pass over the permissions of files (prctl PR_CAPBSET_DROP)."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_database_that_may_not_be_written_is_told(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "chat.db"
    if what == "file":
        file.touch(0o400)
    else:
        folder.chmod(0o500)
    assert str(file) in refused(tmp_path, 0, "--store", f"sqlite:///{file}", before=powerless)
    folder.chmod(0o700)


def test_the_database_and_all_beside_it_is_for_its_owner_alone(start: Start) -> None:
    server = start()
    with join(server, "Ann") as client:
        client.done(6, toid=client.id, msg="x")
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in server.folder.glob("chat.db*")}
    assert modes["chat.db"] == "0o600"
    assert set(modes.values()) == {"0o600"}


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_restored_file_that_others_may_read_is_made_private_with_a_line(start: Start, suffix: str) -> None:
    told = r"WARNING greenchat\.data\.engine\.rights: others had rights to \S+ \(mode 644\): .+"
    server = start(expected=(told,))
    with join(server, "Ann") as ann:
        ann.done(6, toid=ann.id, msg="x")
        server.kill()
    file = Path(f"{server.database}{suffix}")
    file.chmod(0o644)
    server.start()
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    (line,) = server.wait_for_log(told)
    assert str(file) in line


# -- The end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_a_signal_all_get_bye_and_are_offline_and_the_status_is_0(
    start: Start, number: signal.Signals
) -> None:
    server = start()
    with join(server, "Ann") as ann, join(server, "Bob") as bob, Client(server) as stranger:
        bob.done(7, friendid=ann.id)
        stranger.ask(12)
        assert server.rows(STATES) == [("Ann", "online"), ("Bob", "online")]
        server.tell(number)
        for client in (ann, bob, stranger):
            (bye,) = client.ended()  # and no PRESENCE: everybody leaves
            assert bye.items() >= {"msgid": 24, "reason": "shutdown"}.items()
            assert 0 <= bye["retry_after"] <= 60
    assert server.wait() == 0
    assert server.rows(STATES) == [("Ann", "offline"), ("Bob", "offline")]
    assert server.rows("SELECT count(*) FROM Device WHERE node IS NOT NULL") == [(0,)]


def test_clients_are_told_to_come_back_at_different_times(start: Start) -> None:
    server = start()
    clients = [Client(server) for _ in range(20)]
    for client in clients:
        client.ask(12)
    server.tell(signal.SIGTERM)
    assert len({client.ended()[-1]["retry_after"] for client in clients}) > 5
    for client in clients:
        client.sock.close()


def test_what_was_acknowledged_before_the_end_is_there_after_it(start: Start) -> None:
    server = start()
    with join(server, "Ann") as ann:
        for number in range(2_000):
            ann.send(6, toid=ann.id, msg=f"{number}", cid=f"{number}")
        while ann.read()["cid"] != "100":
            pass
        server.tell(signal.SIGTERM)
        answers = [frame for frame in ann.ended() if frame["msgid"] == 11]
        acknowledged = [frame["seq"] for frame in answers if frame["errno"] == 0]
    assert server.wait() == 0
    stored = [row[0] for row in server.rows("SELECT seq FROM Message ORDER BY seq")]
    assert stored[: len(acknowledged) + 101] == list(range(1, 102)) + acknowledged


def stuck(server: Server) -> Client:
    """Return a client that reads nothing, though much is sent to it."""
    client = join(server, "Stuck", receive_buffer=4_096)
    with join(server, "Talker") as talker:
        for number in range(2_000):
            talker.send(6, toid=client.id, msg="x" * 4_096, cid=f"{number}")
        for _ in range(2_000):
            talker.read()
    return client


def test_a_second_signal_skips_the_wait_for_clients(start: Start) -> None:
    server = start("--shutdown-timeout", 3600, "--outbox-limit", 100_000_000)
    with stuck(server), join(server, "Ann") as ann:
        server.tell(signal.SIGTERM)
        assert ann.read()["reason"] == "shutdown"
        server.tell(signal.SIGTERM)
        assert server.wait() == 0
    assert "in a hurry" in server.log.read_text()
    assert {state for _, state in server.rows(STATES)} == {"offline"}


def test_two_signals_at_once_mark_everybody_offline_all_the_same(start: Start) -> None:
    server = start()
    with join(server, "Ann") as ann:
        server.tell(signal.SIGTERM)
        server.tell(signal.SIGINT)
        ann.ended()
    assert server.wait() == 0
    assert server.rows(STATES) == [("Ann", "offline")]


def test_a_client_that_reads_nothing_keeps_nobody_from_ending(start: Start) -> None:
    server = start("--shutdown-timeout", 0.2, "--outbox-limit", 100_000_000)
    with stuck(server):
        assert server.stop() == 0


def test_a_hangup_without_a_certificate_is_ignored_with_a_line(start: Start) -> None:
    server = start(expected=(r"INFO greenchat: SIGHUP: there is nothing to read again, .+",))
    with Client(server) as client:
        server.tell(signal.SIGHUP)
        server.wait_for_log("SIGHUP")
        assert client.ask(12)["msgid"] == 12
    assert server.stop() == 0


# -- Coming back


def test_a_restart_marks_those_offline_whom_a_sigkill_left_online(start: Start) -> None:
    server = start("--node", "n1")
    with join(server, "Ann") as ann:
        server.kill()
        assert server.rows(STATES) == [("Ann", "online")]
        server.start()
        assert server.rows(STATES) == [("Ann", "offline")]
        with Client(server) as again:
            again.login(token=ann.token)
            assert server.rows(STATES) == [("Ann", "online")]


def test_so_does_a_restart_under_another_name(start: Start) -> None:
    """The file is this server's alone: whoever another one left online is nowhere."""
    server = start("--node", "n1")
    with join(server, "Ann"):
        server.kill()
    server.options = ("--node", "n2")
    server.start()
    assert server.rows(STATES) == [("Ann", "offline")]


def test_tokens_hold_across_restarts_until_they_are_ended(start: Start) -> None:
    server = start()
    ann = join(server, "Ann")
    ann.sock.close()
    for end in (server.kill, server.stop):
        end()
        server.start()
        with Client(server) as client:
            client.login(id=ann.id, token=ann.token)
    with Client(server) as client:
        client.login(token=ann.token, force=True)
        client.done(3)
    server.kill()
    server.start()
    with Client(server) as client:
        assert client.ask(1, token=ann.token)["errno"] == 1


def test_what_a_killed_server_had_not_written_of_cursors_is_offered_again(start: Start) -> None:
    server = start()
    with join(server, "Ann") as ann, join(server, "Bob") as bob:
        for number in range(1, 4):
            ann.done(6, toid=bob.id, msg=f"{number}")
            assert bob.read()["seq"] == number
        bob.send(13, seq=2, peerid=ann.id)
        bob.ask(12)
        server.kill()
        server.start()
    with Client(server) as again:
        offered = [message["seq"] for message in again.login(token=bob.token)["offlinemsg"]]
    assert offered in ([1, 2, 3], [3])


# -- Supervision

INTERVAL, MISSED = 0.4, 5
QUICK = ("--heartbeat-interval", INTERVAL, "--max-missed", MISSED)
EVICTED_AFTER = INTERVAL * MISSED


def beat_until(client: Client, **fields: object) -> Frame:
    """Send heartbeats until a frame with these fields comes."""
    until = monotonic() + DEADLINE
    while monotonic() < until:
        assert client.ask(12)["msgid"] == 12
        if any(fields.items() <= frame.items() for frame in client.frames):
            return client.wait(**fields)
        pause(0.02)
    raise TimeoutError(f"no {fields} among {client.frames}")


def test_who_is_silent_is_evicted_and_a_friend_is_told(start: Start) -> None:
    server = start(*QUICK, calm=False)
    with join(server, "Friend") as friend, join(server, "Silent") as silent:
        friend.done(7, friendid=silent.id)
        began = monotonic()
        silent.ask(12)
        beat_until(friend, msgid=23, id=silent.id, state="offline")
        assert monotonic() - began >= EVICTED_AFTER
        (bye,) = silent.ended()
        assert bye.items() >= {"msgid": 24, "reason": "evicted"}.items()
        server.wait_for_rows([("Friend", "online"), ("Silent", "offline")], STATES)


def test_any_byte_keeps_one_online(start: Start) -> None:
    server = start(*QUICK, calm=False)
    with join(server, "Ann") as ann:
        until = monotonic() + 1.3 * EVICTED_AFTER
        while monotonic() < until:
            ann.write(b"\n")
            pause(0.05)
        assert ann.ask(12)["msgid"] == 12
        assert ann.frames == []


def test_who_is_silent_and_does_not_read_either_is_evicted(start: Start) -> None:
    server = start(*QUICK, "--outbox-limit", 100_000_000, calm=False)
    with stuck(server), Client(server) as watcher:
        watcher.login(name="Talker", password="pw", force=True)
        until = monotonic() + DEADLINE / 2
        wanted = [("Stuck", "offline"), ("Talker", "online")]
        while server.rows(STATES) != wanted and monotonic() < until:
            watcher.ask(12)
            pause(0.02)
        assert server.rows(STATES) == wanted


def test_a_server_that_was_stopped_for_long_evicts_nobody(start: Start) -> None:
    """Not even where one missed beat is too many."""
    interval, admin = 2.0, free_port()
    options = ("--admin", f"127.0.0.1:{admin}", "--login-timeout", 60)
    server = start("--heartbeat-interval", interval, "--max-missed", 1, *options, calm=False)
    with join(server, "Ann") as ann, join(server, "Bob") as bob, Client(server) as stranger:
        seen = -1
        while seen != looks(admin):  # until all have been heard between two looks
            seen = looks(admin)
            for client in (ann, bob, stranger):
                client.ask(12)
        while seen == looks(admin):  # and the second has come: since then nobody has been
            pause(0.02)
        server.tell(signal.SIGSTOP)
        pause(interval * 1.6)
        server.tell(signal.SIGCONT)
        for client in (ann, bob, stranger):
            assert client.ask(12)["msgid"] == 12
            assert client.frames == []


def looks(admin: int) -> int:
    """Return how often the supervision of heartbeats has looked at the connections."""
    (count,) = re.findall(r"^greenchat_loop_lag_seconds_count (\d+)", get(admin, "/metrics")[1], re.M)
    return int(count)


def test_a_connection_too_many_is_told_when_to_come_back(start: Start) -> None:
    server = start("--max-connections", 2)
    with Client(server) as first, Client(server) as second:
        first.ask(12)
        second.ask(12)
        with Client(server) as third:
            error, bye = third.ended()
            assert (error["msgid"], error["errmsg"]) == (14, "too many connections to this server")
            assert bye["msgid"] == 24
            assert bye["retry_after"] == error["retry_after"] > 0
        assert first.ask(12)["msgid"] == 12
        second.sock.close()
        assert served(server)


def served(server: Server) -> bool:
    """Come back until there is room."""
    until = monotonic() + DEADLINE
    while monotonic() < until:
        with Client(server) as client:
            try:
                client.send(12)
                if client.read()["msgid"] == 12:
                    return True
            except (Ended, ConnectionError):
                pass
        pause(0.02)
    return False


# -- A full disk

DISK_ERRORS = (
    r"ERROR greenchat\.data\.engine\.health: writing to the database fails: .+",
    r"WARNING greenchat\.data\.engine\.health: writing to the database works again",
    r"WARNING greenchat: the database is away: .+",
)


def fill_disk(server: Server) -> None:
    """Let no file of the server's grow."""
    wal = server.database.with_name("chat.db-wal")
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (wal.stat().st_size, resource.RLIM_INFINITY))


def free_disk(server: Server) -> None:
    resource.prlimit(
        server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )


def test_on_a_full_disk_what_must_be_stored_is_busy_and_all_else_goes_on(start: Start) -> None:
    admin = free_port()
    server = start("--admin", f"127.0.0.1:{admin}", expected=DISK_ERRORS)
    with join(server, "Ann") as ann, join(server, "Bob") as bob, Client(server) as stranger:
        ann.done(6, toid=bob.id, msg="before")
        assert bob.read()["seq"] == 1
        fill_disk(server)
        for number in range(5):
            ann.send(6, toid=bob.id, msg=f"{number}", cid=f"{number}")
        for number in range(5):
            assert ann.wait(cid=f"{number}").items() >= {"errno": 13, "error": "busy"}.items()
        assert ann.ask(8, groupname="Group")["errno"] == 13
        assert stranger.ask(1, name="Ann", password="pw", device="other")["errno"] == 13
        assert stranger.ask(4, name="New", password="pw")["errno"] == 13
        assert ann.ask(12)["msgid"] == 12
        assert [message["msg"] for message in ann.done(15, peerid=bob.id)["messages"]] == ["before"]
        assert ann.done(30, name="Bob")["user"]["id"] == bob.id
        ann.send(26, toid=bob.id)
        assert bob.read().items() >= {"msgid": 26, "id": ann.id}.items()
        assert ann.frames == bob.frames == []
        free_disk(server)
        for number in range(5):
            ann.send(6, toid=bob.id, msg=f"{number}", cid=f"{number}")
        assert [ann.wait(cid=f"{number}")["seq"] for number in range(5)] == [2, 3, 4, 5, 6]
        assert [bob.read()["msg"] for _ in range(5)] == ["0", "1", "2", "3", "4"]
        assert stranger.done(4, name="New", password="pw")["name"] == "New"
        assert get(admin, "/health")[0] == 200
    assert server.stop() == 0  # now all of its log is written
    log = server.log.read_text()
    assert log.count("writing to the database fails") == 1
    assert log.count("writing to the database works again") == 1


def test_with_a_full_disk_it_ends_in_order_and_mends_the_states_at_the_next_start(start: Start) -> None:
    server = start("--node", "n1", expected=DISK_ERRORS)
    with join(server, "Ann") as ann:
        fill_disk(server)
        server.tell(signal.SIGTERM)
        assert ann.wait(msgid=24)["reason"] == "shutdown"
    assert server.wait() == 0
    server.start()
    assert server.rows(STATES) == [("Ann", "offline")]


# -- Pages for operators


def test_the_admin_address_has_metrics_and_health_and_nothing_else(start: Start) -> None:
    admin = free_port()
    server = start("--admin", f"127.0.0.1:{admin}")
    with join(server, "Ann") as ann:
        for _ in range(3):
            ann.done(6, toid=ann.id, msg="x")
        assert get(admin, "/health") == (200, "200 OK\n")
        status, metrics = get(admin, "/metrics")
    assert status == 200
    counted = dict(re.findall(r"^(greenchat_\w+) ([\d.]+)$", metrics, re.MULTILINE))
    assert float(counted["greenchat_received_frames_total"]) == 5
    assert float(counted["greenchat_messages_stored_total"]) == 3
    assert float(counted["greenchat_connections_opened_total"]) == 1
    assert "process_resident_memory_bytes" in metrics
    assert get(admin, "/")[0] == 404
    assert get(admin, "/metricsx")[0] == 404


def test_the_metrics_show_who_is_there_and_what_the_database_does(start: Start) -> None:
    admin = free_port()
    server = start("--admin", f"127.0.0.1:{admin}")
    with join(server, "Ann") as ann, Client(server) as stranger:
        assert stranger.ask(1, name="Ann", password="wrong")["errno"] == 1
        ann.done(6, toid=ann.id, msg="x")
        metrics = get(admin, "/metrics")[1]
    counted = dict(re.findall(r"^greenchat_(\S+) ([\d.]+)$", metrics, re.MULTILINE))
    wanted = {
        'connections{listener="tcp",state="anonymous"}': 1,
        'connections{listener="tcp",state="logged_in"}': 1,
        "outbox_bytes": 0,
        "users_online": 1,
        "devices_online": 1,
        'logins_total{result="ok"}': 1,
        'logins_total{result="bad_credentials"}': 1,
        "commit_queue_messages": 0,
        "commit_batch_messages_sum": 1,
        "delivery_seconds_count": 1,
    }
    assert {name: float(counted[name]) for name in wanted} == wanted
    assert float(counted["commit_seconds_count"]) >= 2
    assert float(counted["delivery_seconds_sum"]) > 0
    assert "greenchat_bus_away" not in re.sub("^#.*$", "", metrics, flags=re.MULTILINE)
    assert f'greenchat_build_info{{python="{python_version()}",version="{__version__}"}} 1.0' in metrics


def test_promtool_has_nothing_to_say_about_the_metrics(start: Start) -> None:
    admin = free_port()
    server = start("--admin", f"127.0.0.1:{admin}")
    with join(server, "Ann") as ann:
        ann.done(6, toid=ann.id, msg="x")
        metrics = get(admin, "/metrics")[1]
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=metrics,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize(
    "accept",
    [
        'application/openmetrics-text; version="1.0.0"; charset=utf-8',
        'text/plain; version="1.0.0"',
        "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
        "application/openmetrics-text; version=x",
        "text/plain; version=1.0.0; escaping=allow-utf-8",
        ";;=,",
    ],
)
def test_metrics_are_shown_whatever_is_accepted(start: Start, accept: str) -> None:
    admin = free_port()
    start("--admin", f"127.0.0.1:{admin}")
    status, metrics = get(admin, "/metrics", Accept=accept)
    assert status == 200
    assert "greenchat_received_frames_total 0.0" in metrics


def test_servers_of_one_machine_share_the_setting_of_their_pages(start: Start) -> None:
    first = free_ports(4)
    shared = {"GREENCHAT_ADMIN": "127.0.0.1:+2"}
    servers = [start(port=first + number, env=shared) for number in range(2)]
    for server in servers:
        with Client(server) as client:
            client.ask(12)
        assert "greenchat_received_frames_total 1.0" in get(server.port + 2, "/metrics")[1]


def test_health_says_so_while_another_program_keeps_the_database_locked(start: Start) -> None:
    admin = free_port()
    server = start("--admin", f"127.0.0.1:{admin}", expected=DISK_ERRORS)
    with join(server, "Ann") as ann:
        with closing(sqlite3.connect(server.database)) as db:
            db.execute("BEGIN IMMEDIATE")
            ann.send(6, toid=ann.id, msg="x", cid="locked out")
            assert get(admin, "/health")[0] == 503
            assert ann.wait(cid="locked out")["errno"] == 13
            assert ann.done(15, peerid=ann.id)["messages"] == []
        assert ann.done(6, toid=ann.id, msg="x")["seq"] == 1
        assert get(admin, "/health")[0] == 200

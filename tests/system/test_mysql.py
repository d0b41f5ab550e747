"""The real server on a real MariaDB."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from lab.servers.mariadb import MariaDb
from lab.servers.program import free_port
from tests.system.server import Client, Server, assert_waits, join, run

Start = Callable[..., Server]


def test_messages_outlive_a_kill_of_the_server_and_of_the_database(start: Start, mariadb: MariaDb) -> None:
    server = start("--store", mariadb.fresh("chat_life"), expected=(r".*greenchat\.data.*",))
    assert "s3cret" not in server.ready
    with join(server, "Ann") as ann:
        with join(server, "Bob") as bob:
            bob_id = bob.id
        assert ann.ask(6, toid=bob_id, msg="one")["seq"] == 1
        server.kill()
    mariadb.kill()
    mariadb.start()
    server.start()
    with Client(server) as ann, Client(server) as bob:
        ann.login(name="Ann", password="pw")
        assert ann.ask(6, toid=bob_id, msg="two")["seq"] == 2
        missed = bob.login(name="Bob", password="pw")["offlinemsg"]
        assert [entry["msg"] for entry in missed] == ["one", "two"]
    server.tell(signal.SIGINT)
    assert server.wait() == 0
    states = mariadb.run("SELECT DISTINCT state, node FROM User", database="chat_life")
    assert states == [("offline", None)]
    assert "s3cret" not in server.log.read_text()


def test_a_database_that_is_away_at_the_start_is_waited_for(tmp_path: Path, mariadb: MariaDb) -> None:
    url = mariadb.fresh("chat_late")
    mariadb.stop()
    assert_waits(mariadb.start, 0, "--store", url, folder=tmp_path)


def test_one_that_stays_away_ends_the_start_with_one_line(tmp_path: Path) -> None:
    url = f"mysql+pymysql://chat:s3cret@127.0.0.1:{free_port()}/chat"
    status, said, errors = run(0, "--store", url, "--startup-timeout", 1, folder=tmp_path)
    assert (status, said) == (1, "")
    waiting, last = errors.splitlines()
    assert "waiting for it" in waiting
    assert last.startswith("greenchat: cannot open the database")
    assert "s3cret" not in errors

"""Secrets and what people write: in no log, traceback, process title or repr, whatever fails."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from greenchat.config import Settings
from lab import ROOT
from lab.servers.mariadb import MariaDb
from tests.system.server import Client, Server
from tests.system.test_life import fill_disk

Start = Callable[..., Server]

ANYTHING = (r".*",)
"""Log lines that are expected where things are broken on purpose; besides, tracebacks."""

PASSWORD, WRONG, NEW = "canary-password", "canary-wrong", "canary-new-password"
BODY = "canary-body пароль 秘密"


def say(client: Client, body: str = BODY) -> None:
    """Send a text to oneself and to the group 1, whether or not it can be stored."""
    assert client.ask(6, toid=client.id, msg=body)["msgid"] == 11
    assert client.ask(10, groupid=1, msg=body)["msgid"] == 11


def live(server: Server) -> Client:
    """Do whatever has to do with a secret, well and badly; return someone who is logged in."""
    client = Client(server)
    client.done(4, name="ann", password=PASSWORD)
    client.ask(4, name="ann", password=PASSWORD)
    client.ask(1, name="ann", password=WRONG)
    client.ask(1, name="nobody", password=WRONG)
    client.ask(1, name="ann", token="canary-token")
    client.ask(1, name="ann", password=PASSWORD, device=5)
    client.write(f'{{"msgid":1,"name":"ann","password":"{PASSWORD}"\n'.encode())
    client.write(f'{{"msgid":99,"msg":"{BODY}"}}\n'.encode())
    client.login(name="ann", password=PASSWORD)
    client.ask(28, old=WRONG, new=NEW)
    client.done(28, old=PASSWORD, new=NEW)
    client.done(8, groupname="group", groupdesc="canary-description")
    say(client)
    client.ask(6, toid=client.id, msg=BODY * 1_000)
    with Client(server) as cut_off:
        cut_off.write(b'{"msgid":28,"old":"canary-cut-off')
    return client


def logged(server: Server) -> str:
    """End the server, so that all of its log is written, and return that: it knows no secret."""
    if server.running:
        server.stop()
    log = server.log.read_text() + server.ready
    assert "canary" not in log
    assert "парол" not in log
    assert r"\xD0\xBF" not in log.replace(r"\\", "\\")
    if server.database.exists():
        ((secret,),) = server.rows("SELECT value FROM Setting WHERE name = 'token_secret'")
        assert secret not in log
    assert "$argon2" not in log
    return log


@pytest.fixture
def server(start: Start) -> Server:
    return start("--log-level", "debug", expected=ANYTHING)


def test_the_log_has_no_secret_and_no_text_when_all_is_well(server: Server) -> None:
    with live(server) as client:
        token = client.token
    assert token not in logged(server)


def test_nor_when_the_disk_is_full(server: Server) -> None:
    with live(server) as client:
        fill_disk(server)
        say(client)
        client.ask(28, old=NEW, new="canary-newer")
        client.ask(4, name="bob", password=PASSWORD)
    assert "the database fails" in logged(server)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE Message",
        "CREATE TRIGGER t BEFORE INSERT ON Message BEGIN SELECT RAISE(ABORT, 'broken'); END",
        "CREATE TRIGGER t BEFORE UPDATE ON User BEGIN SELECT no_such_function(NEW.password); END",
    ],
)
def test_nor_when_the_database_is_hostile(server: Server, damage: str) -> None:
    with live(server) as client:
        with closing(sqlite3.connect(server.database, timeout=20.0)) as db:
            db.execute(damage)
        for _ in range(2):
            say(client)
        client.ask(28, old=NEW, new="canary-newer")
    log = logged(server)
    assert "the database fails" in log or "Traceback" in log


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE Message MODIFY body TEXT CHARACTER SET latin1",
        "ALTER TABLE Message MODIFY body VARCHAR(3) CHARACTER SET utf8mb4",
        "ALTER TABLE Message ADD UNIQUE (body(40))",
        "DROP TABLE Message",
    ],
)
def test_nor_when_it_is_a_mariadb(start: Start, mariadb: MariaDb, damage: str) -> None:
    server = start("--log-level", "debug", "--store", mariadb.fresh(), expected=ANYTHING)
    with live(server) as client:
        mariadb.run("DELETE FROM Message", damage, database="chat")
        for _ in range(2):
            client.ask(6, toid=client.id, msg=BODY)
    log = logged(server)
    assert "the database fails" in log or "Traceback" in log
    assert "s3cret" not in log


def test_a_url_of_the_environment_or_of_a_file_is_in_no_process_title(start: Start, tmp_path: Path) -> None:
    """On the command line ps would show it to everybody: conf/supervisord.conf and SECURITY.md say so."""
    file = tmp_path / "greenchat.toml"
    file.write_text('bus = "local://:canary@"\n')
    server = start("--config", str(file), env={"GREENCHAT_ADMIN": "127.0.0.1:0"})
    title = Path(f"/proc/{server.process.pid}/cmdline").read_text()
    assert "greenchat.server" in title
    assert "canary" not in title
    assert (Path(f"/proc/{server.process.pid}/environ").stat().st_mode & 0o077) == 0
    assert "canary" not in server.ready


def test_settings_show_no_url() -> None:
    settings = Settings(store="mysql+pymysql://u:canary@host/chat", bus="redis://:canary@host")
    assert "canary" not in repr(settings)
    assert "canary" not in f"{settings}"
    assert "max_frame" in repr(settings)


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_dependencies_are_pinned(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if line and not line.startswith(("#", "-r "))]
    assert lines
    assert [line for line in lines if not re.match(r"[\w.-]+==[\w.]+( ;|$)", line)] == []

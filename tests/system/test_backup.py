"""The commands of docs/deployment.md for backup and restore of SQLite, while messages are written."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lab import ROOT
from tests.servers import need
from tests.system.server import DEADLINE, Client, Server, join

PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def block_with(words: str) -> str:
    """Return the commands of the page that have these words, for the database of the tests."""
    block: str
    (block,) = [block for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.M | re.S) if words in block]
    return block.replace("greenchat.db", "chat.db")


BACKUP, RESTORE = block_with("VACUUM INTO"), block_with("install -m 600")


def type_in(server: Server, commands: str) -> int:
    """Have a shell of a careless umask run commands in the folder of a server."""
    need("sqlite3")
    shell = ["sh", "-c", f"umask 022\n{commands}"]
    return subprocess.run(shell, cwd=server.folder, timeout=DEADLINE, check=False).returncode


@contextmanager
def writing(server: Server, client: Client) -> Iterator[list[int]]:
    """Send messages all the time during the block; yields how many have been acknowledged."""
    acknowledged, over = [0], threading.Event()

    def write() -> None:
        while not over.is_set():
            client.done(6, toid=client.id, msg="x" * 1_000)
            acknowledged[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield acknowledged
    finally:
        over.set()
        writer.join(DEADLINE)
    assert not writer.is_alive()


def messages(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        count: int = db.execute('SELECT count(*) FROM "Message"').fetchone()[0]
        return count


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


def test_a_backup_while_people_write_is_whole_and_its_owners_alone(start: Callable[..., Server]) -> None:
    server = start()
    backup = server.folder / "greenchat-backup.db"
    with join(server, "Ann") as ann, writing(server, ann) as acknowledged:
        for _ in range(3):
            before = acknowledged[0]
            assert type_in(server, BACKUP) == 0
            assert before <= messages(backup) <= acknowledged[0] + 1
            assert mode(backup) == "0o600"
    assert not list(server.folder.glob("*.new*"))


def test_a_backup_that_fails_leaves_the_last_one(start: Callable[..., Server]) -> None:
    server = start()
    with join(server, "Ann") as ann:
        ann.done(6, toid=ann.id, msg="x")
        assert type_in(server, BACKUP) == 0
    cut_off = BACKUP.replace("PRAGMA integrity_check", "PRAGMA user_version")
    assert cut_off != BACKUP
    assert type_in(server, cut_off) != 0
    assert messages(server.folder / "greenchat-backup.db") == 1


def test_a_restore_brings_back_what_was_backed_up_and_ends_all_tokens(start: Callable[..., Server]) -> None:
    server = start()
    with join(server, "Ann") as ann:
        ann.done(6, toid=ann.id, msg="before")
        assert type_in(server, BACKUP) == 0
        ann.done(6, toid=ann.id, msg="after")
    server.kill()
    assert type_in(server, RESTORE) == 0
    assert mode(server.database) == "0o600"
    server.start()
    with Client(server) as again:
        assert again.ask(1, id=ann.id, token=ann.token)["errno"] == 1
        again.login(name="Ann", password="pw")
        shown = again.done(15, peerid=ann.id)["messages"]
    assert [message["msg"] for message in shown] == ["before"]

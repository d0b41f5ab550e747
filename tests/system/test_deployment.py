"""What docs/deployment.md says of rights and of a restore is so."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from time import monotonic, sleep

import redis as client

from greenchat.client import Client, ConnectionEvent, Message
from lab import ROOT
from lab.cluster.smoke_test import smoke_test
from lab.servers.mariadb import MariaDb
from lab.servers.nginx import Front, Nginx
from lab.servers.program import DEADLINE, find, free_port, free_ports
from lab.servers.redis import Redis
from lab.servers.supervisord import Supervisord
from tests.servers import need, private
from tests.system.server import Server

PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def typed_into(program: str) -> list[list[str]]:
    """Return the lines of each text on the page that a program reads."""
    return [text.splitlines() for text in re.findall(rf"^{program} <<'END'\n(.*?)^END$", PAGE, re.M | re.S)]


def test_the_least_rights_are_enough_for_a_cluster(mariadb: MariaDb) -> None:
    need("nginx")
    (statements,) = typed_into("mariadb")
    (commands,) = typed_into("redis-cli")
    mariadb.run(*(statement.replace("chat@", "least@") for statement in statements))
    mariadb.load(ROOT / "chat.sql", "chat")
    with private(Redis) as redis, redis.connect() as root, ExitStack() as started:
        for command in commands:
            root.execute_command(*command.split())
        settings = {
            "GREENCHAT_STORE": f"mysql+pymysql://least:PASSWORD@127.0.0.1:{mariadb.port}/chat",
            "GREENCHAT_BUS": f"redis://greenchat:PASSWORD@127.0.0.1:{redis.port}/0",
            "GREENCHAT_WEB": "127.0.0.1:+2",
        }
        folders = [Path(started.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        servers = Supervisord(folders[0], 2, free_ports(4), settings)
        web = Front(free_port(), [port + 2 for port in servers.ports])
        nginx = Nginx(folders[1], servers.ports, free_port(), web)
        for program in (nginx, servers):
            started.callback(program.stop)
            program.start()
        for port in servers.ports:
            servers.wait_for(port)
        smoke_test(servers, nginx.port, web.port, print)
        ask_about_friends(nginx.port)
        servers.stop_server(servers.ports[0])
        wait_for_key(root, "greenchat:*:clean:*")  # the other one has cleaned up
        assert root.execute_command("ACL", "LOG") == []


def ask_about_friends(port: int) -> None:
    """Let a client ask what is answered from Redis."""
    with Client("127.0.0.1", port) as client:
        other = client.register("other", "pw")
        client.register("asking", "pw")
        client.login("asking", "pw")
        client.add_friend(other)
        for _ in range(2):
            assert client.are_friends([other]) == [other]
        client.remove_friend(other)
        assert client.are_friends([other]) == []


def wait_for_key(redis: client.Redis, pattern: str) -> None:
    end = monotonic() + DEADLINE
    while not redis.keys(pattern):
        assert monotonic() < end
        sleep(0.02)


def test_after_a_restore_as_on_the_page_no_client_goes_on_and_new_ones_hear_all(
    start: Callable[..., Server], mariadb: MariaDb, tmp_path: Path
) -> None:
    server = start("--store", mariadb.fresh("chat_restored"), calm=False)
    with Client("127.0.0.1", server.port) as ann:
        for name in ("ann", "bob"):
            ann.register(name, "pw")
        ann.login("ann", "pw")
        ann.chat(2, "before the backup")
        dump(mariadb, "chat_restored", tmp_path / "backup.sql")
        ann.chat(2, "after the backup")
        server.stop()
        mariadb.fresh("chat_restored")
        mariadb.load(tmp_path / "backup.sql", "chat_restored")
        (statement,) = re.findall(r'^mariadb chat -e "(DELETE .*)"$', PAGE, re.M)
        mariadb.run(statement, database="chat_restored")
        server.start()
        events = (push for push in ann.pushes() if isinstance(push, ConnectionEvent))
        assert next(event for event in events if event.kind == "ended")
    with Client("127.0.0.1", server.port) as ann, Client("127.0.0.1", server.port) as bob:
        ann.login("ann", "pw")
        bob.login("bob", "pw")
        assert ann.chat(2, "after the restore").seq == 2
        heard = [push for push in islice(bob.pushes(DEADLINE), 3) if isinstance(push, Message)]
        assert [message.text for message in heard] == ["before the backup", "after the restore"]


def dump(mariadb: MariaDb, database: str, path: Path) -> None:
    with path.open("wb") as file:
        subprocess.run(
            [
                find("mariadb-dump"),
                "--no-defaults",
                f"--socket={mariadb.folder / 'sock'}",
                "--user=root",
                "--single-transaction",
                "--quick",
                database,
            ],
            stdout=file,
            check=True,
            timeout=DEADLINE,
        )

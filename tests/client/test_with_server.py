"""The library against a real server: two JSON libraries and two implementations hold one wire."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import Queue
from time import monotonic
from typing import Any

import pytest

from greenchat import errors
from greenchat.client import (
    Backoff,
    Client,
    ConnectionEvent,
    Message,
    MessageRecall,
    PresenceChange,
    Push,
    in_group,
    with_user,
)
from lab.servers.node import environment
from tests.system.server import DEADLINE, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.close()


class User(Client):
    """A registered user; what comes is put into ``got``."""

    def __init__(self, server: Server, name: str) -> None:
        self.got: Queue[Push] = Queue()
        super().__init__("127.0.0.1", server.port, on_push=self.got.put, backoff=Backoff(0.05, 0.2))
        self.id = self.register(name, "secret")
        self.login(self.id, "secret")

    def next(self, kind: type) -> Any:
        """Wait for the next push of this kind, passing over others."""
        while not isinstance(push := self.got.get(timeout=DEADLINE), kind):
            pass
        return push


def test_every_request_is_understood(server: Server) -> None:
    with User(server, "ann") as ann, User(server, "bob 🎈") as bob:
        assert ann.add_friend(bob.id) == {"id": bob.id, "name": "bob 🎈", "state": "online"}
        assert ann.are_friends([ann.id, bob.id]) == [bob.id]
        assert ann.find_user("bob 🎈")["id"] == bob.id
        group = ann.create_group("team", "all")
        assert bob.join_group(group)["count"] == 2
        assert bob.find_group("team") == {"id": group, "groupname": "team", "groupdesc": "all", "count": 2}
        assert [user["id"] for user in ann.group_info(group, after=ann.id)["users"]] == [bob.id]
        first = bob.group_chat(group, "grüß\n\u2028dich")
        assert ann.next(Message)[:5] == (in_group(group), first.seq, bob.id, "bob 🎈", "grüß\n\u2028dich")
        ann.typing(in_group(group))
        ann.read(in_group(group), first.seq)
        recalled = ann.recall(in_group(group), first.seq)
        assert bob.next(MessageRecall)[:4] == (in_group(group), recalled.seq, ann.id, first.seq)
        gone, recall = ann.history(in_group(group), day=first.time[:10]).entries
        assert isinstance(gone, Message)
        assert (gone.text, recall.seq) == (None, recalled.seq)
        bob.leave_group(group)
        with pytest.raises(errors.NotAMember):
            bob.group_chat(group, "too late")
        bob.block(ann.id)
        assert ann.next(PresenceChange) == (bob.id, "offline")
        with pytest.raises(errors.Blocked):
            ann.chat(bob.id, "hi")
        bob.unblock(ann.id)
        bob.change_password("secret", "new")
        assert bob.sync() is False
        bob.logout()
        with pytest.raises(errors.BadCredentials):
            bob.login("bob 🎈", "secret")
        assert bob.login("bob 🎈", "new").id == bob.id
        ann.remove_friend(bob.id)


def test_all_that_was_missed_comes_in_order_page_by_page(server: Server) -> None:
    with User(server, "ann") as ann, User(server, "bob") as bob:
        bob.logout()
        for number in range(230):
            ann.chat(bob.id, str(number))
        bob.login("bob", "secret")
        assert [bob.next(Message).text for _ in range(230)] == [str(number) for number in range(230)]
        ann.chat(bob.id, "live")
        assert bob.next(Message)[1:] == (231, ann.id, "ann", "live", *bob_time(bob), None, False)


HANDLE = """
import sys
from greenchat.client import Client, Message
with Client("127.0.0.1", int(sys.argv[1])) as client:
    client.login("ann", "secret", force=True)
    for push in client.pushes():
        if isinstance(push, Message):
            print(push.text, flush=True)
            if push.text == sys.argv[2]:
                sys.exit("a bug of the application")
            if push.text == "end":
                break
"""


def handle(server: Server, fails_at: str) -> list[str]:
    """Run a program that handles ann's messages, and fails over one of them; return what it was given."""
    ran = subprocess.run(
        [sys.executable, "-c", HANDLE, str(server.port), fails_at],
        env=environment(),
        timeout=DEADLINE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ("a bug of the application\n" if ran.returncode else "")
    return ran.stdout.split()


def test_a_program_that_fails_over_a_message_gets_it_again(server: Server) -> None:
    with Client("127.0.0.1", server.port) as nobody:
        ann = nobody.register("ann", "secret")
    with User(server, "bob") as bob:
        for text in ("one", "two", "end"):
            bob.chat(ann, text)
    assert handle(server, fails_at="two") == ["one", "two"]
    assert handle(server, fails_at="")[-2:] == ["two", "end"]
    with User(server, "cleo") as cleo:
        cleo.chat(ann, "end")
    assert handle(server, fails_at="two") == ["end"], "what was done does not come again"


def test_a_client_outlives_its_first_token(tmp_path: Path) -> None:
    """Connected longer than a token lives, then the server is restarted; a friend notices only that."""
    lifetime = 12.0  # a busy machine needs most of it for the restart
    with (
        closing(Server(tmp_path, "--token-days", lifetime / 86_400)) as server,
        Client("127.0.0.1", server.port, backoff=Backoff(0.05, 0.2), renew_after=1.0) as ann,
        User(server, "bob") as bob,
    ):
        bob.add_friend(ann.register("ann", "secret"))
        first = ann.login("ann", "secret")
        expired = monotonic() + lifetime + 1.0
        while monotonic() < expired:
            push = next(ann.pushes(DEADLINE))
            assert isinstance(push, ConnectionEvent)
            assert push.kind in ("connected", "renewed")
        assert bob.next(PresenceChange) == (first.id, "online")
        assert not [push for push in bob.got.queue if isinstance(push, PresenceChange)]
        server.kill()
        server.start()
        assert ann.find_user("ann")["id"] == first.id
        with Client("127.0.0.1", server.port) as other, pytest.raises(errors.BadCredentials):
            other.login("ann", token=first.token)


def bob_time(bob: User) -> tuple[str]:
    return (bob.history(with_user(1), limit=1).entries[0].time,)


def test_nothing_is_lost_doubled_or_overtaken_while_the_server_is_killed(server: Server) -> None:
    with User(server, "ann") as ann, User(server, "bob") as bob, ThreadPoolExecutor() as pool:
        sending = pool.submit(lambda: [ann.chat(bob.id, str(number)).seq for number in range(400)])
        for killed_at in (50, 150):
            while bob.next(Message).seq != killed_at:
                pass
            server.kill()
            server.start()
        assert sending.result(60) == list(range(1, 401))
        rest = [bob.next(Message) for _ in range(250)]
        assert [(message.seq, message.text) for message in rest] == [(n, str(n - 1)) for n in range(151, 401)]
        assert bob.got.qsize() == len([push for push in bob.got.queue if not isinstance(push, Message)])

"""The contract of both clients, blocking and asyncio, with a real server: alive, killed, stopped, slow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import Queue
from signal import SIGCONT, SIGSTOP
from time import monotonic
from typing import Any, Self

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
from lab.background import background
from lab.faults.proxy import FaultProxy
from lab.servers.node import environment
from tests.client.conftest import New
from tests.system.server import DEADLINE, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.close()


class User:
    """A client of a registered user, with the client's methods; what comes is put into ``got``."""

    def __init__(self, new: New, server: Server, name: str) -> None:
        self.got: Queue[Push] = Queue()
        self._client = new("127.0.0.1", server.port, on_push=self.got.put, backoff=Backoff(0.05, 0.2))
        self.id = self._client.register(name, "secret", timeout=DEADLINE)
        self._client.login(self.id, "secret", timeout=DEADLINE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def next(self, kind: type) -> Any:
        """Wait for the next push of this kind, passing over others."""
        while not isinstance(push := self.got.get(timeout=DEADLINE), kind):
            pass
        return push

    def next_event(self, kind: str) -> ConnectionEvent:
        """Wait for the next event of this kind, passing over others."""
        while (event := self.next(ConnectionEvent)).kind != kind:
            pass
        assert isinstance(event, ConnectionEvent)
        return event


def test_every_request_is_understood(new: New, server: Server) -> None:
    with User(new, server, "ann") as ann, User(new, server, "bob 🎈") as bob:
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


def test_all_that_was_missed_comes_in_order_page_by_page(new: New, server: Server) -> None:
    with User(new, server, "ann") as ann, User(new, server, "bob") as bob:
        bob.logout()
        for number in range(230):
            ann.chat(bob.id, str(number))
        bob.login("bob", "secret")
        assert [bob.next(Message).text for _ in range(230)] == [str(number) for number in range(230)]
        ann.chat(bob.id, "live")
        assert bob.next(Message)[1:] == (231, ann.id, "ann", "live", *bob_time(bob), None, False)


THREADS = """
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


ASYNCIO = """
import asyncio, sys
from greenchat.client.aio import Client, Message
async def main():
    async with Client("127.0.0.1", int(sys.argv[1])) as client:
        await client.login("ann", "secret", force=True)
        async for push in client.pushes():
            if isinstance(push, Message):
                print(push.text, flush=True)
                if push.text == sys.argv[2]:
                    sys.exit("a bug of the application")
                if push.text == "end":
                    break
asyncio.run(main())
"""


def handle(program: str, server: Server, fails_at: str) -> list[str]:
    """Run a program that handles ann's messages, and fails over one of them; return what it was given."""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(server.port), fails_at],
        env=environment(),
        timeout=DEADLINE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ("a bug of the application\n" if ran.returncode else "")
    return ran.stdout.split()


@pytest.mark.parametrize(("new", "program"), [("threads", THREADS), ("asyncio", ASYNCIO)], indirect=["new"])
def test_a_program_that_fails_over_a_message_gets_it_again(new: New, server: Server, program: str) -> None:
    with Client("127.0.0.1", server.port) as nobody:
        ann = nobody.register("ann", "secret")
    with User(new, server, "bob") as bob:
        for text in ("one", "two", "end"):
            bob.chat(ann, text)
    assert handle(program, server, fails_at="two") == ["one", "two"]
    assert handle(program, server, fails_at="")[-2:] == ["two", "end"]
    with User(new, server, "cleo") as cleo:
        cleo.chat(ann, "end")
    assert handle(program, server, fails_at="two") == ["end"], "what was done does not come again"


@pytest.mark.parametrize("new", ["threads"], indirect=True)
def test_a_client_outlives_its_first_token(new: New, tmp_path: Path) -> None:
    """Connected longer than a token lives, then the connection breaks; a friend notices only that."""
    lifetime = 12.0
    with (
        closing(Server(tmp_path, "--token-days", lifetime / 86_400)) as server,
        background() as aside,
        closing(FaultProxy(aside, server.port)) as line,
        Client("127.0.0.1", line.port, backoff=Backoff(0.05, 0.2), renew_after=1.0) as ann,
        User(new, server, "bob") as bob,
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
        line.cut()
        line.heal()
        assert ann.find_user("ann", timeout=DEADLINE)["id"] == first.id
        with Client("127.0.0.1", server.port) as other, pytest.raises(errors.BadCredentials):
            other.login("ann", token=first.token)


def bob_time(bob: User) -> tuple[str]:
    return (bob.history(with_user(1), limit=1).entries[0].time,)


def test_nothing_is_lost_doubled_or_overtaken_while_the_server_is_killed(new: New, server: Server) -> None:
    with User(new, server, "ann") as ann, User(new, server, "bob") as bob, ThreadPoolExecutor() as pool:
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


def test_a_server_that_shuts_down_is_come_back_to_when_it_says(new: New, server: Server) -> None:
    with User(new, server, "ann") as ann, User(new, server, "bob") as bob, ThreadPoolExecutor() as pool:
        assert ann.chat(bob.id, "before").seq == 1
        assert server.stop() == 0
        lost = ann.next_event("lost")
        assert lost.reason == "shutdown"
        assert lost.retry_in is not None
        assert lost.retry_in > 0
        sending = pool.submit(ann.chat, bob.id, "while away", timeout=DEADLINE)
        server.start()
        assert ann.next_event("back").login == ann.login_info
        assert sending.result(DEADLINE).seq == 2
        assert [bob.next(Message).text for _ in range(2)] == ["before", "while away"]


def test_a_server_that_stands_still_is_left_and_nothing_is_sent_twice(new: New, tmp_path: Path) -> None:
    options = ("--heartbeat-interval", 0.2, "--max-missed", 3)
    with (
        closing(Server(tmp_path, *options)) as server,
        User(new, server, "ann") as ann,
        User(new, server, "bob") as bob,
        ThreadPoolExecutor() as pool,
    ):
        server.tell(SIGSTOP)
        sending = pool.submit(ann.chat, bob.id, "slow", timeout=DEADLINE)
        assert ann.next_event("lost").reason == "the server gave no sign of life"
        server.tell(SIGCONT)
        assert sending.result(DEADLINE).seq == 1
        assert ann.chat(bob.id, "again", timeout=DEADLINE).seq == 2
        assert [bob.next(Message).text for _ in range(2)] == ["slow", "again"]


def test_a_line_that_is_narrow_and_late_only_delays(new: New, server: Server) -> None:
    with (
        background() as aside,
        closing(FaultProxy(aside, server.port)) as line,
        new("127.0.0.1", line.port, timeout=DEADLINE) as ann,
    ):
        me = ann.register("ann", "secret")
        ann.login("ann", "secret")
        line.delay(0.2)
        line.throttle(20_000)
        text = "x" * 4_000
        assert [ann.chat(me, text, timeout=DEADLINE).seq for _ in range(3)] == [1, 2, 3]
        assert len(ann.history(with_user(me)).entries) == 3

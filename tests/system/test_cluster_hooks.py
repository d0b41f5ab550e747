"""An outgoing hook in a cluster: one node sends, and another one takes over from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from lab.background import background
from lab.fleet import Fleet
from lab.servers.mariadb import MariaDb
from lab.servers.node import Node
from lab.servers.redis import Redis
from tests.servers import private
from tests.system.hooks import OPTIONS, Receiver, done, until
from tests.system.server import Client, join

ONE_CHAT, FIND = 6, 30

LOGIN = "name='echo' device='hook-"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    with background() as aside, private(MariaDb) as mariadb, private(Redis) as redis:
        fleet = Fleet(tmp_path, aside, mariadb, redis, 2, OPTIONS, direct=True)
        with closing(fleet):
            fleet.start()
            yield fleet.nodes


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path / "receiver")
    receiver.start()
    yield receiver
    receiver.stop()


def test_one_node_sends_and_the_other_follows_it(nodes: list[Node], receiver: Receiver) -> None:
    secret = done(nodes[0].folder, "hook", "add-out", "--bot", "echo", receiver.url)
    until(lambda: any(LOGIN in node.log for node in nodes))
    sent = 0

    def say(client: Client, count: int = 5) -> None:
        nonlocal sent
        for _ in range(count):
            sent += 1
            client.send(ONE_CHAT, toid=bot, msg=f"{sent}", cid=f"m{sent}")
            client.wait(cid=f"m{sent}", errno=0)

    def all_came() -> bool:
        return len(set(receiver.ids)) == sent

    with ExitStack() as ends:
        (holder,) = [node for node in nodes if LOGIN in node.log]
        (other,) = [node for node in nodes if node is not holder]
        ann, bob = (ends.enter_context(join(node, name)) for node, name in ((holder, "ann"), (other, "bob")))
        bot = ann.done(FIND, name="echo")["user"]["id"]
        say(ann)
        say(bob)
        until(all_came)
        assert len(receiver.ids) == sent  # so nothing was sent twice

        holder.kill()
        say(bob)
        until(all_came)
        repeated = len(receiver.ids) - sent
        assert repeated <= 2  # the last one of each conversation: its answer may not have been noted
        assert LOGIN in other.log

        holder.start()
        other.interrupt()  # in order: what is under way is finished
        with Client(holder) as carl:
            carl.login(name="bob", password="pw", device="phone")
            say(carl)
        until(all_came)
        assert len(receiver.ids) == sent + repeated
    receiver.check_signatures(secret)
    assert [node for node in nodes if "Traceback" in node.log] == []

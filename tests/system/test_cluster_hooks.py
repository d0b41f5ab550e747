"""An outgoing hook in a cluster: one node sends, and another one takes over from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.background import background
from lab.fleet import Fleet
from lab.servers.mariadb import MariaDb
from lab.servers.node import Node
from lab.servers.redis import Redis
from tests.servers import private
from tests.system.hooks import OPTIONS, Receiver, done, until
from tests.system.server import join

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

    def say(node: Node, count: int) -> None:
        nonlocal sent
        with join(node, f"ann{sent}") as ann:
            toid = ann.done(FIND, name="echo")["user"]["id"]
            for _ in range(count):
                sent += 1
                ann.done(ONE_CHAT, toid=toid, msg=f"{sent}")

    for node in nodes:
        say(node, 20)
    until(lambda: len(receiver.got) == 40)
    assert len(set(receiver.ids)) == 40  # so nothing was sent twice
    (holder,) = [node for node in nodes if LOGIN in node.log]
    (other,) = [node for node in nodes if node is not holder]

    holder.kill()
    say(other, 20)
    until(lambda: len(set(receiver.ids)) == 60)
    assert LOGIN in other.log
    holder.start()
    say(holder, 20)
    until(lambda: len(set(receiver.ids)) == 80)
    repeated = len(receiver.ids) - 80
    assert repeated <= 1  # the last one before the kill: its answer may not have been noted

    other.interrupt()  # in order: what is under way is finished
    say(holder, 20)
    until(lambda: len(set(receiver.ids)) == 100)
    assert len(receiver.ids) == 100 + repeated
    receiver.check_signatures(secret)

    other.start()
    assert "  on" in done(other.folder, "hook", "list")
    done(other.folder, "hook", "remove", 1)  # at the node that does not send
    with join(other, "bob") as bob:
        until(lambda: bob.done(FIND, name="echo")["user"]["state"] == "offline")
    assert [node for node in nodes if "Traceback" in node.log] == []

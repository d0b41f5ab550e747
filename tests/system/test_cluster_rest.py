"""REST and events in a cluster: any node will do, and a device's stream moves from one to another."""

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
from tests.system.rest import Caller
from tests.system.server import join

ABOVE = 13_000
"""The web port of a node above its own: below those that the kernel gives out."""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    with background() as aside, private(MariaDb) as mariadb, private(Redis) as redis:
        options = ("--web", f"127.0.0.1:+{ABOVE}", "--heartbeat-interval", "60", "--login-timeout", "60")
        fleet = Fleet(tmp_path, aside, mariadb, redis, 2, options, direct=True)
        with closing(fleet):
            fleet.start()
            yield fleet.nodes


@pytest.mark.long
def test_any_node_will_do(nodes: list[Node]) -> None:
    one, other = nodes
    ann, bob = join(one, "ann"), join(other, "bob")
    _, token = Caller(one.port + ABOVE).begin("ann", "cron")
    here, there = (Caller(node.port + ABOVE, token) for node in nodes)
    body = {"user": "bob", "text": "once"}
    assert here.post("/api/v1/messages", body, Idempotency_Key="k").status == 201
    assert bob.wait(msgid=6)["msg"] == "once"

    stream = here.events()
    stream.next("login")
    for text in "ab":
        bob.done(6, toid=ann.id, msg=text)
    first, second = stream.next(), stream.next()
    assert (first.data["msg"], second.data["msg"]) == ("a", "b")
    one.kill()
    assert list(stream) == []
    again = there.post("/api/v1/messages", body, Idempotency_Key="k")
    assert (again.status, again.json["seq"]) == (200, 1)
    stream = there.events(last=first.id)
    assert stream.next().data["msg"] == "b"

    one.start()
    newer = here.events(last=second.id)
    assert stream.next("bye").data["reason"] == "replaced"
    newer.next("login")
    bob.done(6, toid=ann.id, msg="c")
    assert newer.next().data["msg"] == "c"
    assert there.call("DELETE", "/session").status == 204
    assert newer.next("bye").data["reason"] == "replaced"
    assert here.get("/api/v1/me").errno == 1
    bob.sock.close()
    assert [node for node in nodes if "Traceback" in node.log] == []

"""Whatever peers do, two innocent people chat on, and the server's memory stays within bounds.

What is done, and by how many, is in lab/hostile/scenarios.py, which also measures how long the innocents
wait: no test here asserts speed.  There they fail the test if a message of theirs is lost, doubled or
out of order, a heartbeat is not answered, or one of them is thrown out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from lab.fill import Filling
from lab.hostile import innocents
from lab.hostile import scenarios as hostile
from lab.hostile.innocents import Innocent, Pair
from lab.machine import forget_peak, peak_mib, rss_mib
from lab.servers.program import LabError
from tests.servers import need
from tests.system.server import Server

SECONDS = 1.0
"""How long each attack lasts."""

GROWTH = 64.0
"""MiB that the server may grow by under any of these attacks."""

UNREAD = 100_000

RESEMBLE_OTHERS = {
    "web: silent connections",
    "web: oversized heads",
    "web: pipelined, unread",
    "web: tiny chunks",
    "web: connections that go",
}


def is_long(name: str) -> bool:
    """Return True for an attack that another one resembles, but for the limits that are held."""
    return name.endswith(", exempt") or f"{name}, held" in hostile.SCENARIOS or name in RESEMBLE_OTHERS


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if is_long(name) else ())
        for name in hostile.SCENARIOS
        if name != "nobody"
    ],
)
def test_the_innocent_chat_on_and_memory_is_bounded(name: str, tmp_path: Path) -> None:
    if hostile.SCENARIOS[name].in_cluster:
        need("redis-server")
    met = hostile.run(name, tmp_path, SECONDS)
    assert met["rss_peak_mib"] - met["rss_before_mib"] <= GROWTH


def test_innocents_that_wait_long_for_an_answer_are_not_thrown_out(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(innocents, "DEADLINE", 3.0)
    server = start()
    assert server.stop() == 0
    with closing(Filling(f"sqlite:///{server.database}")) as fill:
        ann, bob = fill.people(2)
    server.options = ("--heartbeat-interval", 0.4)  # two seconds of silence are too long
    server.start()
    address = (server.host, server.port)
    with closing(Pair(Innocent(address, ann), Innocent(address, bob))) as pair:
        with pytest.raises(LabError, match="hears nothing"):
            pair.one.read()
        pair.round()


def test_who_comes_to_many_unread_messages_gets_all_in_order_and_disturbs_nobody(
    start: Callable[..., Server],
) -> None:
    server = start()
    assert server.stop() == 0
    texts = [f"text {number}" for number in range(1, UNREAD + 1)]
    with closing(Filling(f"sqlite:///{server.database}")) as fill:
        ann, bob, sender, receiver = fill.people(4)
        fill.unread(sender.id, receiver.id, texts)
    server.start()
    address = (server.host, server.port)
    pair = Pair(Innocent(address, ann), Innocent(address, bob))
    pair.round()
    before = rss_mib(server.process.pid)
    forget_peak(server.process.pid)
    reader = Innocent(address, receiver)
    page, got, more = reader.welcome, 0, True
    while more:
        for entry in page["offlinemsg"]:
            got += 1
            assert (entry["seq"], entry["msg"]) == (got, texts[got - 1])
        more = page["more"]
        reader.send(msgid=13, peerid=sender.id, seq=got)
        reader.send(msgid=25)
        pair.round()
        page = reader.read()
    assert got == UNREAD
    assert page["offlinemsg"] == []
    assert peak_mib(server.process.pid) - before <= GROWTH
    reader.sock.close()
    pair.close()

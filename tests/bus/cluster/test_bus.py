"""The cluster's algorithm over another broker than Redis: it needs no more than the two ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from greenchat.bus import Backend
from greenchat.bus.cluster import bus as module
from greenchat.bus.cluster import failure_detector
from greenchat.bus.cluster.bus import ClusterBus
from greenchat.bus.local.counters import LocalCounters
from greenchat.bus.local.friends import LocalFriends
from greenchat.model.records import Node, Seat
from tests.bus.cluster.broker import Broker, MemoryRegistry, MemoryTransport
from tests.bus.contract import CONTRACT, Recorder, until


class Member:
    """A node of the cluster, by its name."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.node = Node(name, 1)
        self.listener = Recorder()
        self.transport = MemoryTransport(broker)
        self.bus = ClusterBus(self.transport, MemoryRegistry(broker))
        self.bus.open("cluster", name)
        self.bus.start(self.node, self.listener, [])

    def login(self, userid: int, device: str) -> list[Seat]:
        self.listener.here[userid] = [device]
        return self.bus.refresh(userid)


Join = Callable[[str], Member]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def join(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Join]:
    """Return a function that starts a node and waits until all nodes know each other."""
    monkeypatch.setattr(module, "TICK", 0.02)
    monkeypatch.setattr(module, "PULSE", 0.02)
    monkeypatch.setattr(failure_detector, "GRACE", 0.05)
    members: list[Member] = []

    def start(name: str) -> Member:
        members.append(Member(broker, name))
        ends.callback(members[-1].bus.close)
        until(lambda: all(len(member.bus.nodes()) == len(members) - 1 for member in members))
        return members[-1]

    with ExitStack() as ends:
        yield start


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_it_keeps_the_contract(rule: Callable[[Backend, Recorder], None], join: Join) -> None:
    one = join("a")
    rule(Backend(one.bus, LocalCounters(), LocalFriends()), one.listener)


def test_users_and_events_reach_the_other_node(join: Join) -> None:
    a, b = join("a"), join("b")
    assert a.login(1, "phone") == []
    until(lambda: b.bus.online([1]) == {1})
    a.bus.send(["b"], b"event")
    until(lambda: b.listener.events == [b"event"])
    assert b.login(1, "desk") == [Seat("a", "phone")]


def test_a_lost_frame_makes_the_node_catch_up(broker: Broker, join: Join) -> None:
    a, b = join("a"), join("b")
    until(lambda: b.listener.caught_up > 0)
    a.bus.wait_acknowledged()
    before = b.listener.caught_up
    broker.lossy.add("b")
    sent = len(broker.asked)
    a.bus.send(["b"], b"event")
    until(lambda: "frame a" in broker.asked[sent:])
    broker.lossy.clear()
    until(lambda: b.listener.caught_up > before)
    assert b.listener.events == []


def test_a_new_connection_writes_the_lease_before_any_frame(broker: Broker, join: Join) -> None:
    """The broker may be another one by now, and know nothing of the users here."""
    a = join("a")
    a.login(1, "phone")
    broker.leases.clear()
    broker.asked.clear()
    a.transport.lose()
    until(lambda: "frame a" in broker.asked)
    assert broker.asked[0] == "enter a"
    assert broker.leases["a"] == (1, {1: ["phone"]})


def test_a_node_without_a_lease_is_cleaned_up_after_by_one_other(broker: Broker, join: Join) -> None:
    _, b, c = join("a"), join("b"), join("c")
    broker.dead.add("a")
    del broker.leases["a"]
    until(lambda: "a" not in [*b.bus.nodes(), *c.bus.nodes()])
    until(lambda: b.listener.buried or c.listener.buried)
    assert b.listener.buried + c.listener.buried == [Node("a", 1)]

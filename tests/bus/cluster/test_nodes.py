"""The other nodes, as one of them sees them: what is lost between two shows."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import pytest

from greenchat.bus.cluster.frames import Frame, Incoming, Outgoing
from greenchat.bus.cluster.nodes import OtherNodes
from greenchat.model.records import Node
from tests.bus.contract import Recorder

ME, OTHER = Node("me", 1), Node("other", 1)


class Redis:
    """Says who is online at a node, as the test has it."""

    users: Callable[[Node], set[int] | None] = staticmethod(lambda node: set())

    def read(self, node: Node) -> set[int] | None:
        return self.users(node)


@pytest.fixture
def redis() -> Redis:
    return Redis()


@pytest.fixture
def listener() -> Recorder:
    return Recorder()


@pytest.fixture
def peers(redis: Redis, listener: Recorder) -> OtherNodes:
    """All that this node knows: nobody yet."""
    return OtherNodes(ME, listener, redis.read, lambda: None, lambda node: None)


def sent(peers: OtherNodes) -> Frame:
    """Return the next frame to the other node."""
    peer = peers.get("other")
    assert peer is not None
    return peer.out.next(ME, OTHER, 0)


def test_a_node_that_was_forgotten_notices_that_it_was_told_nothing_meanwhile(peers: OtherNodes) -> None:
    """It was cut off for so long that it was taken for dead, but has not forgotten us."""
    there = Incoming()
    peers.add(OTHER)
    there.take(sent(peers))
    assert not there.take(sent(peers))
    peers.drop("other", 0)
    peers.add(OTHER)
    frame = sent(peers)
    assert there.fresh(frame)
    assert there.take(frame)


@pytest.mark.parametrize("noticed", [True, False], ids=["dropped", "replaced"])
def test_what_waited_for_a_node_that_is_gone_is_not_for_the_next_of_its_name(
    peers: OtherNodes, noticed: bool
) -> None:
    """It may be an hour old: whose session was to end has another, and who was here has left."""
    out = peers.add(OTHER).out
    out.add(b"a session ends")
    out.tell(7, True)
    if noticed:
        peers.drop("other", 0)
    peers.add(Node("other", 2))
    frame = sent(peers)
    assert frame.is_position
    assert Incoming().take(frame)  # and it looks for itself


def test_a_frame_that_is_missing_makes_a_node_read_again(peers: OtherNodes, redis: Redis) -> None:
    out = Outgoing()
    read: list[Node] = []

    def users(node: Node) -> set[int]:
        read.append(node)
        return set()

    redis.users = users
    for lost in (False, False, True):
        out.tell(7, True)
        frame = out.next(OTHER, ME, 0)
        if not lost:
            peers.take(frame)
    gevent.sleep(0)
    assert len(read) == 1  # at the first of all
    peers.take(out.next(OTHER, ME, 0))
    gevent.sleep(0)
    assert len(read) == 2


@pytest.mark.parametrize("reads", [False, True], ids=["at once", "while it is read"])
def test_what_a_node_that_leaves_told_last_is_looked_for_if_it_was_lost(
    peers: OtherNodes, redis: Redis, listener: Recorder, reads: bool
) -> None:
    out = Outgoing()
    peers.take(out.next(OTHER, ME, 0))
    gevent.sleep(0)
    before = listener.caught_up
    out.add(b"the last event")
    out.next(OTHER, ME, 0)  # lost
    peers.take(out.next(OTHER, ME, 0, leaving=True))
    if reads:
        redis.users = lambda node: gevent.sleep(0)
        gevent.sleep(0)
    peers.drop("other", 0)
    gevent.sleep(0)
    gevent.sleep(0)
    assert listener.caught_up > before


def test_a_node_counts_as_of_the_former_version_until_its_frame_says_otherwise(peers: OtherNodes) -> None:
    """Also one that is started anew: it may be put back to that version."""
    peers.add(OTHER)
    assert peers.former == {"other"}
    peers.take(Outgoing().next(OTHER, ME, 0))
    assert peers.former == set()
    again = Node("other", 2)
    peers.add(again)
    assert peers.former == {"other"}
    peers.take(Outgoing().next(again, ME, 0))
    older = Outgoing().next(Node("other", 3), ME, 0)._replace(version=1)
    peers.take(older)
    assert peers.former == {"other"}
    peers.drop("other", 0)
    assert peers.former == set()


def test_a_node_without_a_lease_is_read_again_until_it_has_one(
    peers: OtherNodes, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has lost its data, and with them the lease."""
    monkeypatch.setattr("greenchat.bus.cluster.nodes.TRY_AGAIN", 0)
    leases = iter([None, None, {7}])
    redis.users = lambda node: next(leases)
    peers.take(Outgoing().next(OTHER, ME, 0))
    for _ in range(5):
        gevent.sleep(0)
    assert peers.directory.online([7]) == {7}


def test_a_frame_of_an_earlier_start_that_comes_late_tells_nothing(peers: OtherNodes) -> None:
    before = Outgoing()
    before.tell(7, True)
    peers.add(Node("other", 2))
    peers.take(before.next(OTHER, ME, 0))
    assert not peers.directory.online([7])

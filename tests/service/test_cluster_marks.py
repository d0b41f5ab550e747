"""Read marks in a cluster: two devices of a user read at two nodes."""

from __future__ import annotations

from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, Line, people


def three_messages(cluster: Cluster) -> tuple[Line, Line, Line]:
    """Have ann write to bob; return both, and bob's tablet at a node of its own."""
    ann, bob, _ = people(cluster)
    tablet = cluster["c"].log_in(bob, device="tablet")
    for _ in range(3):
        ann.chat(bob)
    return ann, bob, tablet


def test_a_read_mark_does_not_go_back_at_another_node(cluster: Cluster) -> None:
    ann, bob, tablet = three_messages(cluster)
    tablet.send(MsgId.READ, peerid=ann.id, seq=1)  # so node c knows the mark as it was
    bob.send(MsgId.READ, peerid=ann.id, seq=3)
    tablet.send(MsgId.READ, peerid=ann.id, seq=2)
    assert [push["seq"] for push in ann.pushed(MsgId.READ)] == [1, 3]
    assert [push["seq"] for push in bob.pushed(MsgId.READ)] == [1]


def test_a_read_mark_that_comes_late_from_another_node_is_not_shown(cluster: Cluster) -> None:
    ann, bob, tablet = three_messages(cluster)
    with cluster.held("c", "a"):
        tablet.send(MsgId.READ, peerid=ann.id, seq=2)
        bob.send(MsgId.READ, peerid=ann.id, seq=3)
    cluster.run()
    assert [push["seq"] for push in ann.pushed(MsgId.READ)] == [3]


def test_a_mark_that_was_lost_on_the_way_is_found_in_the_database(cluster: Cluster) -> None:
    ann, bob, tablet = three_messages(cluster)
    with cluster.held("b", "c"):
        bob.send(MsgId.READ, peerid=ann.id, seq=3)
        cluster.lose("b", "c")
    cluster.pass_time(2)
    tablet.send(MsgId.READ, peerid=ann.id, seq=2)
    assert [push["seq"] for push in ann.pushed(MsgId.READ)] == [3]

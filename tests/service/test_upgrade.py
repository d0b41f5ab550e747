"""A cluster in the middle of a rolling upgrade: some nodes are sent the events of the former version."""

from __future__ import annotations

import pytest

from greenchat.protocol.messages import MsgId
from greenchat.service.delivery.node_events import decode_event
from tests.service.cluster import Cluster, people


@pytest.mark.parametrize("former", ["", "a", "b", "c", "ab", "bc", "abc"])
def test_all_comes_to_nodes_of_both_versions(cluster: Cluster, former: str) -> None:
    for bus in cluster.buses():
        bus.former = frozenset(former) - {bus.node.name}
    ann, bob, cem = people(cluster)
    phone = cluster["c"].log_in(ann, device="phone")
    groupid = bob.group("g", ann, cem)
    for person in (ann, bob, cem, phone):
        person.pushed()
    ann.chat(bob, "to bob", cid="mine")
    bob.say(groupid, "to all")
    assert [(frame["msg"], frame.get("cid")) for frame in phone.pushed()] == [
        ("to bob", "mine"), ("to all", None),
    ]  # fmt: skip
    assert [frame["msg"] for frame in bob.pushed()] == ["to bob"]
    assert [frame["msg"] for frame in (*ann.pushed(), *cem.pushed())] == ["to all", "to all"]
    ann.send(MsgId.TYPING, toid=bob.id)
    ann.ok(MsgId.RECALL, peerid=bob.id, target=1)
    bob.send(MsgId.READ, peerid=ann.id, seq=2)
    assert [frame["msgid"] for frame in bob.pushed()] == [26, 17]
    assert [frame["msgid"] for frame in phone.pushed()] == [17, 27]
    assert [frame["msgid"] for frame in ann.pushed()] == [27]


def test_only_nodes_of_the_former_version_are_sent_its_events(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob, cem)
    cluster["a"].bus.former = frozenset("b")
    with cluster.held(source="a"):
        ann.say(groupid)
        ann.send(MsgId.TYPING, groupid=groupid)
        events = {
            target: [item.event for wire in cluster.wires("a", target) for item in wire.items if item.event]
            for target in "bc"
        }
    assert [event[1] for event in events["b"]] == [1, 2]
    assert [event[1] for event in events["c"]] == [11, 12]
    assert list(map(decode_event, events["b"])) == list(map(decode_event, events["c"]))

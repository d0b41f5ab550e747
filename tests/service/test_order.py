"""Order across nodes: however entries come to a node, they are handed out by seq, each once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenchat.protocol.messages import MsgId
from greenchat.service.delivery import sequencer
from tests.service.cluster import Cluster, ClusterNode, Line, people
from tests.service.world import Person, seqs


def move(person: Person, node: ClusterNode) -> Line:
    """Let somebody acknowledge all that they have, and go to another node."""
    person.leave()
    person.world.cluster.pass_time(1)  # type: ignore[attr-defined]
    return node.log_in(person)


def received(person: Person, other: Person) -> list[int]:
    """Return what came live, and have it acknowledged."""
    came = person.live()
    if came:
        person.send(MsgId.RECEIVED, peerid=other.id, seq=came[-1])
    return came


# -- Order


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), min_size=8, max_size=8), st.lists(st.booleans(), max_size=16))
def test_entries_of_two_nodes_are_handed_out_by_seq_in_whatever_order_they_arrive(
    speakers: list[bool], arrivals: list[bool]
) -> None:
    cluster = Cluster("a", "b", "c")
    try:
        ann, bob, cem = people(cluster)
        groupid = ann.group("g", bob, cem)
        cem.pushed()
        with cluster.held(target="c"):
            for is_ann in speakers:
                (ann if is_ann else bob).say(groupid)
        for from_a in arrivals:
            ends = (cluster["a" if from_a else "b"].me, cluster["c"].me)
            if cluster.wire(*ends).items:
                cluster.arrive(*ends)
                came = cem.live()
                cem.peer.frames += [{"msgid": MsgId.GROUP_CHAT, "seq": seq} for seq in came]
                assert came == list(range(1, len(came) + 1))
        cluster.run()
        assert cem.live() == list(range(1, 9))
    finally:
        cluster.close()


def test_an_entry_that_comes_twice_is_handed_out_once(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    with cluster.held("a", "b"):
        ann.chat(bob)
        wire = cluster.wire(cluster["a"].me, cluster["b"].me)
        (posted,) = [item for item in wire.items if item.event]
    cluster.run()
    cluster["b"].service.recovery.check_all()
    listener = cluster["b"].bus.listener
    assert posted.event
    listener.receive(posted.event)
    cluster.run()
    assert bob.live() == [1]


# -- Gaps


def test_a_gap_is_waited_for_and_then_filled_from_the_database(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob, cem)
    cem.pushed()
    ann.say(groupid)
    with cluster.held("a", "c"):
        ann.say(groupid)
        cluster.lose("a", "c")
    bob.say(groupid)
    assert cem.live() == [1]
    cluster.pass_time(sequencer.PATIENCE)
    assert cem.live() == [2, 3]


def test_a_gap_of_many_pages_is_filled(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "PAGE", 3)
    ann, bob, _ = people(cluster)
    ann.chat(bob)
    with cluster.held("a", "b"):
        ann.fill(10, toid=bob.id)
        cluster.lose("a", "b")
    ann.chat(bob)
    cluster.pass_time(sequencer.PATIENCE)
    assert bob.live() == list(range(1, 13))


def test_a_gap_waits_for_a_database_that_is_away(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    ann.chat(bob)
    with cluster.held("a", "b"):
        ann.chat(bob)
        cluster.lose("a", "b")
        ann.chat(bob)
    cluster.database.away = True
    cluster.run()
    cluster.pass_time(sequencer.PATIENCE + 5 * sequencer.TRY_AGAIN)
    assert bob.live() == [1]
    cluster.database.away = False
    cluster.pass_time(sequencer.TRY_AGAIN)
    assert bob.live() == [2, 3]


# -- A conversation that is taken up


def test_the_first_entry_of_an_old_conversation_at_a_node_brings_no_old_ones(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    ann.chat(bob)
    ann.chat(bob)
    assert received(bob, ann) == [1, 2]
    bob = move(bob, cluster["c"])
    ann.chat(bob)
    assert bob.live() == [3]


def test_who_comes_back_to_a_node_gets_nothing_again_that_came_elsewhere(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    ann.chat(bob)
    assert received(bob, ann) == [1]
    bob = move(bob, cluster["c"])
    bob.chat(ann)
    ann.chat(bob)
    assert received(bob, ann) == [3]
    bob = move(bob, cluster["b"])
    assert bob.ack["offlinemsg"] == []
    ann.chat(bob)
    cluster.pass_time(1)
    assert bob.live() == [4]


def test_who_joined_later_is_not_shown_what_a_node_did_not_hear_of(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob)
    ann.say(groupid)
    bob.leave()
    ann.say(groupid)
    ann.say(groupid)
    cem.ok(MsgId.ADD_GROUP, groupid=groupid)
    cem.pushed()
    cem.leave()
    cem = cluster["b"].log_in(cem)  # where nobody has heard of 2 and 3
    ann.say(groupid)
    cluster.pass_time(1)
    assert cem.live() == [4]


def test_a_repetition_that_is_the_first_of_its_conversation_at_a_node_brings_no_old_ones(
    cluster: Cluster,
) -> None:
    ann, bob, _ = people(cluster)
    ann.chat(bob, cid="old")
    for _ in range(3):
        ann.chat(bob)
    assert received(bob, ann) == [1, 2, 3, 4]
    ann, bob = move(ann, cluster["c"]), move(bob, cluster["c"])
    assert ann.chat(bob, cid="old") == 1
    assert ann.chat(bob) == 5
    cluster.pass_time(1)
    assert bob.live() == [5]


@pytest.mark.parametrize("turns", range(8))
def test_who_logs_in_while_a_conversation_is_taken_up_misses_nothing(cluster: Cluster, turns: int) -> None:
    """Whatever the node has read by then: what is said after the login has been answered comes live."""
    ann, bob, _ = people(cluster)
    ann.chat(bob)
    assert received(bob, ann) == [1]
    bob = move(bob, cluster["c"])
    with cluster.held(target="c"):
        ann.chat(bob)
    cluster.arrive(cluster["a"].me, cluster["c"].me)
    cluster.take_turns(turns)  # node c takes the conversation up, because of 2
    phone = cluster["c"].begin(bob, device="phone")
    while not phone.peer.frames:
        cluster.turns.turn(-1)  # the login goes on alone
    ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="3")
    while not (arrivals := [ends for ends in cluster.arrivals() if ends[0].name == "a"]):
        cluster.turns.turn(-1)
    cluster.arrive(*arrivals[0])
    cluster.run()
    cluster.pass_time(2)
    came = phone.pushed()
    entries = [*came[0]["offlinemsg"], *(frame for frame in came if frame["msgid"] == MsgId.ONE_CHAT)]
    assert seqs(entries) == [2, 3]
    assert bob.live() == [2, 3]

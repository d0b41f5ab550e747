"""What users see of a cluster: whatever node they and their devices are at, it is as if there were one."""

from __future__ import annotations

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster
from tests.service.world import LOG_FRAMES, Person


def people(cluster: Cluster) -> tuple[Person, Person, Person]:
    """Return ann at node a, bob at b and cem at c."""
    return cluster["a"].user("ann"), cluster["b"].user("bob"), cluster["c"].user("cem")


def entries(line: Person) -> list[int]:
    """Return the seqs that came to a connection, by LOGIN_ACK or live, and forget all that came."""
    found = []
    for frame in line.pushed():
        shown = frame.get("offlinemsg", [frame] if frame["msgid"] in LOG_FRAMES else [])
        found += [entry["seq"] for entry in shown]
    return found


# -- Groups


def test_who_joins_at_one_node_gets_the_group_on_devices_at_others(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    groupid = ann.group("g")
    ann.say(groupid)
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    ann.say(groupid)
    assert (bob.live(), phone.live()) == ([2], [2])


def test_who_leaves_at_one_node_gets_the_group_nowhere(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    groupid = ann.group("g", bob, cem)
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    bob.pushed(), phone.pushed()
    for speaker in (ann, cem):
        speaker.say(groupid)
    assert (bob.live(), phone.live()) == ([], [])
    phone.refused(8, MsgId.GROUP_CHAT, groupid=groupid, msg="hi")


def test_who_made_a_group_gets_it_on_devices_at_other_nodes(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    phone = cluster["c"].log_in(ann, device="phone")
    groupid = ann.group("g", bob)
    phone.pushed()
    bob.say(groupid)
    ann.say(groupid)
    assert phone.live() == [1, 2]
    phone.say(groupid)
    assert (ann.live(), bob.live()) == ([1, 3], [2, 3])


@pytest.mark.parametrize("fate", ["late", "lost"])
def test_what_was_said_before_a_node_learnt_of_a_joining_is_made_up_for(cluster: Cluster, fate: str) -> None:
    """The device is at a node where others are in the group: it has handed out what was said."""
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    phone = cluster["c"].log_in(bob, device="phone")
    ann.say(groupid)
    with cluster.held("b", "c"):
        bob.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        ann.say(groupid)
        cem.say(groupid)
        if fate == "lost":
            cluster.lose("b", "c")
    cluster.run()
    cluster.pass_time(2)
    assert entries(phone) == [2, 3]
    ann.say(groupid)
    assert (entries(phone), cem.live()) == ([4], [1, 2, 4])


def test_an_entry_that_comes_before_the_word_of_a_joining_waits_for_those_before_it(cluster: Cluster) -> None:
    """The node knows of the membership, since somebody there has asked, but not since when."""
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    phone = cluster["c"].log_in(bob, device="phone")
    with cluster.held("b", "c"):
        bob.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        ann.say(groupid)
        cem.say(groupid)
        phone.history(groupid=groupid)  # looks into the database
        ann.say(groupid)
        assert entries(phone) == [1, 2, 3]
    cluster.run()
    cluster.pass_time(2)
    assert entries(phone) == []


def test_a_device_that_logs_in_while_word_of_a_joining_is_under_way_gets_nothing_twice(
    cluster: Cluster,
) -> None:
    ann, bob, _ = people(cluster)
    groupid = ann.group("g")
    with cluster.held("b", "c"):
        bob.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        ann.say(groupid)
        phone = cluster["c"].log_in(bob, device="phone")
        assert phone.ack["offlinemsg"]
        ann.say(groupid)
    cluster.run()
    cluster.pass_time(2)
    assert phone.live() == [2]


def test_word_of_a_leaving_that_comes_after_a_new_joining_changes_nothing(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    groupid = ann.group("g", bob)
    phone, tablet = cluster["c"].log_in(bob, device="phone"), cluster["a"].log_in(bob, device="tablet")
    with cluster.held("b", "c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        ann.say(groupid)
        tablet.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        ann.say(groupid)
    cluster.run()
    ann.say(groupid)
    cluster.pass_time(2)
    assert entries(phone)[-2:] == [2, 3]
    assert (entries(bob), entries(tablet)) == ([2, 3], [2, 3])


def test_a_node_that_lost_the_word_of_a_leaving_and_of_a_block_has_it_right_soon(
    cluster: Cluster,
) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob)
    ann.say(groupid)
    with cluster.held("a", "c"), cluster.held("b", "c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        phone = cluster["c"].log_in(bob, device="phone")
        ann.put(MsgId.BLOCK, userid=cem.id)
        cluster.run()
        cluster.lose(target="c")
    cluster.pass_time(1)
    phone.pushed()
    ann.say(groupid)
    assert phone.live() == []
    cem.refused(10, MsgId.ONE_CHAT, toid=ann.id, msg="hi")

"""Nobody is handed what a group said at or before their joining or after their leaving, by any path."""

from __future__ import annotations

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, entries, people
from tests.service.world import Person, World, seqs


def test_a_device_at_a_node_that_was_not_told_gets_nothing_from_before_the_joining(
    cluster: Cluster,
) -> None:
    """Node c has handed out 1 to a member who is there no more; a session there is older than that."""
    ann, bob, _ = people(cluster)
    groupid = ann.group("g", bob)
    moved = cluster["c"].log_in(bob, device="phone")
    stranger = cluster["c"].user("stranger")
    ann.say(groupid)
    assert moved.live() == [1]
    moved.leave()
    for _ in range(8):
        ann.say(groupid)
    stranger.ok(MsgId.ADD_GROUP, groupid=groupid)
    assert stranger.history(groupid=groupid) == []
    second = cluster["c"].log_in(stranger, device="second")
    assert second.say(groupid) == 10
    cluster.pass_time(2)
    assert (entries(second), entries(stranger)) == ([], [10])
    ann.say(groupid)
    assert (entries(second), entries(stranger)) == ([11], [11])


def test_a_device_that_has_all_is_not_sent_it_again_where_a_member_was_once(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    groupid = ann.group("g", bob)
    ann.say(groupid)
    bob.send(MsgId.RECEIVED, groupid=groupid, seq=1)
    dan = cluster["c"].user("dan")
    phone = cluster["c"].log_in(bob, device="phone")
    ann.say(groupid)
    phone.leave()
    for _ in range(5):
        ann.say(groupid)
    bob.pushed()
    bob.send(MsgId.RECEIVED, groupid=groupid, seq=7)
    cluster.pass_time(2)
    bob.leave()
    dan.ok(MsgId.ADD_GROUP, groupid=groupid)
    bob = cluster["c"].log_in(bob)
    assert entries(bob) == []
    ann.say(groupid)
    cluster.pass_time(2)
    assert (entries(bob), entries(dan)) == ([8], [8])


@pytest.mark.parametrize("turns", range(0, 40, 3))
def test_who_joins_again_while_messages_are_committed_gets_what_comes_after(
    cluster: Cluster, turns: int
) -> None:
    """At the moment of the joining entries of all nodes are on their way, and a device logs in."""
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob, cem)
    phone = cluster["c"].log_in(bob, device="phone")
    ann.say(groupid)
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    bob.pushed(), phone.pushed()
    for speaker in (ann, cem, ann, cem):
        speaker.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    bob.put(MsgId.ADD_GROUP, groupid=groupid)
    tablet = cluster["a"].begin(bob, device="tablet")
    cluster.take_turns(turns)
    for speaker in (ann, cem):
        speaker.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    cluster.run_youngest_first()
    cluster.pass_time(3)
    joined = cluster["b"].store.membership(groupid)[bob.id]
    expected = list(range(joined + 1, 8))
    assert (entries(bob), entries(phone)) == (expected, expected)
    assert entries(tablet) == expected


def test_pages_of_a_group_end_though_word_of_the_leaving_was_lost(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    groupid = ann.group("g", bob)
    ann.fill(201, groupid=groupid)
    phone = cluster["c"].log_in(bob, device="phone")
    assert phone.ack["more"] is True
    with cluster.held("b", "c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        cluster.lose("b", "c")
    cluster.pass_time(2)
    page = phone.ok(MsgId.SYNC)
    assert (page["offlinemsg"], page["more"]) == ([], False)
    assert entries(phone) == []


# -- One node: who leaves while a page is read


def shown(person: Person, groupid: int) -> list[int]:
    """Return the seqs of a group in all that came, and forget it."""
    found = []
    for frame in person.pushed():
        for entry in (*frame.get("offlinemsg", ()), *frame.get("messages", ()), frame):
            if entry.get("groupid") == groupid and entry.get("msgid") in (MsgId.GROUP_CHAT, MsgId.RECALL):
                found.append(entry["seq"])
    return found


def missing(world: World, ann: Person, bob: Person, count: int) -> tuple[int, Person]:
    """Return a group with entries that bob has not got, and bob's other device."""
    groupid = ann.group("g", bob)
    phone = world.log_in(bob, device="phone")
    bob.leave()
    ann.fill(count, groupid=groupid)
    phone.pushed()
    return groupid, phone


@pytest.mark.parametrize("rejoins", [False, True])
@pytest.mark.parametrize("where", range(16))
def test_a_login_shows_nothing_of_a_group_that_is_left_while_it_is_answered(
    world: World, ann: Person, bob: Person, where: int, rejoins: bool
) -> None:
    groupid, phone = missing(world, ann, bob, 3)
    again = world.connect()
    left: list[bool] = []

    def leave() -> None:
        phone.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        ann.say(groupid)
        if rejoins:
            phone.ok(MsgId.ADD_GROUP, groupid=groupid)
        left.append(again.peer.frames == [])

    world.switching(*[lambda: None] * where, leave)
    again.put(MsgId.LOGIN, id=bob.id, password="pw")
    world.runner.hooks.clear()
    world.commit()
    if left == [True]:
        assert shown(again, groupid) == []
        ann.say(groupid)
        world.commit()
        assert shown(again, groupid) == ([5] if rejoins else [])


@pytest.mark.parametrize("rejoins", [False, True])
@pytest.mark.parametrize("where", range(8))
@pytest.mark.parametrize("asks", ["sync", "history"])
def test_a_page_shows_nothing_of_a_group_that_is_left_while_it_is_read(
    world: World, ann: Person, bob: Person, where: int, asks: str, rejoins: bool
) -> None:
    groupid, phone = missing(world, ann, bob, 203)
    again = world.log_in(bob)
    assert seqs(again.ack["offlinemsg"]) == list(range(1, 201))
    left: list[bool] = []

    def leave() -> None:
        phone.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        if rejoins:
            phone.ok(MsgId.ADD_GROUP, groupid=groupid)
        left.append(again.peer.frames == [])

    world.switching(*[lambda: None] * where, leave)
    again.put(MsgId.SYNC) if asks == "sync" else again.put(MsgId.HISTORY, groupid=groupid)
    world.runner.hooks.clear()
    world.commit()
    if left == [True]:
        assert shown(again, groupid) == []
        assert again.ok(MsgId.SYNC)["more"] is False
        ann.say(groupid)
        world.commit()
        assert shown(again, groupid) == ([204] if rejoins else [])

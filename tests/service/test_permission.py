"""Leaving and blocking count from their ACK on; what was stored before them is acknowledged again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from greenchat.model.records import Contact
from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, people
from tests.service.world import Person, World

# -- Sent again, when the sender may write no more


def test_who_is_blocked_finds_what_was_stored_before(ann: Person, bob: Person) -> None:
    first = ann.ok(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c1")
    bob.ok(MsgId.BLOCK, userid=ann.id)
    again = ann.ok(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c1")
    assert (again["seq"], again["time"]) == (first["seq"], first["time"])
    assert bob.live() == [1]
    ann.refused(3, MsgId.ONE_CHAT, toid=bob.id, msg="ho", cid="c1")
    ann.refused(10, MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c2")
    ann.refused(10, MsgId.ONE_CHAT, toid=bob.id, msg="hi")


def test_who_has_left_finds_what_was_stored_before(ann: Person, bob: Person, cem: Person) -> None:
    groupid = ann.group("g", bob, cem)
    assert bob.say(groupid, "hi", cid="c1") == 1
    assert bob.ok(MsgId.RECALL, groupid=groupid, target=1, cid="c2")["seq"] == 2
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    assert bob.say(groupid, "hi", cid="c1") == 1
    assert bob.ok(MsgId.RECALL, groupid=groupid, target=1, cid="c2")["seq"] == 2
    bob.refused(8, MsgId.GROUP_CHAT, groupid=groupid, msg="hi", cid="c3")
    bob.refused(8, MsgId.RECALL, groupid=groupid, target=1, cid="c4")
    assert cem.live() == [1, 2]


def test_who_has_left_and_joined_again_finds_the_recall_from_before(ann: Person, bob: Person) -> None:
    groupid = ann.group("g", bob)
    bob.say(groupid)
    bob.ok(MsgId.RECALL, groupid=groupid, target=1, cid="c")
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    assert bob.ok(MsgId.RECALL, groupid=groupid, target=1, cid="c")["seq"] == 2
    bob.refused(15, MsgId.RECALL, groupid=groupid, target=1)


def test_what_was_stored_is_found_while_the_sender_is_told_of_a_database_that_is_away(
    world: World, ann: Person, bob: Person
) -> None:
    ann.chat(bob, "hi", cid="c")
    bob.ok(MsgId.BLOCK, userid=ann.id)
    world.service.forget_all()
    world.runner.broken.add("read")
    ann.refused(13, MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c")
    world.runner.broken.clear()
    assert ann.chat(bob, "hi", cid="c") == 1


# -- On one server


def test_what_is_sent_while_a_block_is_committed_is_not_delivered_after_it(
    world: World, ann: Person, bob: Person
) -> None:
    for where in range(4):
        ann.chat(bob)  # from now on it is known here that ann may
        sent = f"x{where}"

        def send(sent: str = sent) -> None:
            ann.put(MsgId.ONE_CHAT, toid=bob.id, msg=sent, cid=sent)

        world.switching(*[lambda: None] * where, send)
        bob.put(MsgId.BLOCK, userid=ann.id)  # acknowledged
        world.runner.hooks.clear()
        bob.pushed()
        world.commit()
        assert bob.live() == [], f"sent at switch {where}"
        bob.ok(MsgId.UNBLOCK, userid=ann.id)


def test_what_somebody_sends_while_they_leave_is_not_delivered_after_it(
    world: World, ann: Person, bob: Person
) -> None:
    phone = world.log_in(bob, device="phone")
    groupid = ann.group("g", bob)
    bob.say(groupid)
    ann.pushed()
    world.switching(lambda: phone.put(MsgId.GROUP_CHAT, groupid=groupid, msg="x", cid="x"))
    bob.put(MsgId.LEAVE_GROUP, groupid=groupid)
    world.commit()
    assert phone.reply("x")["errno"] == 8
    assert ann.live() == []


def test_what_was_sent_before_the_members_changed_goes_to_those_of_now(
    world: World, ann: Person, bob: Person
) -> None:
    groupid = ann.group("g", bob)
    world.restart()
    ann, bob = world.log_in(ann), world.log_in(bob)
    # The members are read, bob leaves, and the message goes on with what was read.
    world.switching(
        lambda: None, lambda: None, lambda: None, lambda: bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    )
    ann.send(MsgId.GROUP_CHAT, groupid=groupid, msg="x")
    assert bob.live() == []


# -- In a cluster


def test_word_of_a_block_comes_late_and_nothing_is_stored_that_was_sent_after_it(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    bob.chat(cem)
    cem.live()
    with cluster.held("c", "b"):
        cem.ok(MsgId.BLOCK, userid=bob.id)
        bob.refused(10, MsgId.ONE_CHAT, toid=cem.id, msg="x")
        assert bob.chat(ann) == 1
    assert cem.live() == []


def test_word_of_the_end_of_a_block_comes_late_and_nobody_is_refused_after_it(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    bob.ok(MsgId.BLOCK, userid=ann.id)
    ann.refused(10, MsgId.ONE_CHAT, toid=bob.id, msg="x")
    with cluster.held("b", "a"):
        bob.ok(MsgId.UNBLOCK, userid=ann.id)
        ann.chat(bob)


def test_word_of_a_leaving_comes_late_and_nothing_is_stored_that_was_sent_after_it(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob, cem)
    bob.say(groupid)
    phone = cluster["c"].log_in(bob, device="phone")
    ann.live()
    with cluster.held("c", "b"):
        phone.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        bob.refused(8, MsgId.GROUP_CHAT, groupid=groupid, msg="x")
        bob.refused(8, MsgId.GROUP_CHAT, groupid=groupid, msg="x")
    assert ann.live() == []


@pytest.mark.parametrize("seconds", [0.6, 1.1, 1.4])
def test_while_the_bus_is_away_who_has_left_elsewhere_hears_nothing_after_a_second(
    cluster: Cluster, seconds: float
) -> None:
    ann, bob, _ = people(cluster)
    groupid = ann.group("g", bob)
    dan = cluster["b"].user("dan")
    dan.ok(MsgId.ADD_GROUP, groupid=groupid)
    phone = cluster["c"].log_in(bob, device="phone")
    for bus in cluster.buses():
        bus.cut()
    cluster.pass_time(2.3)
    dan.say(groupid)
    bob.live()
    phone.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    cluster.pass_time(seconds)
    dan.say(groupid)
    cluster.run()
    assert bob.live() == []


def test_a_refused_message_costs_a_later_one_nothing(make_cluster: Callable[..., Cluster]) -> None:
    """The node that was wrong looks anew, so that its batches are not undone again and again."""
    cluster = make_cluster("a", "b")
    ann, bob = cluster["a"].user("ann"), cluster["b"].user("bob")
    bob.chat(ann)
    with cluster.held("a", "b"):
        ann.ok(MsgId.BLOCK, userid=bob.id)
        bob.refused(10, MsgId.ONE_CHAT, toid=ann.id, msg="x")
        assert cluster["b"].service.contacts.load((bob.id, ann.id)) is Contact.BLOCKED
        ann.ok(MsgId.UNBLOCK, userid=bob.id)
    cluster.run()
    assert bob.chat(ann) == 2

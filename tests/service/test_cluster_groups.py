"""Groups in a cluster: wherever people and their devices are, each gets what a member is to get, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenchat.model.records import NewEntry
from greenchat.ports.store import Delivery
from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, Line, entries, people
from tests.service.world import Person


def three_in_a_group(cluster: Cluster) -> tuple[Person, Person, Person, int]:
    """Return ann at node a, bob at b and cem at c, and the group that all are in."""
    ann, bob, cem = people(cluster)
    return ann, bob, cem, ann.group("g", bob, cem)


def log_in_with_two(cluster: Cluster, person: Person) -> tuple[Person, Person]:
    """Log somebody in with a phone at node c and with a tablet at a."""
    return cluster["c"].log_in(person, device="phone"), cluster["a"].log_in(person, device="tablet")


@contextmanager
def joining_unheard(person: Person, groupid: int, at: str) -> Iterator[None]:
    """Let somebody join a group, and hold word of it back from a node until the end of the block."""
    assert isinstance(person, Line)
    cluster = person.node.cluster
    with cluster.held(person.node.me.name, at):
        person.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        yield
    cluster.run()


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
    with joining_unheard(bob, groupid, at="c"):
        ann.say(groupid)
        cem.say(groupid)
        if fate == "lost":
            cluster.lose("b", "c")
    cluster.pass_time(2)
    assert entries(phone) == [2, 3]
    ann.say(groupid)
    assert (entries(phone), cem.live()) == ([4], [1, 2, 4])


def test_an_entry_that_comes_before_the_word_of_a_joining_waits_for_those_before_it(cluster: Cluster) -> None:
    """The node knows of the membership, since somebody there has asked, but not since when."""
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    phone = cluster["c"].log_in(bob, device="phone")
    with joining_unheard(bob, groupid, at="c"):
        ann.say(groupid)
        cem.say(groupid)
        phone.history(groupid=groupid)  # looks into the database
        ann.say(groupid)
        assert entries(phone) == [1, 2, 3]
    cluster.pass_time(2)
    assert entries(phone) == []


def test_a_device_that_logs_in_while_word_of_a_joining_is_under_way_gets_nothing_twice(
    cluster: Cluster,
) -> None:
    ann, bob, _ = people(cluster)
    groupid = ann.group("g")
    with joining_unheard(bob, groupid, at="c"):
        ann.say(groupid)
        phone = cluster["c"].log_in(bob, device="phone")
        assert phone.ack["offlinemsg"]
        ann.say(groupid)
    cluster.pass_time(2)
    assert phone.live() == [2]


def test_who_joins_again_before_anything_was_said_misses_nothing(cluster: Cluster) -> None:
    """What is said is handed out at the same node before the joining has been heard of there."""
    ann, _, cem = people(cluster)
    groupid = ann.group("g", cem)
    ann = cluster["c"].log_in(ann, device="phone")
    cem.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    cem.put(MsgId.ADD_GROUP, groupid=groupid)
    cluster.run()
    cluster.pass_time(2)
    assert cem.live() == [1]


def test_who_joins_again_elsewhere_before_anything_was_said_misses_nothing(cluster: Cluster) -> None:
    ann, bob, cem, groupid = three_in_a_group(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    cem.history(groupid=groupid)  # node c looks who is in the group
    with joining_unheard(bob, groupid, at="c"):
        ann.say(groupid)
    cluster.pass_time(2)
    assert (cem.live(), phone.live(), bob.live()) == ([1], [1], [1])


def test_word_of_a_leaving_that_comes_after_a_new_joining_changes_nothing(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    groupid = ann.group("g", bob)
    phone, tablet = log_in_with_two(cluster, bob)
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


@pytest.mark.parametrize("said", [0, 1])
@pytest.mark.parametrize("first", ["a", "b", None])
def test_what_came_by_a_membership_that_was_out_of_date_does_not_come_again(
    cluster: Cluster, said: int, first: str | None
) -> None:
    """Word of the leaving (from b) and of the new joining (from a) come late, in whatever order."""
    ann, bob, cem, groupid = three_in_a_group(cluster)
    phone, tablet = log_in_with_two(cluster, bob)
    for _ in range(said):
        ann.say(groupid)
    with cluster.held("a", "c"), cluster.held("b", "c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        tablet.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        cem.say(groupid)
        if first is not None:
            for wire in cluster.wires(first, "c"):
                wire.held = False
            cluster.run()
    cluster.run()
    ann.say(groupid)
    cluster.pass_time(2)
    assert entries(phone) == list(range(1, said + 3))


def test_who_was_out_of_a_group_unheard_misses_nothing_of_it(cluster: Cluster) -> None:
    """The node has read the membership meanwhile, and handed out by it; word of the leaving is lost."""
    _, bob, cem, groupid = three_in_a_group(cluster)
    phone, tablet = log_in_with_two(cluster, bob)
    dan = cluster["a"].user("dan")
    with cluster.held("b", "c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        dan.ok(MsgId.ADD_GROUP, groupid=groupid)
        cem.history(groupid=groupid)
        with joining_unheard(tablet, groupid, at="c"):
            cem.say(groupid)
        cluster.lose("b", "c")
    cluster.run()
    cluster.pass_time(3)
    assert entries(phone) == [1]


def test_word_of_a_joining_that_comes_after_the_leaving_hides_no_later_joining(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    phone, tablet = log_in_with_two(cluster, bob)
    with joining_unheard(tablet, groupid, at="c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        cluster.run()
    cem.history(groupid=groupid)
    with joining_unheard(bob, groupid, at="c"):
        cem.say(groupid)
    cluster.pass_time(3)
    assert entries(phone) == [1]


def test_a_login_misses_nothing_where_the_membership_is_known_from_before_the_joining(
    cluster: Cluster,
) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    cem.history(groupid=groupid)
    with joining_unheard(bob, groupid, at="c"):
        ann.say(groupid)
        phone = cluster["c"].log_in(bob, device="phone")
        missed = phone.sync_all()
        cluster.run()
        missed += phone.pushed()
    cluster.pass_time(3)
    assert [entry["seq"] for entry in missed] == [1]
    assert entries(phone) == []


def test_who_joins_where_their_leaving_has_not_been_heard_of_has_joined_everywhere(cluster: Cluster) -> None:
    ann, bob, cem, groupid = three_in_a_group(cluster)
    phone, tablet = log_in_with_two(cluster, bob)
    ann.history(groupid=groupid)
    with cluster.held("b", "a"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        cem.history(groupid=groupid)
        tablet.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        cem.say(groupid)
        assert entries(phone) == [1]


@pytest.mark.parametrize("turns", range(12))
def test_who_joins_while_a_message_is_stored_misses_no_later_one(cluster: Cluster, turns: int) -> None:
    """The sender's node has looked who is in the group before, and word of the joining comes first."""
    _, bob, cem, groupid = three_in_a_group(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    cem.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    cluster.take_turns(turns)
    bob.put(MsgId.ADD_GROUP, groupid=groupid)
    cluster.run_youngest_first()  # the joining overtakes the message
    cluster.pass_time(2)
    cem.say(groupid)
    joined = cluster["b"].store.membership(groupid)[bob.id]
    assert entries(phone) == entries(bob) == list(range(joined + 1, 3))


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


def test_a_device_that_has_all_gets_nothing_again_where_the_group_was_known_before(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    cem.history(groupid=groupid)  # node c reads the membership, without bob
    cem.leave()
    cluster.run()
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    for _ in range(3):
        ann.say(groupid)
    assert bob.live() == [1, 2, 3]
    bob.send(MsgId.RECEIVED, groupid=groupid, seq=3)
    cluster.pass_time(2)
    bob.leave()
    cluster.run()
    cluster.pass_time(3600)
    bob = cluster["c"].log_in(bob)
    first = [e["seq"] for e in bob.ack["offlinemsg"]]
    ann.say(groupid)
    cluster.pass_time(2)
    assert (first, entries(bob)) == ([], [4])


def test_a_device_that_has_all_and_speaks_gets_nothing_again(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    cem.history(groupid=groupid)
    cem.leave()
    cluster.run()
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    for _ in range(3):
        ann.say(groupid)
    bob.send(MsgId.RECEIVED, groupid=groupid, seq=3)
    cluster.pass_time(2)
    bob.leave()
    cluster.run()
    bob = cluster["c"].log_in(bob)
    bob.say(groupid)
    cluster.pass_time(2)
    assert entries(bob) == []


def test_who_joins_while_a_message_waits_to_be_stored_elsewhere_gets_it(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    c = cluster["c"]
    real = c.store.append
    kept: list[tuple[NewEntry, Delivery]] = []

    def keep(message: NewEntry, delivery: Delivery) -> bool:
        kept.append((message, delivery))
        return False

    c.store.append = keep
    cem.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    cluster.run()
    c.store.append = real
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    cluster.pass_time(2)
    real(*kept[0])
    cluster.run()
    cluster.pass_time(10)
    assert (ann.live(), bob.live()) == ([1], [1])

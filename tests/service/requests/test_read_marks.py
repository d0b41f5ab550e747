"""READ and TYPING: who hears of them.  What RECEIVED does is in test_cursors.py."""

from __future__ import annotations

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.world import Person, World


def test_read_goes_to_the_other_and_to_the_readers_other_devices(
    world: World, ann: Person, bob: Person
) -> None:
    phone, tablet = world.log_in(ann, device="phone"), world.log_in(bob, device="tablet")
    ann.chat(bob)
    for person in (ann, phone, bob, tablet):
        person.pushed()
    bob.send(MsgId.READ, peerid=ann.id, seq=1)
    assert ann.pushed() == phone.pushed() == [{"msgid": 27, "id": bob.id, "seq": 1, "peerid": bob.id}]
    assert tablet.pushed() == [{"msgid": 27, "id": bob.id, "seq": 1, "peerid": ann.id}]
    assert bob.pushed() == []


def test_read_of_a_group_goes_to_all_members(world: World, ann: Person, bob: Person, cem: Person) -> None:
    groupid = ann.group("g", bob, cem)
    tablet = world.log_in(bob, device="tablet")
    ann.say(groupid)
    for person in (ann, bob, cem, tablet):
        person.pushed()
    bob.send(MsgId.READ, groupid=groupid, seq=1)
    told = [{"msgid": 27, "id": bob.id, "seq": 1, "groupid": groupid}]
    assert ann.pushed() == cem.pushed() == tablet.pushed() == told
    assert bob.pushed() == []


def test_what_is_not_there_cannot_be_read(ann: Person, bob: Person) -> None:
    groupid = ann.group("g", bob)
    bob.refused(3, MsgId.READ, peerid=ann.id, seq=1)
    bob.refused(3, MsgId.READ, groupid=groupid, seq=1)
    ann.chat(bob)
    bob.pushed()
    bob.send(MsgId.READ, peerid=ann.id, seq=1)
    assert bob.pushed() == []
    bob.refused(3, MsgId.READ, peerid=ann.id, seq=2)
    assert len(ann.pushed(MsgId.READ)) == 1


def test_what_was_said_before_a_restart_can_be_read(world: World, ann: Person, bob: Person) -> None:
    ann.chat(bob)
    world.restart()
    ann, bob = world.log_in(ann), world.log_in(bob)
    bob.send(MsgId.READ, peerid=ann.id, seq=1)
    assert len(ann.pushed(MsgId.READ)) == 1


def test_reading_is_no_receiving(world: World, ann: Person, bob: Person) -> None:
    ann.chat(bob)
    bob.send(MsgId.READ, peerid=ann.id, seq=1)
    bob.leave()
    assert len(world.log_in(bob).ack["offlinemsg"]) == 1


def test_a_user_who_is_blocked_and_the_blocker_tell_each_other_nothing(
    world: World, ann: Person, bob: Person
) -> None:
    phone = world.log_in(ann, device="phone")
    ann.chat(bob)
    ann.ok(MsgId.BLOCK, userid=bob.id)
    for person in (ann, bob, phone):
        person.pushed()
    for person, other in ((bob, ann), (ann, bob)):
        person.send(MsgId.TYPING, toid=other.id)
        person.send(MsgId.READ, peerid=other.id, seq=1)
    assert ann.pushed() == bob.pushed() == []
    assert phone.pushed() == [{"msgid": 27, "id": ann.id, "seq": 1, "peerid": bob.id}]
    ann.ok(MsgId.UNBLOCK, userid=bob.id)
    ann.send(MsgId.TYPING, toid=bob.id)
    ann.send(MsgId.READ, peerid=bob.id, seq=1)
    assert [frame["msgid"] for frame in bob.pushed()] == [26, 27]


def test_a_read_mark_never_goes_back(world: World, ann: Person, bob: Person) -> None:
    tablet = world.log_in(bob, device="tablet")
    for _ in range(3):
        ann.chat(bob)
    for seq in (2, 1, 2, 3, 1):
        bob.send(MsgId.READ, peerid=ann.id, seq=seq)
    assert [push["seq"] for push in ann.pushed(MsgId.READ)] == [2, 2, 3]
    assert [push["seq"] for push in tablet.pushed(MsgId.READ)] == [2, 2, 3]
    world.store.write_marks()
    world.restart()
    ann, bob = world.log_in(ann), world.log_in(bob)
    bob.send(MsgId.READ, peerid=ann.id, seq=2)
    assert ann.pushed() == []
    bob.send(MsgId.READ, peerid=ann.id, seq=3)
    assert [push["seq"] for push in ann.pushed()] == [3]


def test_two_devices_that_read_at_the_same_time_move_the_mark_forwards(
    world: World, ann: Person, bob: Person
) -> None:
    tablet = world.log_in(bob, device="tablet")
    groupid = ann.group("g", bob)
    for _ in range(3):
        ann.say(groupid)
    world.service.read_marks.clear()
    ann.pushed()
    world.switching(lambda: tablet.put(MsgId.READ, groupid=groupid, seq=3))
    bob.send(MsgId.READ, groupid=groupid, seq=2)
    assert [push["seq"] for push in ann.pushed()] == [3]


def test_typing_goes_to_all_devices_of_the_other_and_to_nobody_else(
    world: World, ann: Person, bob: Person, cem: Person
) -> None:
    phone, tablet = world.log_in(ann, device="phone"), world.log_in(bob, device="tablet")
    bob.send(MsgId.TYPING, toid=ann.id)
    assert ann.pushed() == phone.pushed() == [{"msgid": 26, "id": bob.id, "peerid": bob.id}]
    assert bob.pushed() == tablet.pushed() == cem.pushed() == []


def test_typing_in_a_group_goes_to_the_other_members(
    world: World, ann: Person, bob: Person, cem: Person
) -> None:
    groupid = ann.group("g", bob)
    phone = world.log_in(bob, device="phone")
    bob.send(MsgId.TYPING, groupid=groupid)
    assert ann.pushed() == [{"msgid": 26, "id": bob.id, "groupid": groupid}]
    cem.send(MsgId.TYPING, groupid=groupid)
    assert ann.pushed() == bob.pushed() == phone.pushed() == cem.pushed() == []


def test_typing_is_never_stored(world: World, ann: Person, bob: Person) -> None:
    ann.leave()
    bob.send(MsgId.TYPING, toid=ann.id)
    again = world.log_in(ann)
    assert again.ack["offlinemsg"] == again.pushed() == []
    assert bob.history(peerid=ann.id) == []


def test_typing_to_oneself_is_heard_by_nobody(world: World, ann: Person) -> None:
    phone = world.log_in(ann, device="phone")
    ann.send(MsgId.TYPING, toid=ann.id)
    assert ann.pushed() == phone.pushed() == []


@pytest.mark.parametrize("msgid", [MsgId.READ, MsgId.TYPING])
def test_moments_come_even_while_pages_are_pending(
    world: World, ann: Person, bob: Person, msgid: int
) -> None:
    bob.leave()
    for _ in range(201):
        ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi")
    world.commit()
    bob = world.log_in(bob)
    bob.pushed()
    ann.send(msgid, **({"toid": bob.id} if msgid == MsgId.TYPING else {"peerid": bob.id, "seq": 1}))
    assert [frame["msgid"] for frame in bob.pushed()] == [msgid]


def test_a_received_for_anything_odd_does_no_harm(world: World, ann: Person, bob: Person) -> None:
    groupid = ann.group("g")
    for fields in ({"peerid": 99}, {"groupid": 99}, {"groupid": groupid}, {"peerid": bob.id}):
        bob.send(MsgId.RECEIVED, seq=2**62, **fields)
    world.store.write_marks()
    assert bob.pushed() == []
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    bob.leave()
    ann.say(groupid)
    assert len(world.log_in(bob).ack["offlinemsg"]) == 1

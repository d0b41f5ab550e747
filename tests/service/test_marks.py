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


def test_who_is_blocked_tells_the_blocker_nothing(ann: Person, bob: Person) -> None:
    ann.chat(bob)
    ann.ok(MsgId.BLOCK, userid=bob.id)
    bob.pushed()
    bob.send(MsgId.READ, peerid=ann.id, seq=1)
    bob.send(MsgId.TYPING, toid=ann.id)
    assert ann.pushed() == bob.pushed() == []


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

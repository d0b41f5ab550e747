"""RECALL: who may, how long, and what is seen of it."""

from __future__ import annotations

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.world import Person, World

NOW = "2027-01-15T08:00:00.000Z"


def test_a_recall_is_an_entry_of_its_own_and_is_delivered_live(ann: Person, bob: Person) -> None:
    ann.chat(bob)
    bob.pushed()
    ack = ann.ok(MsgId.RECALL, peerid=bob.id, target=1, cid="r1")
    assert ack == {"msgid": 11, "re": 17, "errno": 0, "cid": "r1", "seq": 2, "time": NOW}
    assert bob.pushed() == [{"msgid": 17, "id": ann.id, "target": 1, "seq": 2, "time": NOW, "peerid": ann.id}]
    assert ann.pushed() == []


def test_a_recalled_message_is_shown_without_its_text(ann: Person, bob: Person) -> None:
    ann.chat(bob, "secret")
    (before,) = bob.pushed()
    ann.ok(MsgId.RECALL, peerid=bob.id, target=1)
    del before["msg"]
    shown, recall = bob.history(peerid=ann.id)
    assert shown == before | {"recalled": True}
    assert recall == {"msgid": 17, "id": ann.id, "target": 1, "seq": 2, "time": NOW, "peerid": ann.id}
    assert ann.history(peerid=bob.id)[1]["peerid"] == bob.id
    assert "secret" not in str(bob.history(peerid=ann.id))


def test_a_recall_in_a_group_names_the_group(ann: Person, bob: Person) -> None:
    groupid = ann.group("g", bob)
    bob.say(groupid)
    ann.pushed()
    bob.ok(MsgId.RECALL, groupid=groupid, target=1)
    assert ann.pushed() == [
        {"msgid": 17, "id": bob.id, "target": 1, "seq": 2, "time": NOW, "groupid": groupid}
    ]


def test_the_senders_other_devices_learn_of_it(world: World, ann: Person, bob: Person) -> None:
    phone = world.log_in(ann, device="phone")
    ann.chat(bob)
    phone.pushed()
    ann.ok(MsgId.RECALL, peerid=bob.id, target=1)
    assert phone.pushed() == [
        {"msgid": 17, "id": ann.id, "target": 1, "seq": 2, "time": NOW, "peerid": bob.id}
    ]
    assert ann.pushed() == []


def test_a_chat_to_oneself_can_be_recalled(world: World, ann: Person) -> None:
    phone = world.log_in(ann, device="phone")
    ann.chat(ann)
    phone.pushed()
    ann.ok(MsgId.RECALL, peerid=ann.id, target=1)
    assert [frame["peerid"] for frame in phone.pushed()] == [ann.id]


@pytest.mark.parametrize(("seconds", "errno"), [(120, 0), (120.001, 14), (1e6, 14)])
def test_the_sender_has_120_seconds(
    world: World, ann: Person, bob: Person, seconds: float, errno: int
) -> None:
    ann.chat(bob)
    world.time += seconds
    assert ann.ask(MsgId.RECALL, peerid=bob.id, target=1)["errno"] == errno


def test_nobody_recalls_anothers_message_but_a_groups_creator(world: World) -> None:
    ann, bob, cem = world.users("ann", "bob", "cem")
    groupid = ann.group("g", bob, cem)
    bob.chat(ann)
    ann.refused(14, MsgId.RECALL, peerid=bob.id, target=1)
    bob.say(groupid)
    cem.refused(14, MsgId.RECALL, groupid=groupid, target=1)
    world.time += 1_000_000
    bob.refused(14, MsgId.RECALL, groupid=groupid, target=1)
    ann.ok(MsgId.RECALL, groupid=groupid, target=1)
    cem.pushed()
    assert cem.history(groupid=groupid)[0]["id"] == bob.id
    assert cem.history(groupid=groupid)[1]["id"] == ann.id


def test_who_took_over_a_group_recalls_as_its_creator(ann: Person, bob: Person, cem: Person) -> None:
    groupid = ann.group("g", bob, cem)
    cem.say(groupid)
    bob.refused(14, MsgId.RECALL, groupid=groupid, target=1)
    ann.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    bob.ok(MsgId.RECALL, groupid=groupid, target=1)


def test_what_is_not_there_is_no_such_message(ann: Person, bob: Person, cem: Person) -> None:
    groupid = ann.group("g")
    ann.say(groupid)
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    ann.chat(bob)
    ann.ok(MsgId.RECALL, peerid=bob.id, target=1)
    for target in (1, 2, 3, 2**62):
        ann.refused(15, MsgId.RECALL, peerid=bob.id, target=target)
    ann.refused(15, MsgId.RECALL, peerid=cem.id, target=1)
    bob.refused(15, MsgId.RECALL, groupid=groupid, target=1)  # from before the joining
    ann.refused(6, MsgId.RECALL, peerid=99, target=1)


def test_a_recall_repeated_with_its_cid_gives_its_first_seq_and_time(
    world: World, ann: Person, bob: Person
) -> None:
    ann.chat(bob)
    first = ann.ok(MsgId.RECALL, peerid=bob.id, target=1, cid="r1")
    bob.pushed()
    world.time += 1_000
    assert ann.ok(MsgId.RECALL, peerid=bob.id, target=1, cid="r1") == first
    ann.refused(15, MsgId.RECALL, peerid=bob.id, target=1, cid="r2")
    ann.send(MsgId.RECALL, peerid=bob.id, target=1)
    assert ann.pushed()[-1]["errno"] == 15
    assert bob.pushed() == []


def test_of_two_recalls_under_way_one_is_stored(world: World, ann: Person, bob: Person) -> None:
    ann.chat(bob)
    for cid in ("r1", "r2"):
        ann.put(MsgId.RECALL, peerid=bob.id, target=1, cid=cid)
    world.commit()
    assert [ann.reply("r1")["errno"], ann.reply("r2")["errno"]] == [0, 15]
    assert bob.live() == [1, 2]


def test_a_recalled_messages_cid_cannot_be_taken_by_its_recall(ann: Person, bob: Person) -> None:
    ann.chat(bob, cid="c1")
    ann.refused(3, MsgId.RECALL, peerid=bob.id, target=1, cid="c1")
    ann.chat(bob, cid="c2")
    ann.ok(MsgId.RECALL, peerid=bob.id, target=1, cid="r1")
    ann.refused(3, MsgId.RECALL, peerid=bob.id, target=2, cid="r1")
    assert ann.history(peerid=bob.id)[1]["msg"] == "hi"


def test_an_offline_user_learns_of_a_recall_in_order_and_never_sees_the_text(
    world: World, ann: Person, bob: Person
) -> None:
    bob.leave()
    ann.chat(bob, "secret")
    ann.chat(bob, "fine")
    ann.ok(MsgId.RECALL, peerid=bob.id, target=1)
    missed = world.log_in(bob).ack["offlinemsg"]
    assert [(entry["msgid"], entry["seq"], entry.get("msg")) for entry in missed] == [
        (6, 1, None),
        (6, 2, "fine"),
        (17, 3, None),
    ]
    assert "secret" not in str(missed)


def test_a_refused_recall_takes_nothing_back(world: World, ann: Person, bob: Person) -> None:
    ann.chat(bob, "stays")
    world.runner.broken.add("write")
    ann.refused(13, MsgId.RECALL, peerid=bob.id, target=1)
    world.runner.broken.clear()
    assert ann.history(peerid=bob.id)[0]["msg"] == "stays"

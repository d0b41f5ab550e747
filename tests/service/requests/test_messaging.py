"""ONE_CHAT and GROUP_CHAT: stored, acknowledged, delivered; resending; reading no faster than storing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from greenchat.protocol.messages import MsgId
from greenchat.service.requests import messaging
from tests.service.world import Person, World

NOW = "2027-01-15T08:00:00.000Z"


def test_a_message_is_acknowledged_with_seq_and_time_and_delivered(ann: Person, bob: Person) -> None:
    ack = ann.ok(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c1")
    assert ack == {"msgid": 11, "re": 6, "errno": 0, "cid": "c1", "seq": 1, "time": NOW}
    assert bob.pushed() == [
        {"msgid": 6, "id": ann.id, "name": "ann", "toid": bob.id, "msg": "hi", "seq": 1, "time": NOW}
    ]
    assert ann.pushed() == []


def test_a_group_message_goes_to_all_other_members(ann: Person, bob: Person, cem: Person) -> None:
    groupid = ann.group("g", bob)
    ack = bob.ok(MsgId.GROUP_CHAT, groupid=groupid, msg="hi", cid="c1")
    assert ack == {"msgid": 11, "re": 10, "errno": 0, "cid": "c1", "seq": 1, "time": NOW}
    assert ann.pushed() == [
        {"msgid": 10, "id": bob.id, "name": "bob", "groupid": groupid, "msg": "hi", "seq": 1, "time": NOW}
    ]
    assert bob.pushed() == cem.pushed() == []


def test_nothing_is_acknowledged_or_delivered_before_the_commit(
    world: World, ann: Person, bob: Person
) -> None:
    ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi")
    assert ann.pushed() == bob.pushed() == []
    world.commit()
    assert ann.pushed(MsgId.ACK)
    assert bob.live() == [1]


def test_what_is_not_stored_is_refused_and_delivered_to_nobody(
    world: World, ann: Person, bob: Person
) -> None:
    world.runner.broken.add("write")
    ann.refused(13, MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c1")
    world.runner.broken.clear()
    assert bob.live() == []
    assert ann.ok(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c1")["seq"] == 1
    assert bob.live() == [1]


def test_seq_counts_in_each_conversation_on_its_own(ann: Person, bob: Person, cem: Person) -> None:
    first, second = ann.group("g", bob), ann.group("h")
    assert [ann.chat(bob), bob.chat(ann), ann.chat(cem), ann.chat(ann), ann.chat(bob)] == [1, 2, 1, 1, 3]
    assert [ann.say(first), bob.say(first), ann.say(second)] == [1, 2, 1]


def test_messages_of_a_connection_are_stored_in_the_order_sent(
    world: World, ann: Person, bob: Person
) -> None:
    for number in range(50):
        ann.put(MsgId.ONE_CHAT, toid=bob.id, msg=str(number), cid=f"c{number}")
        bob.put(MsgId.ONE_CHAT, toid=ann.id, msg=str(number))
    world.commit()
    assert [entry["msg"] for entry in bob.pushed(MsgId.ONE_CHAT)] == [str(number) for number in range(50)]
    assert [frame["cid"] for frame in ann.pushed(MsgId.ACK)] == [f"c{number}" for number in range(50)]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x" * 4_096,
        "\U0001f600" * 4_096,
        "\x00\n\r\x7f",
        '"; DROP TABLE "Message"; --',
        "\u2028\ufeff",
        " ",
    ],
)
def test_any_text_arrives_as_it_was_sent(ann: Person, bob: Person, text: str) -> None:
    ann.chat(bob, text)
    assert bob.pushed()[0]["msg"] == text
    assert ann.history(peerid=bob.id)[0]["msg"] == text


def test_a_message_to_nobody_is_refused(ann: Person) -> None:
    ann.refused(6, MsgId.ONE_CHAT, toid=99, msg="hi")
    ann.refused(7, MsgId.GROUP_CHAT, groupid=99, msg="hi")


def test_a_chat_to_oneself_is_allowed_and_goes_to_the_other_devices(world: World, ann: Person) -> None:
    phone = world.log_in(ann, device="phone")
    assert ann.chat(ann, "note", cid="c1") == 1
    assert ann.pushed() == []
    assert phone.pushed() == [
        {
            "msgid": 6,
            "id": ann.id,
            "name": "ann",
            "toid": ann.id,
            "msg": "note",
            "seq": 1,
            "time": NOW,
            "cid": "c1",
        }
    ]
    assert [entry["msg"] for entry in phone.history(peerid=ann.id)] == ["note"]


@pytest.mark.parametrize("to_group", [True, False])
def test_the_senders_other_devices_get_it_with_the_cid_and_nobody_else_does(
    world: World, ann: Person, bob: Person, to_group: bool
) -> None:
    phone, tablet = world.log_in(ann, device="phone"), world.log_in(bob, device="tablet")
    groupid = ann.group("g", bob)
    for person in (ann, phone, bob, tablet):
        person.pushed()
    assert (phone.say(groupid, cid="c1") if to_group else phone.chat(bob, cid="c1")) == 1
    (own,) = ann.pushed()
    assert own.pop("cid") == "c1"
    assert own["id"] == ann.id
    assert phone.pushed() == []
    assert bob.pushed() == tablet.pushed() == [own]


def test_a_message_without_cid_reaches_the_other_devices_without_one(
    world: World, ann: Person, bob: Person
) -> None:
    phone = world.log_in(ann, device="phone")
    for _ in range(2):
        ann.send(MsgId.ONE_CHAT, toid=bob.id, msg="the same")
    assert [(frame["seq"], "cid" in frame) for frame in phone.pushed()] == [(1, False), (2, False)]


# -- Resending


def test_a_message_sent_again_is_stored_once_and_gets_its_first_seq_and_time(
    world: World, ann: Person, bob: Person
) -> None:
    first = ann.ok(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c1")
    ann.chat(bob, "later")
    bob.pushed()
    world.time += 3_600
    ann.leave()
    ann = world.log_in(ann)
    assert ann.ok(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c1") == first
    assert bob.pushed() == []
    assert len(bob.history(peerid=ann.id)) == 2


def test_a_message_sent_twice_before_the_commit_is_stored_once(
    world: World, ann: Person, bob: Person
) -> None:
    for cid in ("c1", "c2", "c1"):
        ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid=cid)
    world.commit()
    assert [(frame["cid"], frame["seq"]) for frame in ann.pushed()] == [("c1", 1), ("c2", 2), ("c1", 1)]
    assert bob.live() == [1, 2]


def test_a_message_whose_connection_broke_before_the_ack_is_found_again(
    world: World, ann: Person, bob: Person
) -> None:
    ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c1")
    ann.leave()
    world.commit()
    again = world.log_in(ann)
    assert again.chat(bob, cid="c1") == 1
    assert bob.live() == [1]


def test_a_cid_belongs_to_its_sender(world: World, ann: Person, bob: Person) -> None:
    assert [ann.chat(bob, cid="c1"), bob.chat(ann, cid="c1")] == [1, 2]


@pytest.mark.parametrize("change", [{"msg": "other"}, {"toid": 1}])
def test_a_cid_used_for_another_message_is_a_bad_request(
    ann: Person, bob: Person, change: dict[str, object]
) -> None:
    ann.chat(bob, cid="c1")
    reply = ann.refused(3, MsgId.ONE_CHAT, **{"toid": bob.id, "msg": "hi", "cid": "c1"} | change)
    assert "cid" in reply["errmsg"]
    groupid = ann.group("g")
    ann.refused(3, MsgId.GROUP_CHAT, groupid=groupid, msg="hi", cid="c1")
    ann.refused(3, MsgId.RECALL, peerid=bob.id, target=1, cid="c1")
    assert bob.live() == [1]


def test_a_message_that_was_recalled_since_gets_its_first_seq_too(ann: Person, bob: Person) -> None:
    ann.chat(bob, cid="c1")
    ann.ok(MsgId.RECALL, peerid=bob.id, target=1)
    assert ann.chat(bob, cid="c1") == 1


# -- Reading no faster than storing


def test_a_connection_with_max_in_flight_messages_is_read_again_when_half_are_stored(
    make_world: Callable[..., World],
) -> None:
    world = make_world(max_in_flight=4)
    ann, bob = world.users("ann", "bob")
    for number in range(4):
        assert ann.peer.paused is False
        ann.put(MsgId.ONE_CHAT, toid=bob.id, msg=str(number))
    assert ann.peer.paused
    assert not bob.peer.paused
    resumed_at: list[int] = []
    ann.peer.resume = lambda: resumed_at.append(len(ann.peer.frames))  # type: ignore[method-assign]
    world.commit()
    assert resumed_at == [1]  # with the second landed, its ACK about to follow


def test_a_message_to_a_large_group_counts_as_several_until_it_is_stored(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messaging, "LIGHT", 2)
    world = make_world(max_in_flight=4)
    ann, *others = world.users("ann", "bob", "cem", "dan")
    groupid = ann.group("g", *others)
    for _ in range(2):  # what landed counts no more
        ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="of weight three")
        assert not ann.peer.paused
        ann.put(MsgId.ONE_CHAT, toid=others[0].id, msg="of weight one")
        assert ann.peer.paused
        world.commit()
        assert not ann.peer.paused
    world.runner.broken.add("write")
    ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="refused")
    world.commit()
    ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="refused")
    assert not ann.peer.paused


def test_what_a_message_counts_as_does_not_change_with_the_group(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messaging, "LIGHT", 1)
    world = make_world(max_in_flight=3)
    ann, bob, cem, dan = world.users("ann", "bob", "cem", "dan")
    groupid = ann.group("g")
    for newcomer in (bob, cem, dan):
        ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
        newcomer.ok(MsgId.ADD_GROUP, groupid=groupid)
    for paused in (False, False, True):
        ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi")
        assert ann.peer.paused is paused


def test_refused_messages_let_the_connection_be_read_again(make_world: Callable[..., World]) -> None:
    world = make_world(max_in_flight=2)
    ann, bob = world.users("ann", "bob")
    for _ in range(3):
        ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c1")
    world.runner.broken.add("write")
    world.commit()
    assert [frame["errno"] for frame in ann.pushed()] == [13] * 3
    assert not ann.peer.paused


def test_while_the_store_is_full_senders_are_not_read_and_too_much_is_busy(
    make_world: Callable[..., World],
) -> None:
    world = make_world(commit_queue=8)
    ann, bob, cem = world.users("ann", "bob", "cem")
    for _ in range(5):
        ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi")
    assert not ann.peer.paused
    cem.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi")
    assert cem.peer.paused
    for _ in range(3):
        bob.put(MsgId.ONE_CHAT, toid=ann.id, msg="hi", cid="c1")
    assert bob.reply("c1")["errno"] == 13
    world.commit()
    assert not cem.peer.paused
    assert not bob.peer.paused
    assert len(bob.history(peerid=ann.id)) == 6  # two of the three that had one cid were taken


def test_messages_under_way_when_their_sender_is_replaced_reach_the_new_connection(
    world: World, ann: Person, bob: Person
) -> None:
    ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="c1")
    again = world.connect()
    again.login(id=ann.id, force=True)
    world.commit()
    assert [entry["cid"] for entry in again.ack["offlinemsg"]] + [f["cid"] for f in again.pushed()] == ["c1"]
    assert bob.live() == [1]

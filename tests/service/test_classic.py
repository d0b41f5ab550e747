"""The original's C++ clients: their requests byte for byte, and nothing that they do not know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.world import Person, World

LOGIN_ANN = b'{"id":1,"msgid":1,"password":"pw"}'
CHAT_TO_BOB = b'{"id":1,"msg":"hello","msgid":6,"name":"ann","time":"2026-01-01 10:00:00","toid":2}'


@pytest.fixture
def classic(world: World, ann: Person, bob: Person) -> Person:
    """Ann with an original client; bob has ours."""
    ann.leave()
    return log_in(world)


def log_in(world: World) -> Person:
    person = world.connect(classic=True)
    person.raw(LOGIN_ANN)
    person.id = 1
    person.ack = person.peer.frames.pop(0)
    return person


def strings(items: list[str]) -> list[dict[str, Any]]:
    """Read an array of JSON strings."""
    assert all(isinstance(item, str) for item in items)
    return [json.loads(item) for item in items]


def test_registering_and_logging_in_byte_for_byte(world: World) -> None:
    person = world.connect(classic=True)
    person.raw(b'{"msgid":4,"name":"ann","password":"pw"}')
    person.raw(LOGIN_ANN)
    registered, logged_in = person.pushed()
    assert registered == {"msgid": 5, "errno": 0, "id": 1, "name": "ann"}
    assert logged_in == {"msgid": 2, "errno": 0, "id": 1, "name": "ann"}  # the empty lists are absent


def test_what_is_wrong_is_told_with_errno_and_errmsg(world: World, ann: Person) -> None:
    for frame, errno in ((LOGIN_ANN, 2), (b'{"id":1,"msgid":1,"password":"no"}', 1)):
        person = world.connect(classic=True)
        person.raw(frame)
        (reply,) = person.pushed()
        assert (reply["msgid"], reply["errno"]) == (2, errno)
        assert reply["errmsg"]


def test_friends_groups_and_messages_are_arrays_of_json_strings(
    world: World, ann: Person, bob: Person, cem: Person
) -> None:
    ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    groupid = ann.group("g", bob)
    ann.leave()
    bob.chat(ann, "one")
    bob.say(groupid, "two")
    ack = log_in(world).ack
    assert ack.keys() == {"msgid", "errno", "id", "name", "friends", "groups", "offlinemsg"}
    assert strings(ack["friends"]) == [{"id": 2, "name": "bob", "state": "online"}]
    (group,) = strings(ack["groups"])
    assert strings(group.pop("users")) == [
        {"id": 1, "name": "ann", "state": "online", "role": "creator"},
        {"id": 2, "name": "bob", "state": "online", "role": "normal"},
    ]
    assert group == {"id": groupid, "groupname": "g", "groupdesc": ""}
    messages = {entry["msgid"]: entry for entry in strings(ack["offlinemsg"])}
    assert {(entry["name"], entry["msg"]) for entry in messages.values()} == {("bob", "one"), ("bob", "two")}
    assert all(entry["time"] and entry["id"] == bob.id for entry in messages.values())
    assert messages[10]["groupid"] == groupid


def test_the_originals_requests_work_and_none_is_acknowledged(
    world: World, classic: Person, bob: Person
) -> None:
    groupid = bob.group("g")
    for frame in (
        CHAT_TO_BOB,
        b'{"friendid":2,"id":1,"msgid":7}',
        b'{"groupdesc":"of ann","groupname":"h","id":1,"msgid":8}',
        b'{"groupid":%d,"id":1,"msgid":9}' % groupid,
        b'{"groupid":%d,"id":1,"msg":"all","msgid":10,"name":"ann","time":"2026-01-01 10:00:00"}' % groupid,
        b'{"id":1,"msgid":3}',
    ):
        classic.raw(frame)
    assert classic.peer.raw[1:] == []
    assert [(frame["msgid"], frame["msg"]) for frame in bob.pushed(6, 10)] == [(6, "hello"), (10, "all")]
    again = log_in(world)
    assert [friend["id"] for friend in strings(again.ack["friends"])] == [2]
    assert [group["groupname"] for group in strings(again.ack["groups"])] == ["g", "h"]


def test_live_messages_have_all_that_the_original_reads(classic: Person, bob: Person) -> None:
    groupid = bob.group("g")
    classic.raw(b'{"groupid":%d,"id":1,"msgid":9}' % groupid)
    bob.chat(classic, "one")
    bob.say(groupid, "two")
    one, two = classic.pushed()
    assert (one["msgid"], one["id"], one["name"], one["msg"]) == (6, 2, "bob", "one")
    assert (two["msgid"], two["id"], two["name"], two["msg"], two["groupid"]) == (
        10,
        2,
        "bob",
        "two",
        groupid,
    )
    assert one["time"] == two["time"] == "2027-01-15T08:00:00.000Z"


def test_nothing_above_10_comes_unasked(world: World, classic: Person, bob: Person) -> None:
    phone = world.log_in(1, device="phone")
    classic.raw(b'{"friendid":2,"id":1,"msgid":7}')
    bob.leave()
    bob = world.log_in(bob)
    bob.chat(classic)
    bob.send(MsgId.TYPING, toid=1)
    phone.send(MsgId.READ, peerid=2, seq=1)
    bob.ok(MsgId.RECALL, peerid=1, target=1)
    bob.ok(MsgId.BLOCK, userid=1)
    for frame in (CHAT_TO_BOB, b"not json", b"{}", b'{"msgid":6}', b'{"msgid":10,"groupid":9,"msg":"x"}'):
        classic.raw(frame)
    assert [frame["msgid"] for frame in classic.pushed()] == [6]


@pytest.mark.parametrize(
    ("frame", "msgid"),
    [
        (b'{"msgid":12}', 12),
        (b'{"msgid":15,"peerid":2}', 16),
        (b'{"msgid":17,"peerid":2,"target":1}', 11),
        (b'{"msgid":17,"peerid":2,"target":9}', 11),
        (b'{"msgid":25}', 11),
        (b'{"msgid":30,"name":"bob"}', 11),
        (b'{"msgid":99}', 11),
    ],
)
def test_what_it_asks_for_by_a_msgid_above_10_is_answered(classic: Person, frame: bytes, msgid: int) -> None:
    classic.raw(CHAT_TO_BOB)
    classic.raw(frame)
    assert [reply["msgid"] for reply in classic.pushed()] == [msgid]


def test_ten_bad_frames_end_a_classic_connection_too(classic: Person) -> None:
    for _ in range(10):
        assert classic.peer.closed is None
        classic.raw(b"bad")
    assert classic.peer.closed == "protocol"
    assert classic.pushed() == []


# -- Offline messages


def test_recalled_messages_have_an_empty_text_and_recalls_are_not_shown(
    world: World, ann: Person, bob: Person
) -> None:
    ann.leave()
    bob.chat(ann, "secret")
    bob.ok(MsgId.RECALL, peerid=1, target=1)
    classic = log_in(world)
    (entry,) = strings(classic.ack["offlinemsg"])
    assert (entry["msgid"], entry["msg"], entry["seq"]) == (6, "", 1)
    assert "recalled" not in entry
    bob.ok(MsgId.RECALL, peerid=1, target=bob.chat(ann))
    assert [frame["seq"] for frame in classic.pushed()] == [3]
    classic.leave()
    assert "offlinemsg" not in log_in(world).ack  # the cursor passed over what is not shown


def test_messages_count_as_received_once_written_and_not_before(
    world: World, classic: Person, bob: Person
) -> None:
    bob.chat(classic, "written")
    classic.peer.stuck = True
    bob.chat(classic, "lost with the connection")
    classic.leave()
    classic = log_in(world)
    assert [entry["msg"] for entry in strings(classic.ack["offlinemsg"])] == ["lost with the connection"]
    classic.leave()
    assert "offlinemsg" not in log_in(world).ack


def test_a_page_that_was_not_written_comes_again(world: World, ann: Person, bob: Person) -> None:
    ann.leave()
    bob.chat(ann)
    person = world.connect(classic=True)
    person.peer.stuck = True
    person.raw(LOGIN_ANN)
    person.leave()
    assert len(log_in(world).ack["offlinemsg"]) == 1


def test_what_is_written_after_a_logout_does_not_count_for_who_comes_next(
    world: World, classic: Person, bob: Person
) -> None:
    classic.peer.stuck = True
    bob.chat(classic)
    classic.raw(b'{"id":1,"msgid":3}')
    classic.raw(b'{"id":2,"msgid":1,"password":"pw"}')
    classic.peer.write()
    assert len(log_in(world).ack["offlinemsg"]) == 1


def test_the_rest_of_the_pages_follows_as_live_messages_in_order(
    world: World, ann: Person, bob: Person
) -> None:
    ann.leave()
    for number in range(450):
        bob.put(MsgId.ONE_CHAT, toid=1, msg=str(number))
    world.commit()
    person = world.connect(classic=True)
    for number in (450, 451):
        world.when(lambda: person.peer.raw, lambda number=number: bob.chat(ann, str(number)))  # type: ignore[misc]
    person.raw(LOGIN_ANN)
    world.runner.hooks.clear()
    bob.chat(ann, "live")
    ack, *live = person.pushed()
    got = [entry["msg"] for entry in strings(ack["offlinemsg"])]
    assert len(got) == 200
    assert [*got, *[frame["msg"] for frame in live]] == [*map(str, range(452)), "live"]
    person.leave()
    assert "offlinemsg" not in log_in(world).ack


def test_the_answer_to_what_one_says_oneself_comes_live(world: World, classic: Person, bob: Person) -> None:
    classic.leave()
    bob.chat(classic)
    classic = log_in(world)
    for _ in range(2):
        classic.raw(CHAT_TO_BOB)
        bob.chat(classic, "answer")
        assert [frame["msg"] for frame in classic.pushed()] == ["answer"]


def test_own_messages_of_a_classic_client_reach_the_users_other_devices(
    world: World, classic: Person
) -> None:
    phone = world.log_in(1, device="phone")
    classic.raw(CHAT_TO_BOB)
    assert [frame["msg"] for frame in phone.pushed(6)] == ["hello"]
    phone.chat(phone, "note")
    assert [frame["msg"] for frame in classic.pushed()] == ["note"]


def test_a_login_gets_one_answer_even_if_a_later_page_cannot_be_read(
    world: World, ann: Person, bob: Person
) -> None:
    ann.leave()
    for _ in range(201):
        bob.put(MsgId.ONE_CHAT, toid=1, msg="hi")
    world.commit()
    person = world.connect(classic=True)
    world.when(lambda: person.peer.raw, lambda: world.runner.broken.add("read"))
    person.raw(LOGIN_ANN)
    world.runner.broken.clear()
    world.runner.hooks.clear()
    answered = [frame for frame in person.peer.raw if frame.startswith(b'{"msgid":2,')]
    assert len(answered) == 1
    assert person.peer.closed or person.session.user == 1

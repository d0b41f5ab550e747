"""The original's C++ clients: their requests byte for byte, and nothing that they do not know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenchat.protocol.classic.text import MAX_FRAME
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
    assert one["time"] == two["time"] == "2027-01-15 08:00:00"


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
    assert 0 < len(got) < 20
    assert len(person.peer.raw[0]) <= MAX_FRAME
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


# -- Pace, parts, and what does not fit


def test_what_one_says_to_oneself_is_shown(world: World, classic: Person) -> None:
    classic.raw(b'{"id":1,"msg":"note","msgid":6,"name":"ann","time":"","toid":1}')
    assert [(frame["msgid"], frame["id"], frame["msg"]) for frame in classic.pushed()] == [(6, 1, "note")]
    classic.leave()
    assert "offlinemsg" not in log_in(world).ack


def test_a_text_in_parts_counts_as_received_with_its_last_one(
    world: World, classic: Person, bob: Person
) -> None:
    bob.chat(classic, "x" * 2_000)
    assert [frame["msg"][:6] for frame in classic.pushed()] == ["(1/3) ", "(2/3) ", "(3/3) "]
    classic.leave()
    assert "offlinemsg" not in log_in(world).ack


def test_live_messages_without_room_come_from_the_log_once_there_is_some(
    world: World, classic: Person, bob: Person
) -> None:
    groupid = bob.group("g")
    classic.raw(b'{"groupid":%d,"id":1,"msgid":9}' % groupid)
    bob.chat(classic, "one")
    classic.peer.room = 0
    for number in range(300):
        bob.put(MsgId.ONE_CHAT, toid=1, msg=f"{number}")
        bob.put(MsgId.GROUP_CHAT, groupid=groupid, msg=f"{number}")
    world.when(lambda: classic.peer.drained > 3, lambda: setattr(classic.peer, "room", 64))
    world.commit()
    got = classic.pushed()
    assert [frame["msg"] for frame in got if frame["msgid"] == 6] == ["one", *map(str, range(300))]
    assert [frame["msg"] for frame in got if frame["msgid"] == 10] == list(map(str, range(300)))
    bob.chat(classic, "live again")
    assert [frame["msg"] for frame in classic.pushed()] == ["live again"]


def test_what_does_not_fit_the_answer_is_told_and_comes_live(world: World, ann: Person, bob: Person) -> None:
    stranger = world.connect()
    for number in range(30):
        friend = stranger.ok(MsgId.REG, name=f"friend {number}", password="pw")
        ann.ok(MsgId.ADD_FRIEND, friendid=friend["id"])
    ann.leave()
    bob.chat(ann, "one")
    person = world.connect(classic=True)
    person.raw(LOGIN_ANN)
    ack, told, one = person.pushed()
    assert 5 < len(ack["friends"]) < 30
    assert "offlinemsg" not in ack
    assert (told["msgid"], told["id"], told["name"]) == (6, 1, "ann")
    assert f"{30 - len(ack['friends'])} friends" in told["msg"]
    assert one["msg"] == "one"
    assert all(len(frame) <= MAX_FRAME for frame in person.peer.raw)


def test_a_refused_login_speaks_of_no_device(world: World, ann: Person) -> None:
    person = world.connect(classic=True)
    person.raw(LOGIN_ANN)
    (reply,) = person.pushed()
    assert reply["errmsg"] == "this account is logged in already, with another client"


# -- The older lineage, and foreign dialects


def test_the_older_lineage_is_understood_and_answered_in_its_numbers(
    world: World, ann: Person, bob: Person
) -> None:
    ann.leave()
    bob.chat(ann, "one")
    person = world.connect(classic=True)
    person.raw(b'{"id":1,"msgid":1000,"password":"pw"}')
    person.id = 1
    (ack,) = person.pushed()
    assert ack["msgid"] == 1001
    assert [(entry["msgid"], entry["msg"]) for entry in strings(ack["offlinemsg"])] == [(1005, "one")]
    person.raw(b'{"id":1,"msg":"hello","msgid":1005,"name":"ann","time":"","toid":2}')
    assert [frame["msg"] for frame in bob.pushed(6)] == ["hello"]
    bob.chat(person, "two")
    assert [(frame["msgid"], frame["msg"]) for frame in person.pushed()] == [(1005, "two")]


@pytest.mark.parametrize(
    "request_",
    [
        b'{"msgid":9,"groupid":1,"id":2,"msg":"all"}',
        b'{"msgid":3,"name":"eve","password":"pw"}',
        b'{"msgid":5,"id":2,"toid":1,"msg":"hi"}',
    ],
)
def test_a_request_of_a_foreign_dialect_is_not_executed_and_ends_the_connection(
    world: World, ann: Person, bob: Person, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    groupid = ann.group("g")
    bob.leave()
    for _ in range(2):
        person = world.connect(classic=True)
        person.raw(b'{"id":2,"msgid":1,"password":"pw"}')
        person.raw(request_)
        assert person.peer.closed == "another protocol"
        person.leave()
    assert ann.ok(MsgId.GROUP_INFO, groupid=groupid)["group"]["count"] == 1
    assert ann.pushed(6) == []
    lines = [line for line in caplog.messages if "speaks another protocol" in line]
    assert len(lines) == 1
    assert "fields of our" in lines[0]

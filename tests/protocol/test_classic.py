"""The original clients' wire: two ranges of msgids, frames that fit, texts in parts, foreign dialects."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.errors import AlreadyOnline, BadCredentials, BadRequest, Blocked, MalformedFrame, RateLimited
from greenchat.model.conversations import of_pair
from greenchat.model.records import Entry
from greenchat.protocol import messages as m
from greenchat.protocol.classic.clients import ClassicClients
from greenchat.protocol.classic.dialects import ForeignDialect, check_beginning, is_message
from greenchat.protocol.classic.text import MAX_FRAME, PARTS, split_text
from greenchat.protocol.classic.wire import NUL, ClassicWire
from greenchat.protocol.messages import GroupItem, MemberItem, UserItem
from greenchat.protocol.native import NATIVE
from greenchat.protocol.wire import Frames, SharedEntry, Wire

LOGIN = {"msgid": 1, "id": 7, "password": "pw"}


CLIENTS = ClassicClients(UTC, lambda: 1_800_000_000.0)


def wire(first: dict[str, Any] | None = LOGIN, clients: ClassicClients = CLIENTS) -> ClassicWire:
    found = ClassicWire(clients, "127.0.0.1:1")
    if first is not None:
        found.request(frame(**first))
    return found


def older() -> ClassicWire:
    return wire({**LOGIN, "msgid": 1000})


def frame(**fields: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def chat(text: str, name: str = "bob", seq: int = 5, conversation: int = of_pair(1, 2)) -> Entry:
    """Return a message from bob, 2, to ann, 1."""
    return Entry(conversation, seq, 2, name, None, "text", text, "2026-11-30T22:00:00.123Z")


def objects(frames: Frames) -> list[dict[str, Any]]:
    """Return complete frames as objects."""
    assert all(each.endswith(NUL) and each.count(NUL) == 1 for each in frames)
    return [json.loads(each[:-1]) for each in frames]


def read(wire: Wire, frame: bytes) -> object:
    """Return the request in a frame; of a bad one, what its sender is told and by which reply."""
    try:
        return wire.request(frame)
    except MalformedFrame as malformed:
        return malformed.re, malformed.cid, str(malformed.error)


# -- Msgids


@pytest.mark.parametrize("original", [1, 3, 4, 6, 7, 8, 9, 10])
def test_the_older_lineage_counts_from_1000(original: int) -> None:
    fields = {"id": 1, "name": "n", "password": "p", "toid": 1, "msg": "m", "groupid": 1, "groupname": "g"}
    fields["friendid"] = 2
    wanted = {
        1: ("id", "password"), 4: ("name", "password"), 6: ("toid", "msg"), 7: ("friendid",),
        8: ("groupname",),
        9: ("groupid",), 10: ("groupid", "msg"),
    }.get(original, ("id",))  # fmt: skip
    request = {name: fields[name] for name in wanted}
    todays = NATIVE.request(frame(msgid=original, **request))
    assert older().request(frame(msgid=999 + original, **request)) == todays
    assert wire().request(frame(msgid=original, **request)) == todays


def test_bytes_that_are_no_text_leave_the_numbering_open() -> None:
    found = wire(None)
    with pytest.raises(MalformedFrame):
        found.request(b'\0{"msgid":4}')
    assert found.request(frame(**{**LOGIN, "msgid": 1000})) == m.Login(id=7, password="pw")
    assert objects(found.failed(BadCredentials(), 1, None))[0]["msgid"] == 1001


def test_what_the_older_lineage_is_sent_has_its_msgids_also_inside_the_strings() -> None:
    found = older()
    assert objects(found.entry(chat("hi"), 1))[0]["msgid"] == 1005
    ack, _, _ = login(found, [], [], [chat("hi"), chat("all", conversation=-3)])
    assert ack["msgid"] == 1001
    assert [json.loads(text)["msgid"] for text in ack["offlinemsg"]] == [1005, 1009]
    assert objects(found.failed(BadCredentials(), 1, None))[0]["msgid"] == 1001


def test_the_two_lineages_share_no_frames() -> None:
    assert wire().slot != older().slot
    assert older().slot == older().slot != wire(clients=ClassicClients()).slot != NATIVE.slot


def test_the_first_frame_fixes_the_numbers() -> None:
    assert read(older(), b'{"msgid":6,"toid":1,"msg":"x"}') == (
        6 - 999, None, "there is no request with msgid -993",
    )  # fmt: skip
    assert read(wire(), b'{"msgid":1005,"toid":1,"msg":"x"}') == (
        1005, None, "there is no request with msgid 1005",
    )  # fmt: skip


# -- Dialects

LOGOUT_LAST = [
    b'{"msgid":3,"name":"ann","password":"pw"}',
    b'{"msgid":5,"id":1,"toid":2,"msg":"hi"}',
    b'{"msgid":6,"id":1,"friendid":2}',
    b'{"msgid":7,"id":1,"groupname":"g","groupdesc":""}',
    b'{"msgid":8,"id":1,"groupid":2}',
    b'{"msgid":9,"id":1,"groupid":2,"msg":"hi"}',
]
"""Requests of a family that has LOGINOUT as its last number; each would be another request here."""


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (b'{"msgid":6,"id":1,"name":"ann","to":"bob","msg":"x"}', "ONE_CHAT has no toid"),
        (b'{"msgid":10,"id":1}', "GROUP_CHAT has no groupid"), (b'{"msgid":1,"id":1,"p":"x"}', "no password"),
        (b'{"msgid":9,"id":1,"gid":2}', "ADD_GROUP has no groupid"), (b'{"msgid":2,"id":1}', "our replies"),
        (b'{"msgid":5}', "our replies"), (b'{"msgid":4,"user":"ann","password":"x"}', "REG has no name"),
        (b'{"msgid":1,"account":"ann","password":"x"}', "LOGIN has no id"),
    ],
)  # fmt: skip
def test_a_request_without_its_own_fields_is_a_foreign_dialect(request_: bytes, sentence: str) -> None:
    with pytest.raises(ForeignDialect, match=sentence):
        wire().request(request_)


@pytest.mark.parametrize("request_", LOGOUT_LAST)
def test_another_requests_fields_are_a_foreign_dialect(request_: bytes) -> None:
    with pytest.raises(ForeignDialect, match="has the fields of our"):
        wire().request(request_)
    with pytest.raises(ForeignDialect):
        wire(None).request(request_)


@pytest.mark.parametrize(
    ("first", "sentence"),
    [
        (b'{"type":"login","id":1}', "with a msgid"),
        (b'{"msgid":"1"}', "with a msgid"),
        (b'{"msgid":77}', "msgid 77"),
    ],
)
def test_a_first_frame_with_other_numbers_is_a_foreign_dialect(first: bytes, sentence: str) -> None:
    with pytest.raises(ForeignDialect, match=sentence):
        wire(None).request(first)


@pytest.mark.parametrize(
    "request_",
    [
        b'{"msgid":6}', b'{"msgid":10,"groupid":9,"msg":"x"}', b'{"msgid":9,"groupid":9}', b'{"msgid":12}',
        b'{"id":1,"msg":"x","msgid":6,"name":"ann","time":"","toid":2}', b'{"id":1,"msgid":3}', b"not json",
        b'{"msgid":4,"name":"ann","password":"pw"}', b"[1]",
        b'{"msgid":1,"id":1,"token":"t"}', b'{"msgid":1,"name":"ann","password":"pw"}',
    ],
)  # fmt: skip
def test_our_own_requests_and_bad_frames_pass_as_they_are(request_: bytes) -> None:
    assert read(wire(), request_) == read(NATIVE, request_)


@pytest.mark.parametrize(
    "prefix", [b"\0\0\0\x2a", b"\x2a\0\0\0", b"\0\x2a", b"\x2a\0", b"\0\0\0\x20", b"\0\0\x01\x0a"]
)
def test_a_length_before_the_first_message_is_seen(prefix: bytes) -> None:
    with pytest.raises(ForeignDialect, match="begins with its length"):
        check_beginning(prefix + b'{"msgid":1,"id":1,"password":"pw"}')


@pytest.mark.parametrize(
    "first", [b'{"msgid":1}\0', b"\r\n{", b"\n\n{", b"\0\0\0\0{", b"\0\n{", b"", b"{", b"ab{"]
)
def test_what_is_no_length_is_not_taken_for_one(first: bytes) -> None:
    check_beginning(first)


def test_a_whole_object_is_told_from_a_part_of_one() -> None:
    assert is_message(b'{"msgid":1}')
    assert not any(map(is_message, (b"", b'{"msgid":1', b"[]", b'{"a":1} x', b"\xff")))


# -- What fits


@given(st.text(max_size=4096), st.text("\x01é😀'\"\\\u3042", min_size=1, max_size=50), st.booleans())
def test_a_text_comes_whole_in_parts_that_fit(text: str, name: str, old: bool) -> None:
    frames = (older() if old else wire()).entry(chat(text, name=name), 1)
    assert len(frames) <= PARTS + 4
    assert all(len(each) <= MAX_FRAME + len(NUL) for each in frames)
    pieces = [each["msg"] for each in objects(frames)]
    if len(pieces) > 1:
        marks = [f"({number}/{len(pieces)}) " for number in range(1, len(pieces) + 1)]
        assert all(piece.startswith(mark) for piece, mark in zip(pieces, marks, strict=True))
        pieces = [piece.removeprefix(mark) for piece, mark in zip(pieces, marks, strict=True)]
    assert "".join(pieces) == text


@pytest.mark.parametrize("text", ["\x01" * 4096, "😀" * 4096, "中" * 4096, "e\u0301" * 2048])
def test_the_longest_texts_have_room_in_the_queue_of_one_client(text: str) -> None:
    frames = wire().entry(chat(text, name="\x7f😀" * 25, seq=2**62), 1)
    assert max(map(len, frames)) <= MAX_FRAME + len(NUL)
    assert len(frames) <= 36


def test_a_text_is_split_at_a_blank_if_one_is_near_and_never_inside_a_character() -> None:
    assert list(split_text("hello world", 8)) == ["hello ", "world"]
    assert list(split_text("abcdefghij", 8)) == ["abcdefgh", "ij"]
    assert list(split_text("abcdefge\u0301", 8)) == ["abcdefg", "e\u0301"]
    assert list(split_text("", 8)) == []


def test_the_time_is_a_text_in_the_zone_of_the_setting() -> None:
    found = wire(clients=ClassicClients(ZoneInfo("Asia/Shanghai")))
    (message,) = objects(found.entry(chat("hi"), 1))
    assert message == {
        "msgid": 6, "id": 2, "name": "bob", "toid": 1, "msg": "hi", "seq": 5, "time": "2026-12-01 06:00:00",
    }  # fmt: skip


def login(
    found: ClassicWire, friends: list[UserItem], groups: list[GroupItem], entries: list[Entry]
) -> tuple[dict[str, Any], int, str]:
    """Return LOGIN_ACK, how many of the entries it has room for, and what the client is told besides."""
    request = m.Login(id=1, password="pw")
    ack = m.LoginAck(id=1, name="ann", friends=friends, groups=groups)
    page = found.login_room(request, ack)([SharedEntry(entry, 1) for entry in entries])
    ack.offlinemsg = page
    frames = found.reply(request, ack)
    assert all(len(each) <= MAX_FRAME + len(NUL) for each in frames)
    answer, *notices = objects(frames)
    return answer, len(page), "".join(notice["msg"] for notice in notices)


def friends(count: int) -> list[UserItem]:
    return [UserItem(number, f"friend {number}", "online") for number in range(1, count + 1)]


def group(groupid: int, members: int, known: bool = True) -> GroupItem:
    users = [MemberItem(number, f"member {number}", "offline", "normal") for number in range(1, members + 1)]
    item = GroupItem(id=groupid, groupname=f"group {groupid}", groupdesc="", count=members, role="normal")
    if known:
        item.users = users
    return item


def test_login_ack_holds_all_that_fits_and_absent_lists_where_there_is_nothing() -> None:
    assert login(wire(), [], [], []) == ({"msgid": 2, "errno": 0, "id": 1, "name": "ann"}, 0, "")
    ack, shown_messages, _ = login(wire(), friends(2), [group(3, 2)], [chat("one"), chat("two")])
    assert [json.loads(text)["name"] for text in ack["friends"]] == ["friend 1", "friend 2"]
    (shown,) = [json.loads(text) for text in ack["groups"]]
    assert shown.keys() == {"id", "groupname", "groupdesc", "users"}
    assert json.loads(shown["users"][1]) == {
        "id": 2, "name": "member 2", "state": "offline", "role": "normal",
    }  # fmt: skip
    assert [json.loads(text)["msg"] for text in ack["offlinemsg"]] == ["one", "two"]
    assert shown_messages == 2


@pytest.mark.parametrize(
    ("friends_", "groups", "words"),
    [
        (3, [group(1, 40)], "members"),
        (30, [], "friends"),
        (30, [group(1, 40), group(2, 2)], "friends, 42 members"),
        (0, [group(number, 1) for number in range(1, 60)], "groups"),
        (1, [group(1, 5_000, known=False)], "5000 members"),
    ],
)
def test_what_does_not_fit_is_counted(friends_: int, groups: list[GroupItem], words: str) -> None:
    _, shown, told = login(older(), friends(friends_), groups, [chat("later")])
    assert words in told
    assert shown == 0


@given(
    st.integers(0, 40), st.lists(st.integers(1, 12), max_size=8), st.lists(st.text(max_size=400), max_size=9)
)
def test_no_login_ack_is_longer_than_a_frame(count: int, sizes: list[int], texts: list[str]) -> None:
    groups = [group(number, size) for number, size in enumerate(sizes, 1)]
    ack, shown, told = login(wire(), friends(count), groups, [chat(text) for text in texts])
    assert len(ack.get("offlinemsg", [])) == shown
    assert told or len(ack.get("friends", [])) == count


def test_a_reply_that_is_too_long_becomes_an_error() -> None:
    long = m.HistoryAck(messages=[SharedEntry(chat("x" * 2000), 1)], more=False)
    (told,) = objects(wire().reply(m.History(peerid=2, cid="c"), long))
    assert (told["msgid"], told["errno"], told["error"], told["cid"]) == (16, 12, "too_large", "c")


# -- Refusals


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadCredentials(), "the id or the password is wrong"),
        (AlreadyOnline(), "logged in already"),
        (
            RateLimited("too many wrong passwords", retry_after=12.3),
            "too many wrong passwords: try again in 12 s",
        ),
        (BadRequest("name: may not be empty"), "name: may not be empty"),
    ],
)
def test_why_a_login_is_refused_is_told_to_a_person(error: Any, words: str) -> None:
    (reply,) = objects(wire().failed(error, 1, None))
    assert (reply["msgid"], reply["errno"]) == (2, error.errno)
    assert words in reply["errmsg"]
    assert "device" not in reply["errmsg"]


def test_a_failure_that_they_cannot_show_is_not_sent() -> None:
    assert wire().failed(Blocked(), 6, None) == ()
    assert wire().failed(BadRequest("bad"), None, None) == ()
    assert len(wire().failed(BadRequest("bad"), 15, None)) == 1

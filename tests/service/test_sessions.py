"""The gate in: which reply a frame gets, whatever it holds, and who must log in first."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from greenchat.errors import RateLimited
from greenchat.protocol.messages import REQUESTS, MsgId
from greenchat.service.device.stream import Stream
from greenchat.service.routes import ROUTES
from greenchat.service.session import Session
from tests.garbage import alive, without_collector
from tests.service.world import Person, World

VALID: dict[int, dict[str, Any]] = {
    1: {"id": 1, "password": "pw"},
    3: {},
    4: {"name": "new", "password": "pw"},
    6: {"toid": 1, "msg": "hi"},
    7: {"friendid": 2},
    8: {"groupname": "g"},
    9: {"groupid": 1},
    10: {"groupid": 1, "msg": "hi"},
    12: {},
    13: {"peerid": 1, "seq": 1},
    15: {"peerid": 1},
    17: {"peerid": 1, "target": 1},
    18: {"friendid": 2},
    19: {"userid": 2},
    20: {"userid": 2},
    21: {"groupid": 1},
    22: {"ids": [1]},
    25: {},
    26: {"toid": 1},
    27: {"peerid": 1, "seq": 1},
    28: {"old": "pw", "new": "new"},
    29: {"groupid": 1},
    30: {"name": "ann"},
}
"""A frame of each request."""

OPEN = (MsgId.LOGIN, MsgId.REG, MsgId.HEARTBEAT)
UNANSWERED = (MsgId.RECEIVED, MsgId.TYPING, MsgId.READ)

WITHOUT_DATABASE = {*UNANSWERED, MsgId.LOGINOUT, MsgId.HEARTBEAT}
"""Requests that no database can fail."""

BAD_FRAMES = [
    b"hello",
    b"[]",
    b"null",
    b"7",
    b'"text"',
    b"{}",
    b'{"msgid":"6"}',
    b'{"msgid":6.0}',
    b'{"msgid":true}',
    b'{"msgid":null}',
    b'{"msgid":[6]}',
    b'{"msgid":6,"toid":1,"msg":"hi"',
    b'{"msgid":6,"toid":1,"msg":"\xff"}',
    b'{"msgid":6,"toid":1,"msg":"\\ud800"}',
    b'\xef\xbb\xbf{"msgid":12}',
    b'{"msgid":12,"x":NaN}',
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b"GET / HTTP/1.1",
    b"\x16\x03\x01\x02",
]

BAD_FIELDS = [
    (6, {"msg": "hi"}, 3, "toid"),
    (6, {"toid": 1}, 3, "msg"),
    (6, {"toid": None, "msg": "hi"}, 3, "toid"),
    (6, {"toid": "1", "msg": "hi"}, 3, "toid"),
    (6, {"toid": 1.5, "msg": "hi"}, 3, "toid"),
    (6, {"toid": True, "msg": "hi"}, 3, "toid"),
    (6, {"toid": 0, "msg": "hi"}, 3, "toid"),
    (6, {"toid": -1, "msg": "hi"}, 3, "toid"),
    (6, {"toid": 2**31, "msg": "hi"}, 3, "toid"),
    (6, {"toid": 10**40, "msg": "hi"}, 3, "toid"),
    (6, {"toid": 1, "msg": ["hi"]}, 3, "msg"),
    (6, {"toid": 1, "msg": ""}, 3, "msg"),
    (6, {"toid": 1, "msg": "x" * 4_097}, 12, "msg"),
    (6, {"toid": 1, "msg": "hi", "cid": ""}, 3, "cid"),
    (6, {"toid": 1, "msg": "hi", "cid": 7}, 3, "cid"),
    (6, {"toid": 1, "msg": "hi", "cid": "c" * 37}, 12, "cid"),
    (7, {}, 3, "friendid"),
    (8, {}, 3, "groupname"),
    (8, {"groupname": " "}, 3, "groupname"),
    (8, {"groupname": "a\nb"}, 3, "groupname"),
    (8, {"groupname": "g" * 51}, 12, "groupname"),
    (8, {"groupname": "g", "groupdesc": "d" * 201}, 12, "groupdesc"),
    (8, {"groupname": "g", "groupdesc": None}, 3, "groupdesc"),
    (9, {"groupid": 2**31}, 3, "groupid"),
    (10, {"groupid": 1}, 3, "msg"),
    (13, {"seq": 1}, 3, "groupid"),
    (13, {"seq": 1, "peerid": 1, "groupid": 1}, 3, "groupid"),
    (13, {"seq": 0, "peerid": 1}, 3, "seq"),
    (13, {"peerid": 1}, 3, "seq"),
    (15, {}, 3, "peerid"),
    (15, {"peerid": 1, "groupid": 1}, 3, "peerid"),
    (15, {"peerid": 1, "limit": 0}, 3, "limit"),
    (15, {"peerid": 1, "limit": 201}, 3, "limit"),
    (15, {"peerid": 1, "before": 0}, 3, "before"),
    (15, {"peerid": 1, "before": 2**63}, 3, "before"),
    (15, {"peerid": 1, "day": "2026-02-30"}, 3, "day"),
    (15, {"peerid": 1, "day": "20260201"}, 3, "day"),
    (15, {"peerid": 1, "day": "2026-W01-1"}, 3, "day"),
    (15, {"peerid": 1, "day": ""}, 3, "day"),
    (17, {"peerid": 1}, 3, "target"),
    (17, {"target": 1}, 3, "peerid"),
    (17, {"target": 1, "peerid": 1, "groupid": 1}, 3, "peerid"),
    (18, {"friendid": [1]}, 3, "friendid"),
    (19, {"userid": {}}, 3, "userid"),
    (22, {"ids": 1}, 3, "ids"),
    (22, {"ids": [1, "2"]}, 3, "ids"),
    (22, {"ids": [0]}, 3, "ids"),
    (22, {"ids": [1] * 1_001}, 12, "ids"),
    (26, {}, 3, "toid"),
    (26, {"toid": 1, "groupid": 1}, 3, "toid"),
    (27, {"seq": 1}, 3, "peerid"),
    (27, {"seq": 1, "peerid": 1, "groupid": 1}, 3, "peerid"),
    (28, {"old": "pw"}, 3, "new"),
    (29, {"groupid": 1, "limit": 501}, 3, "limit"),
    (29, {"groupid": 1, "limit": 0}, 3, "limit"),
    (29, {"groupid": 1, "after": -1}, 3, "after"),
    (30, {}, 3, "name"),
    (30, {"name": "a", "groupname": "b"}, 3, "name"),
    (30, {"name": ""}, 3, "name"),
]


def test_the_table_of_routes_is_the_table_of_requests() -> None:
    assert set(ROUTES) == set(REQUESTS.values())
    assert VALID.keys() == REQUESTS.keys()
    assert {kind for kind, route in ROUTES.items() if not route.needs_login} == {
        REQUESTS[msgid] for msgid in OPEN
    }


@pytest.mark.parametrize("msgid", [msgid for msgid in VALID if msgid not in OPEN])
def test_without_a_login_nothing_else_is_done(world: World, msgid: int) -> None:
    """Not even where the fields are bad, or the request has no answer otherwise."""
    world.user("ann")
    stranger = world.connect()
    stranger.refused(5, msgid, **VALID[msgid])
    if VALID[msgid]:
        stranger.refused(5, msgid)
    assert stranger.peer.closed is None


@pytest.mark.parametrize("msgid", [msgid for msgid in VALID if msgid not in UNANSWERED])
def test_every_reply_echoes_the_cid_and_nothing_is_echoed_where_there_is_none(
    world: World, msgid: int
) -> None:
    ann = world.user("ann")
    world.user("bob").group("h", ann)
    for cid in ({"cid": "c" * 36}, {}):
        ann.pushed()
        ann.send(msgid, **VALID[msgid], **cid)
        reply = ann.peer.frames[-1]
        assert reply["msgid"] in (MsgId.ACK, MsgId.HEARTBEAT, 2, 5, 16)
        assert reply.get("cid") == cid.get("cid")
        if msgid == MsgId.LOGINOUT:
            ann.login(name="ann")


@pytest.mark.parametrize("frame", BAD_FRAMES, ids=lambda frame: repr(frame[:24]))
def test_a_frame_in_which_no_request_can_be_seen_gets_error(world: World, ann: Person, frame: bytes) -> None:
    ann.raw(frame)
    (reply,) = ann.pushed()
    assert (reply["msgid"], reply["errno"], reply["error"]) == (MsgId.ERROR, 3, "bad_request")
    assert reply["errmsg"]
    assert ann.ok(MsgId.FIND, name="ann")


def test_error_echoes_a_cid_that_can_be_read(ann: Person) -> None:
    ann.raw(b'{"msgid":"6","cid":"abc"}')
    ann.raw(b'{"msgid":"6","cid":7}')
    assert [frame.get("cid") for frame in ann.pushed()] == ["abc", None]


def test_the_tenth_bad_frame_ends_the_connection_after_its_error(
    world: World, ann: Person, bob: Person
) -> None:
    for number in range(10):
        assert ann.peer.closed is None
        ann.send(12, cid=str(number))
        ann.send(99)  # a frame of its own kind, answered by an ACK
        ann.refused(3, MsgId.ONE_CHAT, toid=0)
        ann.raw(b"bad")
    assert ann.peer.closed == "protocol"
    assert len(ann.pushed(MsgId.ERROR)) == 10
    assert bob.peer.closed is None


@pytest.mark.parametrize("msgid", [0, -1, 2, 5, 11, 14, 16, 23, 24, 31, 2**62])
@pytest.mark.parametrize("logged_in", [True, False])
def test_an_unknown_or_server_only_msgid_gets_ack_with_4(world: World, msgid: int, logged_in: bool) -> None:
    person = world.user("ann") if logged_in else world.connect()
    person.raw(b'{"msgid":%d,"cid":"c"}' % msgid)
    reply = person.reply("c")
    assert (reply["msgid"], reply["re"], reply["errno"], reply["error"]) == (
        MsgId.ACK,
        msgid,
        4,
        "unknown_msgid",
    )


@pytest.mark.parametrize(("msgid", "fields", "errno", "named"), BAD_FIELDS)
def test_a_bad_field_is_named_in_the_requests_own_reply(
    ann: Person, msgid: int, fields: dict[str, Any], errno: int, named: str
) -> None:
    ann.raw(json.dumps({"msgid": msgid, "cid": "c"} | fields).encode())
    (reply,) = ann.pushed()
    assert (reply["msgid"], reply["errno"]) == (16 if msgid == 15 else MsgId.ACK, errno)
    assert named in reply["errmsg"]
    assert reply.get("cid") == ("c" if "cid" not in fields else None)


def test_unknown_fields_and_a_name_id_or_time_of_the_client_are_ignored(ann: Person, bob: Person) -> None:
    ann.ok(
        MsgId.ONE_CHAT, toid=bob.id, msg="hi", id=bob.id, name="eve", time="2000", seq=99, colour={"a": [1]}
    )
    (got,) = bob.pushed()
    assert (got["id"], got["name"], got["seq"], got["time"]) == (ann.id, "ann", 1, "2027-01-15T08:00:00.000Z")


def test_a_heartbeat_is_echoed_before_and_after_login(world: World, ann: Person) -> None:
    for person in (ann, world.connect()):
        person.send(MsgId.HEARTBEAT)
        person.send(MsgId.HEARTBEAT, cid="c")
        assert person.pushed() == [{"msgid": 12}, {"msgid": 12, "cid": "c"}]


@pytest.mark.parametrize("msgid", [msgid for msgid in VALID if msgid not in WITHOUT_DATABASE])
def test_a_database_that_is_away_is_answered_with_busy_and_comes_back(world: World, msgid: int) -> None:
    ann = world.user("ann")
    world.user("bob").group("h", ann)
    fields = VALID[msgid]
    if msgid == MsgId.LOGIN:
        ann.leave()
        ann = world.connect()
    elif msgid == MsgId.SYNC:
        bob = world.log_in(2, device="other")
        ann.leave()
        for _ in range(201):
            bob.put(MsgId.ONE_CHAT, toid=1, msg="hi")
        world.commit()
        ann = world.log_in(1)
    elif msgid == MsgId.REG:
        ann.ok(MsgId.LOGINOUT)
    elif msgid == MsgId.RECALL:
        ann.chat(ann)
    world.runner.broken |= {"read", "write"}
    ann.refused(13, msgid, **fields)
    assert ann.peer.closed is None
    world.runner.broken.clear()
    ann.ok(msgid, **fields)


@pytest.mark.parametrize("msgid", UNANSWERED)
def test_requests_without_an_answer_have_none_for_other_errors(world: World, ann: Person, msgid: int) -> None:
    """Here: of a user, and of a group, that there are not, and of a database that is away."""
    rest = {} if msgid == MsgId.TYPING else {"seq": 1}
    ann.send(msgid, **{"toid" if msgid == MsgId.TYPING else "peerid": 99}, **rest)
    ann.send(msgid, groupid=99, **rest)
    world.runner.broken.add("read")
    ann.send(msgid, groupid=98, **rest)
    assert ann.pushed() == []


@pytest.mark.parametrize("msgid", UNANSWERED)
def test_requests_without_an_answer_have_none_for_a_cid_that_is_too_large(ann: Person, msgid: int) -> None:
    ann.send(msgid, cid="c" * 37, **VALID[msgid])
    assert ann.pushed() == []


def test_an_error_may_say_when_to_come_back(
    world: World, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(**fields: Any) -> None:
        raise RateLimited(retry_after=2.5)

    monkeypatch.setattr(world.store, "user", limited)
    assert ann.refused(11, MsgId.FIND, name="ann")["retry_after"] == 2.5


def test_a_bug_in_a_handler_is_logged_tells_no_detail_and_ends_that_connection_alone(
    world: World, ann: Person, bob: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**fields: Any) -> None:
        raise RuntimeError("the secret detail")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "user", broken)
        with caplog.at_level(logging.ERROR):
            reply = ann.ask(MsgId.FIND, name="ann")
    assert reply["errno"] == 13
    assert "secret" not in str(reply)
    assert ann.peer.closed is not None
    assert "the secret detail" in caplog.text
    assert bob.ok(MsgId.FIND, name="ann")


def test_a_session_that_closed_hears_of_nothing_and_closing_twice_is_once(
    world: World, ann: Person, bob: Person
) -> None:
    bob.leave()
    bob.session.closed("reset")
    ann.chat(bob)
    assert bob.pushed() == []
    assert world.log_in(bob).ack["offlinemsg"]


def test_a_session_that_has_ended_waits_for_no_garbage_collector(world: World) -> None:
    """Else the memory of thousands that come and go together would grow until it runs."""
    ann, bob = world.absent("ann").id, world.user("bob")
    with without_collector():
        before = alive(Session), alive(Stream)
        person = world.log_in(ann)
        person.chat(bob)
        bob.chat(person)
        person.leave()
        del person
        assert (alive(Session), alive(Stream)) == before

"""The library on a connection that holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from greenchat import errors
from greenchat.client import (
    Backoff,
    Client,
    ConnectionEvent,
    Message,
    MessageRecall,
    PresenceChange,
    ReadReceipt,
    TypingNotice,
    in_group,
    with_user,
)
from greenchat.protocol.messages import MsgId
from tests.client.conftest import New
from tests.client.fake_server import TIME, FakeServer, Peer, chat_from

Run = Callable[..., Future[Any]]

BOB = {"id": 2, "name": "bob", "state": "online"}
TEAM = {"id": 5, "groupname": "team"}


def take(client: Client, count: int) -> list[Any]:
    pushes = client.pushes(60)
    return [next(pushes) for _ in range(count)]


def test_registers_and_logs_in_by_name_or_id(server: FakeServer, client: Client, run: Run) -> None:
    registered = run(client.register, "ann", "secret")
    peer = server.accept()
    request = peer.get(MsgId.REG)
    assert (request["name"], request["password"]) == ("ann", "secret")
    peer.send({"msgid": 5, "errno": 0, "id": 1, "name": "ann", "cid": request["cid"]})
    assert registered.result(60) == 1
    login = run(client.login, 1, "secret", device="phone")
    sent = peer.welcome(friends=[{"id": 2, "name": "bob", "state": "online"}])
    assert (sent["id"], sent["password"], sent["device"], sent["force"]) == (1, "secret", "phone", False)
    assert "name" not in sent
    assert sent["edition"] == 2
    state = login.result(60)
    assert (state.name, state.token, state.friends[0]["name"]) == ("ann", "T1", "bob")
    assert client.online
    assert client.login_info == state


def test_replies_are_matched_by_cid_out_of_order(client: Client, peer: Peer, run: Run) -> None:
    one, two = run(client.chat, 2, "to bob"), run(client.chat, 3, "to eve")
    requests = {frame["toid"]: frame for frame in (peer.get(MsgId.ONE_CHAT), peer.get(MsgId.ONE_CHAT))}
    peer.stored(requests[3], 30)
    assert two.result(60).seq == 30
    assert not one.done()
    peer.stored(requests[2], 20)
    assert one.result(60) == (with_user(2), 20, TIME)


def test_an_error_is_raised_as_its_class(client: Client, peer: Peer, run: Run) -> None:
    chat = run(client.chat, 2, "hi")
    peer.refuse(peer.get(MsgId.ONE_CHAT), 10, "blocked")
    with pytest.raises(errors.Blocked, match="it is blocked"):
        chat.result(60)
    history = run(client.history, with_user(2))
    peer.refuse(peer.get(MsgId.HISTORY), 99, "brand_new", retry_after=1.5)
    with pytest.raises(errors.RequestError) as raised:
        history.result(60)
    assert type(raised.value) is errors.RequestError
    assert (raised.value.errno, raised.value.error, raised.value.retry_after) == (99, "brand_new", 1.5)


@pytest.mark.parametrize(
    ("call", "sent", "reply", "result"),
    [
        (lambda c: c.add_friend(2), {"msgid": 7, "friendid": 2}, {"friend": BOB}, BOB),
        (lambda c: c.remove_friend(2), {"msgid": 18, "friendid": 2}, {}, None),
        (lambda c: c.block(2), {"msgid": 19, "userid": 2}, {}, None),
        (lambda c: c.unblock(2), {"msgid": 20, "userid": 2}, {}, None),
        (lambda c: c.are_friends([2, 3]), {"msgid": 22, "ids": [2, 3]}, {"ids": [3]}, [3]),
        (lambda c: c.find_user("bob"), {"msgid": 30, "name": "bob"}, {"user": BOB}, BOB),
        (lambda c: c.find_group("g"), {"msgid": 30, "groupname": "g"}, {"group": TEAM}, TEAM),
        (
            lambda c: c.create_group("g", "d"),
            {"msgid": 8, "groupname": "g", "groupdesc": "d"},
            {"groupid": 5},
            5,
        ),
        (lambda c: c.join_group(5), {"msgid": 9, "groupid": 5}, {"group": TEAM}, TEAM),
        (lambda c: c.leave_group(5), {"msgid": 21, "groupid": 5}, {}, None),
        (
            lambda c: c.group_info(5, limit=2),
            {"msgid": 29, "groupid": 5, "after": 0, "limit": 2},
            {"group": TEAM, "users": [BOB], "more": False},
            {"group": TEAM, "users": [BOB], "more": False},
        ),
        (
            lambda c: c.group_chat(5, "x"),
            {"msgid": 10, "groupid": 5, "msg": "x"},
            {"seq": 4, "time": TIME},
            (in_group(5), 4, TIME),
        ),
        (
            lambda c: c.recall(with_user(2), 7),
            {"msgid": 17, "peerid": 2, "target": 7},
            {"seq": 8, "time": TIME},
            (with_user(2), 8, TIME),
        ),
        (lambda c: c.change_password("a", "b"), {"msgid": 28, "old": "a", "new": "b"}, {"token": "T2"}, None),
        (lambda c: c.sync(), {"msgid": 25}, {"offlinemsg": [], "more": False}, False),
    ],
)
def test_each_request_has_the_fields_of_the_protocol(
    client: Client, peer: Peer, run: Run, call: Any, sent: dict[str, Any], reply: dict[str, Any], result: Any
) -> None:
    called = run(call, client)
    request = peer.get(sent["msgid"])
    assert {name: value for name, value in request.items() if name != "cid"} == sent
    assert 1 <= len(request["cid"]) <= 36
    peer.ack(request, **reply)
    assert called.result(60) == result


def test_history_is_read_as_messages_and_recalls(client: Client, peer: Peer, run: Run) -> None:
    history = run(client.history, with_user(2), before=9, limit=3)
    request = peer.get(MsgId.HISTORY)
    assert (request["peerid"], request["before"], request["limit"]) == (2, 9, 3)
    peer.send(
        {
            "msgid": 16,
            "errno": 0,
            "cid": request["cid"],
            "more": True,
            "messages": [
                chat_from(2, 6, recalled=True) | {"msg": None},
                {
                    "msgid": 6,
                    "id": 1,
                    "name": "ann",
                    "toid": 2,
                    "msg": "yo",
                    "seq": 7,
                    "time": TIME,
                    "cid": "c",
                },
                {"msgid": 17, "id": 2, "target": 6, "peerid": 2, "seq": 8, "time": TIME},
            ],
        }
    )
    gone, mine, recall = history.result(60).entries
    assert (gone.text, gone.conversation, gone.name) == (None, with_user(2), "user2")
    assert (mine.text, mine.conversation, mine.sender) == ("yo", with_user(2), 1)
    assert recall == MessageRecall(with_user(2), 8, 2, 6, TIME)
    assert history.result().more


def test_pushes_come_as_their_types_in_order(client: Client, peer: Peer) -> None:
    group = {"msgid": 10, "id": 2, "name": "bob", "groupid": 5, "msg": "all", "seq": 1, "time": TIME}
    peer.send(
        chat_from(2, 1, "a\nb"),
        group,
        {"msgid": 17, "id": 2, "target": 1, "groupid": 5, "seq": 2, "time": TIME},
        {"msgid": 23, "id": 2, "state": "offline"},
        {"msgid": 26, "id": 2, "peerid": 2},
        {"msgid": 27, "id": 2, "seq": 4, "groupid": 5},
        {"msgid": 99, "new": "kind"},
        chat_from(2, 2),
    )
    assert take(client, 7) == [
        Message(with_user(2), 1, 2, "user2", "a\nb", TIME),
        Message(in_group(5), 1, 2, "bob", "all", TIME),
        MessageRecall(in_group(5), 2, 2, 1, TIME),
        PresenceChange(2, "offline"),
        TypingNotice(with_user(2), 2),
        ReadReceipt(in_group(5), 2, 4),
        Message(with_user(2), 2, 2, "user2", "hi", TIME),
    ]


WRONG: list[dict[str, Any]] = [
    {"time": "noon"},
    {"time": 5},
    {"time": "0001-01-01T00:00:00.000Z"},
    {"time": "9999-12-31T23:59:59.999Z"},
    {"seq": "1"},
    {"seq": 1.5},
    {"seq": 0},
    {"seq": -1},
    {"seq": 2**70},
    {"name": None},
    {"name": 5},
    {"msg": ["a"]},
    {"toid": {}},
    {"id": "2"},
    {"cid": 7},
]
"""Fields that make a chat message senseless."""

SENSELESS: list[Any] = [
    {"msgid": 6},
    {"no": "msgid"},
    {"msgid": [1]},
    {"msgid": True},
    *(chat_from(2, 1) | wrong for wrong in WRONG),
    {"msgid": 17, "id": 2, "target": None, "peerid": 2, "seq": 1, "time": TIME},
    {"msgid": 23, "id": 2, "state": "\x1b[2J"},
    {"msgid": 26, "id": 2},
    {"msgid": 27, "id": 2, "groupid": 5, "seq": None},
]


@pytest.mark.parametrize("frame", SENSELESS)
@pytest.mark.parametrize("offline", [False, True])
def test_a_push_that_makes_no_sense_harms_no_other(
    server: FakeServer, client: Client, run: Run, frame: dict[str, Any], offline: bool
) -> None:
    login = run(client.login, "ann", "secret")
    peer = server.accept()
    peer.welcome(offlinemsg=[frame, chat_from(2, 1)] if offline else [])
    login.result(60)
    if not offline:
        peer.send(frame, chat_from(2, 1))
    assert next(push for push in take(client, 2) if not isinstance(push, ConnectionEvent)).seq == 1


@pytest.mark.parametrize(
    ("fields", "edition", "limits"),
    [
        ({}, 1, {}),
        ({"edition": 2, "limits": {"max_message": 500, "new": [1]}}, 2, {"max_message": 500}),
    ],
)
def test_knows_the_edition_and_the_limits_of_the_server(
    server: FakeServer, client: Client, run: Run, fields: dict[str, Any], edition: int, limits: dict[str, int]
) -> None:
    login = run(client.login, 1, "secret", device="phone")
    server.accept().welcome(**fields)
    info = login.result(60)
    assert (info.edition, info.limits) == (edition, limits)


@pytest.mark.parametrize(
    "senseless",
    [
        {"id": "1"},
        {"name": None},
        {"heartbeat": {"interval": 0, "max_missed": 5}},
        {"heartbeat": {"interval": "1", "max_missed": 5}},
        {"heartbeat": {"interval": 1, "max_missed": 0}},
        {"heartbeat": None},
        {"friends": [{"id": 2}]},
        {"groups": [{"id": 2, "groupname": "g", "users": [{}]}]},
        {"offlinemsg": 5},
        {"edition": "2"},
        {"limits": 5},
    ],
)
def test_a_login_reply_that_makes_no_sense_is_an_error(
    server: FakeServer, client: Client, run: Run, senseless: dict[str, Any]
) -> None:
    login = run(client.login, "ann", "secret")
    server.accept().welcome(**senseless)
    with pytest.raises(errors.Disconnected, match="cannot be understood"):
        login.result(60)


@pytest.mark.parametrize("reply", [{}, {"user": {}}, {"user": {"id": 2, "name": 3, "state": "online"}}])
def test_a_reply_that_makes_no_sense_is_an_error(
    client: Client, peer: Peer, run: Run, reply: dict[str, Any]
) -> None:
    found = run(client.find_user, "bob")
    peer.ack(peer.get(MsgId.FIND), **reply)
    with pytest.raises(errors.Disconnected, match="cannot be understood"):
        found.result(60)


@pytest.mark.parametrize("senseless", ["soon", -1, 1e300, True, [1]])
def test_a_time_to_wait_that_makes_no_sense_is_not_waited(
    client: Client, peer: Peer, run: Run, senseless: object
) -> None:
    group = run(client.create_group, "g")
    peer.refuse(peer.get(MsgId.CREATE_GROUP), 11, "rate_limited", retry_after=senseless)
    with pytest.raises(errors.RateLimited) as raised:
        group.result(60)
    assert raised.value.retry_after in (None, 86_400)


def test_passwords_are_sent_in_nfc_and_a_stored_one_still_fits(
    server: FakeServer, client: Client, run: Run
) -> None:
    typed, composed = "e\u0301te\u0301", "\xe9t\xe9"
    registered = run(client.register, "ann", typed)
    peer = server.accept()
    request = peer.get(MsgId.REG)
    assert request["password"] == composed
    peer.send({"msgid": 5, "errno": 0, "id": 1, "name": "ann", "cid": request["cid"]})
    registered.result(60)
    login = run(client.login, "ann", typed)
    request = peer.get(MsgId.LOGIN)
    assert request["password"] == composed
    peer.refuse(request, 1, "bad_credentials", msgid=2)
    assert peer.welcome()["password"] == typed
    login.result(60)
    changed = run(client.change_password, typed, typed)
    request = peer.get(MsgId.CHANGE_PASSWORD)
    assert (request["old"], request["new"]) == (composed, composed)
    peer.refuse(request, 1, "bad_credentials")
    request = peer.get(MsgId.CHANGE_PASSWORD)
    assert (request["old"], request["new"]) == (typed, composed)
    peer.ack(request, token="T2")
    changed.result(60)


def test_a_wrong_password_is_tried_once(client: Client, server: FakeServer, run: Run) -> None:
    login = run(client.login, "ann", "wrong")
    peer = server.accept()
    peer.refuse(peer.get(MsgId.LOGIN), 1, "bad_credentials", msgid=2)
    with pytest.raises(errors.BadCredentials):
        login.result(60)


def test_the_network_may_cut_and_join_frames_as_it_likes(client: Client, peer: Peer, run: Run) -> None:
    chat = run(client.chat, 2, "hi")
    cid = peer.get(MsgId.ONE_CHAT)["cid"]
    stream = b'\r\n{"msgid":23,"id":2,"state":"online"}\r\n{"msgid":11,"re":6,"errno":0,"seq":3,'
    stream += b'"time":"x","cid":"%s"}\n\n{"msgid":23,"id":3,"state":"offline"}\n' % cid.encode()
    for byte in stream:
        peer.raw(bytes([byte]))
    assert chat.result(60).seq == 3
    assert [push.user for push in take(client, 2)] == [2, 3]


def test_a_frame_of_one_mebibyte_is_taken(client: Client, peer: Peer) -> None:
    frame = b'{"msgid":23,"id":2,"state":"online","pad":"'
    peer.raw(frame + b"x" * (1_048_576 - len(frame) - 2) + b'"}\n')
    assert take(client, 1) == [PresenceChange(2, "online")]


def test_what_does_not_fit_a_frame_is_refused_before_it_is_sent(client: Client, peer: Peer, run: Run) -> None:
    with pytest.raises(errors.TooLarge):
        client.chat(2, "x" * 70_000)
    with pytest.raises(errors.BadRequest, match="Unicode"):
        client.chat(2, "\ud800")
    chat = run(client.chat, 2, "fits")
    request = peer.get(MsgId.ONE_CHAT)
    assert request["msg"] == "fits"
    peer.stored(request, 1)
    chat.result(60)


@pytest.mark.parametrize(
    ("cid", "said"),
    [
        ("", "cid: 1 to 36 characters, this has 0"),
        ("c" * 37, "cid: 1 to 36 characters, this has 37"),
        (7, "cid: expected a text, got int"),
    ],
)
def test_a_cid_that_the_server_could_not_echo_is_refused_at_once(
    client: Client, peer: Peer, cid: Any, said: str
) -> None:
    with pytest.raises(errors.BadRequest, match=said):
        client.chat(2, "hi", cid=cid)


def test_what_is_done_is_acknowledged_once_a_conversation(client: Client, peer: Peer) -> None:
    peer.send(*(chat_from(2, seq) for seq in range(1, 41)), *(chat_from(3, seq) for seq in range(1, 11)))
    take(client, 50)
    acknowledged: dict[int, int] = {}
    frames = 0
    while acknowledged != {2: 40, 3: 9}:
        frame = peer.next()
        if frame["msgid"] == MsgId.RECEIVED:
            assert frame["seq"] > acknowledged.get(frame["peerid"], 0)
            acknowledged[frame["peerid"]] = frame["seq"]
            frames += 1
    assert frames < 49, "acknowledgements were not gathered"


def test_read_marks_and_typing_are_sent(client: Client, peer: Peer) -> None:
    client.typing(with_user(2))
    assert peer.get(MsgId.TYPING) == {"msgid": 26, "toid": 2}
    client.read(in_group(5), 7)
    assert peer.get(MsgId.READ) == {"msgid": 27, "groupid": 5, "seq": 7}


def test_heartbeats_are_sent_at_the_interval_that_the_server_names(
    server: FakeServer, client: Client, run: Run
) -> None:
    login = run(client.login, "ann", "secret")
    peer = server.accept()
    peer.welcome(heartbeat={"interval": 0.02, "max_missed": 500})
    login.result(60)
    assert [peer.next()["msgid"] for _ in range(5)] == [MsgId.HEARTBEAT] * 5


def test_undelivered_pages_are_asked_for_until_there_are_no_more(
    server: FakeServer, client: Client, run: Run
) -> None:
    login = run(client.login, "ann", "secret")
    peer = server.accept()
    peer.welcome(offlinemsg=[chat_from(2, 1)], more=True)
    login.result(60)
    pushes = client.pushes(60)
    assert isinstance(next(pushes), ConnectionEvent)
    assert next(pushes) == Message(with_user(2), 1, 2, "user2", "hi", TIME, offline=True)
    peer.ack(peer.get(MsgId.SYNC), offlinemsg=[chat_from(2, 1)], more=True)
    peer.ack(peer.get(MsgId.SYNC), offlinemsg=[chat_from(2, 2), chat_from(2, 3)], more=False)
    peer.send(chat_from(2, 4))
    assert [(push.seq, push.offline) for push in take(client, 3)] == [(2, True), (3, True), (4, False)]


@pytest.mark.parametrize("page", [[], [chat_from(2, 1)], [{"msgid": 6, "seq": "?"}]])
def test_a_page_without_progress_is_followed_by_a_pause(
    new: New, server: FakeServer, run: Run, page: list[dict[str, Any]]
) -> None:
    """ "More" and nothing new, for ever: 3,500 requests a second once."""
    with new("127.0.0.1", server.port, backoff=Backoff(0.05, 1000)) as client:
        login = run(client.login, "ann", "secret")
        peer = server.accept()
        peer.welcome(offlinemsg=[chat_from(2, 1)], more=True, heartbeat={"interval": 0.1, "max_missed": 500})
        login.result(60)
        taking = run(list, client.pushes())
        asked = beats = 0
        while beats < 10:
            frame = peer.next()
            beats += frame["msgid"] == MsgId.HEARTBEAT
            if frame["msgid"] == MsgId.SYNC:
                asked += 1
                peer.ack(frame, offlinemsg=page, more=True)
        assert 1 <= asked <= 6, "each pause is twice as long"
        peer.send(chat_from(3, 1))
        client.close()
        assert [push.seq for push in taking.result(60) if isinstance(push, Message)][:1] == [1]


def test_pages_that_a_new_login_offers_again_are_progress(
    server: FakeServer, client: Client, peer: Peer
) -> None:
    """A queued entry is dropped when it comes again, but the server's next page is another one."""
    peer.send(*(chat_from(2, seq) for seq in (1, 2, 3)))
    peer.send({"msgid": 23, "id": 2, "state": "online"})
    assert [push.seq for push in take(client, 4)[:3]] == [1, 2, 3]
    peer.cut()
    peer = server.accept()
    peer.welcome(offlinemsg=[chat_from(2, 1)], more=True)
    assert [push.kind for push in take(client, 2)] == ["lost", "back"]
    for seq in (2, 3, 4):
        peer.ack(peer.get(MsgId.SYNC), offlinemsg=[chat_from(2, seq)], more=seq < 4)
    assert take(client, 1)[0].seq == 4


def test_own_messages_that_are_offered_again_are_no_news(client: Client, peer: Peer, run: Run) -> None:
    chat = run(client.chat, 2, "mine")
    request = peer.get(MsgId.ONE_CHAT)
    mine = {"msgid": 6, "id": 1, "name": "ann", "toid": 2, "seq": 2, "time": TIME, "msg": "mine"}
    peer.send(chat_from(2, 1), mine | {"cid": request["cid"]}, mine | {"seq": 3, "cid": "other device"})
    assert [push.seq for push in take(client, 2)] == [1, 3]
    client.acknowledge()
    peer.stored(request, 2)
    assert chat.result(60).seq == 2
    while peer.get(MsgId.RECEIVED)["seq"] != 3:
        pass


def test_a_callback_may_make_requests_and_its_errors_harm_nothing(
    new: New, server: FakeServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    answered = threading.Event()

    def on_push(push: Any) -> None:
        if isinstance(push, Message) and push.text == "bad":
            raise RuntimeError("a bug of the application")
        if isinstance(push, Message):
            client.chat(push.sender, "thanks")
            answered.set()

    with new("127.0.0.1", server.port, on_push=on_push) as client:
        login = run(client.login, "ann", "secret")
        peer = server.accept()
        peer.welcome()
        login.result(60)
        peer.send(chat_from(2, 1, "bad"), chat_from(3, 2, "good"))
        peer.stored(peer.get(MsgId.ONE_CHAT), 3)
        assert answered.wait(10)
        assert peer.get(MsgId.RECEIVED) == {"msgid": 13, "peerid": 3, "seq": 2}
    assert "a bug of the application" in caplog.text


def test_a_second_login_on_the_same_connection_works(client: Client, peer: Peer, run: Run) -> None:
    with pytest.raises(errors.AlreadyLoggedIn):
        client.login("bob", "other")
    peer.send(chat_from(2, 1), chat_from(2, 2))
    assert take(client, 1)[0].seq == 1
    client.acknowledge()
    logout = run(client.logout)
    assert peer.get(MsgId.RECEIVED) == {"msgid": 13, "peerid": 2, "seq": 1}
    peer.ack(peer.get(MsgId.LOGINOUT))
    logout.result(60)
    with pytest.raises(errors.NotLoggedIn):
        client.chat(2, "hi")
    login = run(client.login, "ann", "secret")
    peer.welcome(offlinemsg=[chat_from(2, 2)])
    assert login.result(60).id == 1
    assert [push.seq for push in take(client, 2)[1:]] == [2]


def test_another_user_on_the_same_client_sees_all_of_theirs(client: Client, peer: Peer, run: Run) -> None:
    peer.send(chat_from(2, 1))
    take(client, 1)
    logout = run(client.logout)
    peer.ack(peer.get(MsgId.LOGINOUT))
    logout.result(60)
    login = run(client.login, "zoe", "secret")
    peer.welcome(id=9, name="zoe", offlinemsg=[chat_from(2, 1) | {"toid": 9}])
    login.result(60)
    assert take(client, 2)[1].conversation == with_user(2)


def test_a_request_without_a_reply_times_out(client: Client, peer: Peer) -> None:
    with pytest.raises(TimeoutError, match="within"):
        client.chat(2, "hi", timeout=0.05)
    with pytest.raises(TimeoutError):
        client.find_user("bob", timeout=0.05)


def test_close_ends_who_waits(client: Client, peer: Peer, run: Run) -> None:
    waiting = [run(client.chat, 2, "hi"), run(client.find_user, "bob"), run(list, client.pushes())]
    peer.send(chat_from(2, 1))
    seen = {peer.next()["msgid"] for _ in range(3)}
    assert {MsgId.ONE_CHAT, MsgId.FIND} < seen
    closed = run(client.close)
    assert peer.at_end()
    peer.close()
    closed.result(60)
    for call in waiting[:2]:
        with pytest.raises(errors.Disconnected, match="closed"):
            call.result(60)
    assert len(waiting[2].result(60)) <= 1
    client.close()
    with pytest.raises(errors.Disconnected):
        client.login("ann", "secret")


def test_close_tells_the_server_what_was_done(client: Client, peer: Peer, run: Run) -> None:
    peer.send(chat_from(2, 1), chat_from(2, 2))
    take(client, 2)
    closed = run(client.close)
    assert peer.get(MsgId.RECEIVED)["seq"] == 1
    assert peer.at_end()
    peer.close()
    closed.result(60)


def test_close_ends_even_where_the_server_keeps_the_connection(
    new: New, server: FakeServer, run: Run
) -> None:
    client = new("127.0.0.1", server.port)
    login = run(client.login, "ann", "secret")
    peer = server.accept()
    peer.welcome()
    login.result(60)
    client.close()
    assert peer.at_end()


def test_a_callback_may_close_the_client(new: New, server: FakeServer, run: Run) -> None:
    done = threading.Event()

    def on_push(push: Any) -> None:
        client.close()
        done.set()

    client = new("127.0.0.1", server.port, on_push=on_push)
    login = run(client.login, "ann", "secret")
    server.accept().welcome()
    assert done.wait(10)
    login.exception(10)


def test_no_server_is_told_in_a_word(new: New, server: FakeServer) -> None:
    server.close()
    with new("127.0.0.1", server.port) as client, pytest.raises(errors.Disconnected, match="refused"):
        client.login("ann", "secret")


def test_a_server_that_closes_before_the_login_is_connected_to_anew(
    server: FakeServer, client: Client, run: Run
) -> None:
    registered = run(client.register, "ann", "secret")
    peer = server.accept()
    request = peer.get(MsgId.REG)
    peer.send({"msgid": 5, "errno": 0, "id": 1, "name": "ann", "cid": request["cid"]})
    registered.result(60)
    second = run(client.register, "bob", "secret")
    peer.get(MsgId.REG)
    peer.close()
    with pytest.raises(errors.Disconnected, match="closed the connection"):
        second.result(60)
    login = run(client.login, "ann", "secret")
    server.accept().welcome()
    assert login.result(60).id == 1

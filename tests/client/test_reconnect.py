"""The library when the connection is lost: nothing lost, doubled or overtaken."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest

from greenchat import errors
from greenchat.client import Backoff, Client, ConnectionEvent, ConnectionLost, Message, with_user
from greenchat.protocol.messages import MsgId
from lab import ROOT
from tests.client.conftest import SOON, New
from tests.client.fake_server import TIME, FakeServer, Peer, chat_from

Run = Callable[..., Future[Any]]

BOB = {"id": 2, "name": "bob", "state": "online"}


def events(client: Client, last: str) -> list[Any]:
    """Return the pushes up to the event of this kind."""
    seen: list[Any] = []
    for push in client.pushes(60):
        seen.append(push)
        if isinstance(push, ConnectionEvent) and push.kind == last:
            return seen
    raise AssertionError(f"no {last} after {seen}")


def test_comes_back_by_token_with_the_same_device(server: FakeServer, client: Client, run: Run) -> None:
    login = run(client.login, "ann", "secret", device="phone")
    peer = server.accept()
    peer.welcome(token="T1")
    login.result(60)
    peer.cut()
    peer = server.accept()
    again = peer.welcome(token="T2", friends=[{"id": 2, "name": "bob", "state": "offline"}])
    assert "password" not in again
    assert (again["id"], again["token"], again["device"], again["force"]) == (1, "T1", "phone", True)
    lost, *_, back = events(client, "back")[1:]
    assert (lost.kind, lost.reason in ("connection reset by peer", "broken pipe")) == ("lost", True)
    assert back.login.friends == [{"id": 2, "name": "bob", "state": "offline"}]
    peer.close()
    peer = server.accept()
    assert peer.welcome()["token"] == "T2"
    assert [push.kind for push in events(client, "back")] == ["lost", "back"]


def test_a_message_whose_ack_was_lost_is_sent_again_under_its_cid(
    server: FakeServer, client: Client, peer: Peer, run: Run
) -> None:
    chat = run(client.chat, 2, "once")
    first = peer.get(MsgId.ONE_CHAT)
    peer.cut_half_way(b'{"msgid":11,"re":6,"errno":0,"cid":"' + first["cid"].encode())
    peer = server.accept()
    offered = {"msgid": 6, "id": 1, "name": "ann", "toid": 2, "seq": 1, "time": TIME, "msg": "once"}
    peer.welcome(offlinemsg=[offered | {"cid": first["cid"]}])
    again = peer.get(MsgId.ONE_CHAT)
    assert again == first
    peer.stored(again, 1)
    assert chat.result(60).seq == 1
    peer.send(chat_from(2, 2))
    pushes = [push for push in client.pushes(0.05) if not isinstance(push, ConnectionEvent)]
    assert [push.seq for push in pushes if isinstance(push, Message)] == [2]
    assert len(pushes) == 1


def test_messages_of_a_conversation_are_sent_again_in_their_order(
    server: FakeServer, client: Client, peer: Peer, run: Run
) -> None:
    first = run(client.chat, 2, "1")
    cids = [peer.get(MsgId.ONE_CHAT)["cid"]]
    peer.cut()
    peer = server.accept()
    login = peer.get(MsgId.LOGIN)
    others = [queued(client, run, "2", "second"), queued(client, run, "3", "third")]
    peer.send(
        {
            "msgid": 2,
            "errno": 0,
            "id": 1,
            "name": "ann",
            "cid": login["cid"],
            "heartbeat": {"interval": 60, "max_missed": 5},
        }
    )
    cids += ["second", "third"]
    for seq, (call, cid) in enumerate(zip([first, *others], cids, strict=True), 1):
        request = peer.get(MsgId.ONE_CHAT)
        assert (request["cid"], request["msg"]) == (cid, str(seq))
        peer.stored(request, seq)
        assert call.result(60).seq == seq


def queued(client: Client, run: Run, text: str, cid: str) -> Future[Any]:
    """Send a message, and return its call once another one with this cid is refused, because it waits."""
    while True:
        call = run(client.chat, 2, text, cid=cid)
        while not call.done():
            try:
                client.chat(9, "probe", cid=cid, timeout=0.001)
            except errors.BadRequest:
                return call
            except TimeoutError:
                pass
        with pytest.raises(errors.BadRequest):  # it came while the probe waited
            call.result()


def test_a_busy_server_is_asked_again_and_nothing_overtakes(client: Client, peer: Peer, run: Run) -> None:
    first = run(client.chat, 2, "1", cid="first")
    request = peer.get(MsgId.ONE_CHAT)
    second = run(client.chat, 2, "2", cid="second")
    other = run(client.chat, 3, "other")
    peer.refuse(request, 13, "busy")
    seen = [peer.get(MsgId.ONE_CHAT) for _ in range(2)]
    assert {frame["msg"] for frame in seen} == {"1", "other"}
    for frame in seen:
        peer.refuse(frame, 11, "rate_limited", retry_after=0.01)
    for frame in (peer.get(MsgId.ONE_CHAT), peer.get(MsgId.ONE_CHAT)):
        peer.stored(frame, 7)
    request = peer.get(MsgId.ONE_CHAT)
    assert request["cid"] == "second"
    peer.stored(request, 8)
    assert [call.result(60).seq for call in (first, second, other)] == [7, 8, 7]


def test_the_wait_that_a_rate_limit_asks_for_is_kept(client: Client, peer: Peer, run: Run) -> None:
    chat = run(client.chat, 2, "too fast", timeout=60)
    peer.refuse(peer.get(MsgId.ONE_CHAT), 11, "rate_limited", retry_after=3600)
    peer.send(chat_from(3, 1))
    next(client.pushes(60))
    found = run(client.find_user, "bob")
    peer.ack(peer.get(MsgId.FIND), user=BOB)
    found.result(60)
    client.close()
    with pytest.raises(errors.Disconnected):
        chat.result(60)


def test_a_refused_message_lets_the_next_pass(client: Client, peer: Peer, run: Run) -> None:
    first = run(client.chat, 2, "1")
    request = peer.get(MsgId.ONE_CHAT)
    second = run(client.chat, 2, "2")
    peer.refuse(request, 10, "blocked")
    with pytest.raises(errors.Blocked):
        first.result(60)
    peer.stored(peer.get(MsgId.ONE_CHAT), 1)
    assert second.result(60).seq == 1


def test_what_must_not_be_repeated_fails_and_what_may_is_asked_again(
    server: FakeServer, client: Client, peer: Peer, run: Run
) -> None:
    group = run(client.create_group, "g")
    peer.get(MsgId.CREATE_GROUP)
    found = run(client.find_user, "bob")
    peer.get(MsgId.FIND)
    peer.cut()
    with pytest.raises(ConnectionLost):
        group.result(60)
    late = run(client.create_group, "h")
    peer = server.accept()
    peer.welcome()
    seen = {frame["msgid"]: frame for frame in (peer.next_request(), peer.next_request())}
    peer.ack(seen[MsgId.FIND], user=BOB)
    peer.ack(seen[MsgId.CREATE_GROUP], groupid=6)
    assert found.result(60) == BOB
    assert late.result(60) == 6


def test_what_was_shown_is_not_shown_again_but_acknowledged_again(
    server: FakeServer, client: Client, peer: Peer
) -> None:
    peer.send(chat_from(2, 1), chat_from(2, 2))
    assert [push.seq for push in islice(client.pushes(60), 2)] == [1, 2]  # type: ignore[union-attr]
    client.acknowledge()
    while peer.get(MsgId.RECEIVED)["seq"] != 2:
        pass
    peer.cut()
    peer = server.accept()
    peer.welcome(offlinemsg=[chat_from(2, 1), chat_from(2, 2), chat_from(2, 3)])
    assert [push.kind for push in events(client, "back")] == ["lost", "back"]
    assert peer.get(MsgId.RECEIVED)["seq"] == 2
    assert next(client.pushes(60)).seq == 3  # type: ignore[union-attr]
    client.acknowledge()
    assert peer.get(MsgId.RECEIVED)["seq"] == 3


def test_a_refused_token_is_told_and_ends_it(
    server: FakeServer, client: Client, peer: Peer, run: Run
) -> None:
    chat = run(client.chat, 2, "hi")
    peer.get(MsgId.ONE_CHAT)
    peer.cut()
    peer = server.accept()
    peer.refuse(peer.get(MsgId.LOGIN), 1, "bad_credentials", msgid=2)
    assert events(client, "ended")[-1].reason == "bad_credentials"
    with pytest.raises(errors.Disconnected, match="bad_credentials"):
        chat.result(60)
    with pytest.raises(errors.Disconnected, match="bad_credentials"):
        client.find_user("bob")
    login = run(client.login, "ann", "secret")
    server.accept().welcome()
    assert login.result(60).id == 1


def test_a_server_too_busy_for_the_token_is_asked_later(
    server: FakeServer, client: Client, peer: Peer
) -> None:
    peer.cut()
    peer = server.accept()
    peer.refuse(peer.get(MsgId.LOGIN), 13, "busy", msgid=2)
    server.accept().welcome()
    assert [push.kind for push in events(client, "back")] == ["lost", "retry", "back"]


@pytest.mark.parametrize(
    ("errno", "error"), [(2, "already_online"), (11, "rate_limited"), (14, "not_allowed")]
)
def test_a_refusal_that_may_pass_is_no_end(
    server: FakeServer, client: Client, peer: Peer, errno: int, error: str
) -> None:
    """The devices of a server that died count for a while: too many (14) are so no more a little later."""
    peer.cut()
    for _ in range(2):
        peer = server.accept()
        peer.refuse(peer.get(MsgId.LOGIN), errno, error, msgid=2)
    server.accept().welcome()
    assert [push.kind for push in events(client, "back")] == ["lost", "retry", "retry", "back"]


@contextmanager
def renewing(new: New, server: FakeServer, run: Run) -> Iterator[tuple[Client, Peer]]:
    """Have a client that is logged in and renews its token soon."""
    with new("127.0.0.1", server.port, backoff=SOON, renew_after=0.01) as client:
        login = run(client.login, "ann", "secret")
        peer = server.accept()
        peer.welcome(heartbeat={"interval": 0.05, "max_missed": 500})
        login.result(60)
        yield client, peer


def test_an_aged_token_is_renewed_and_no_request_notices(new: New, server: FakeServer, run: Run) -> None:
    with renewing(new, server, run) as (client, first):
        group = run(client.create_group, "g")
        request = first.get(MsgId.CREATE_GROUP)
        for _ in range(4):
            assert first.get(MsgId.HEARTBEAT), "it left while a request was under way"
        first.ack(request, groupid=6)
        assert group.result(60) == 6
        left = run(first.echo)
        peer = server.accept()
        late = run(client.create_group, "h")
        assert not left.done(), "it ended the first connection before the second took over"
        again = peer.welcome(token="T2")
        assert (again["token"], again["force"]) == ("T1", True)
        left.result(60)
        peer.ack(peer.get(MsgId.CREATE_GROUP), groupid=7)
        assert late.result(60) == 7
        seen = events(client, "renewed")
        assert [push.kind for push in seen] == ["connected", "renewed"]
        assert seen[-1].login.token == "T2"
        server.close()


def test_a_logout_during_a_renewal_ends_the_token(new: New, server: FakeServer, run: Run) -> None:
    with renewing(new, server, run) as (client, first):
        left = run(first.echo)
        peer = server.accept()
        assert not client.online
        logout = run(client.logout)
        with pytest.raises(TimeoutError):
            logout.result(0.05)  # it waits for the connection
        peer.welcome()
        peer.ack(peer.get(MsgId.LOGINOUT))
        logout.result(60)
        left.result(60)
        assert client.login_info is None


def test_a_renewal_that_fails_goes_on_as_a_lost_connection(new: New, server: FakeServer, run: Run) -> None:
    with renewing(new, server, run) as (client, first):
        left = run(first.echo)
        peer = server.accept()
        peer.refuse(peer.get(MsgId.LOGIN), 13, "busy", msgid=2)
        left.result(60)
        server.accept().welcome()
        assert [push.kind for push in events(client, "back")] == ["connected", "lost", "back"]
        server.close()


@pytest.mark.parametrize("reason", ["replaced", "protocol"])
def test_a_bye_that_means_stay_away_ends_it(
    server: FakeServer, client: Client, peer: Peer, run: Run, reason: str
) -> None:
    chat = run(client.chat, 2, "hi")
    peer.get(MsgId.ONE_CHAT)
    peer.send({"msgid": 24, "reason": reason})
    assert peer.at_end()
    assert [push.reason for push in events(client, "ended")] == [reason]
    with pytest.raises(errors.Disconnected, match=reason):
        chat.result(60)
    assert (client.online, client.login_info) == (False, None)
    login = run(client.login, "ann", "secret")
    server.accept().welcome()
    login.result(60)


def test_the_wait_that_a_bye_asks_for_is_kept(server: FakeServer, client: Client, peer: Peer) -> None:
    peer.send({"msgid": 24, "reason": "shutdown", "retry_after": 0.05})
    lost = events(client, "lost")[-1]
    assert lost.reason == "shutdown"
    assert 0.05 <= lost.retry_in <= 0.06
    server.accept().welcome()
    assert events(client, "back")


def test_attempts_go_on_while_the_server_is_away(server: FakeServer, client: Client, peer: Peer) -> None:
    server.close()
    kinds = [push.kind for push in islice(client.pushes(60), 4)]  # type: ignore[union-attr]
    assert kinds == ["lost", "retry", "retry", "retry"]
    assert not client.online
    assert client.login_info


def test_backoff_doubles_up_to_its_cap_with_full_jitter() -> None:
    backoff = Backoff()
    for attempt, bound in enumerate([0.5, 1, 2, 4, 8, 16, 30, 30]):
        delays = [backoff.delay(attempt) for _ in range(200)]
        assert 0 <= min(delays) < bound * 0.2
        assert bound * 0.8 < max(delays) <= bound
    assert backoff.delay(10_000) <= 30
    assert all(3 <= backoff.delay(0, 3.0) <= 3.5 for _ in range(100))


def test_a_server_that_gives_no_sign_of_life_is_left(server: FakeServer, client: Client, run: Run) -> None:
    login = run(client.login, "ann", "secret")
    silent = server.accept()
    silent.welcome(heartbeat={"interval": 0.02, "max_missed": 1})
    login.result(60)
    server.accept().welcome()
    assert events(client, "back")[1].reason == "the server gave no sign of life"
    assert silent.at_end()


@pytest.mark.parametrize("garbage", [b"nonsense\n", b"[1]\n", b"\xff\xfe{}\n", b"[" * 200_000 + b"\n"])
def test_a_frame_that_is_no_json_object_ends_the_connection_only(
    server: FakeServer, client: Client, peer: Peer, garbage: bytes
) -> None:
    peer.raw(garbage)
    assert events(client, "lost")[-1].reason == "the server sent a frame that is not valid"
    server.accept().welcome()
    assert events(client, "back")


def test_logout_while_away_ends_the_attempts(server: FakeServer, client: Client, peer: Peer) -> None:
    peer.cut()
    server.close()
    events(client, "lost")
    client.logout()
    with pytest.raises(errors.NotLoggedIn):
        client.find_user("bob")


def test_close_while_coming_back_is_prompt(new: New, server: FakeServer, run: Run) -> None:
    client = new("127.0.0.1", server.port, backoff=Backoff(1000, 1000))
    login = run(client.login, "ann", "secret")
    peer = server.accept()
    peer.welcome()
    login.result(60)
    peer.cut()
    events(client, "lost")
    client.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("greenchat")]


def test_a_new_password_brings_a_new_token(server: FakeServer, client: Client, peer: Peer, run: Run) -> None:
    changed = run(client.change_password, "old", "new")
    peer.ack(peer.get(MsgId.CHANGE_PASSWORD), token="T9")
    changed.result(60)
    peer.cut()
    assert server.accept().welcome()["token"] == "T9"


def test_a_timed_out_message_that_was_not_sent_never_is(
    server: FakeServer, client: Client, peer: Peer, run: Run
) -> None:
    peer.cut()
    events(client, "lost")
    with pytest.raises(TimeoutError):
        client.chat(2, "given up", timeout=0.02)
    kept = run(client.chat, 2, "kept")
    peer = server.accept()
    peer.welcome()
    request = peer.get(MsgId.ONE_CHAT)
    assert request["msg"] == "kept"
    peer.stored(request, 1)
    assert kept.result(60).conversation == with_user(2)


GREEN = """
from gevent import monkey; monkey.patch_all()
import gevent, sys
from greenchat.client import Backoff, Client, Message
from tests.client.fake_server import FakeServer, chat_from
server = FakeServer()
ticks = []
def clock():
    while True:
        ticks.append(1)
        gevent.sleep(0.001)
gevent.spawn(clock)
def serve():
    peer = server.accept(); peer.welcome()
    first = peer.get(6); peer.cut()
    peer = server.accept(); peer.welcome()
    again = peer.get(6); assert again == first
    peer.stored(again, 1); peer.send(chat_from(2, 2, "and to you"))
    peer.at_end(); peer.close()
serving = gevent.spawn(serve)
with Client("127.0.0.1", server.port, backoff=Backoff(0.05, 0.05)) as client:
    client.login("ann", "secret")
    print(client.chat(2, "hi").seq)
    print(next(push.text for push in client.pushes(60) if isinstance(push, Message)))
serving.get(timeout=60)
assert len(ticks) > 3, "other greenlets stood still"
print("done")
"""


def test_works_in_a_program_that_gevent_has_patched() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", GREEN],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.split("\n")[:3] == ["1", "and to you", "done"], ran.stderr
    assert ran.stderr == ""

"""The session without threads or sockets: each row of its tables of states and events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import simplejson

from greenchat import errors
from greenchat.client import Backoff, ConnectionEvent, ConnectionLost, Frame, Message, Push, with_user
from greenchat.client.core.pending import PendingRequest
from greenchat.client.core.sender import ClientTransport
from greenchat.client.core.session import RENEWAL, ClientSession
from greenchat.protocol.messages import MsgId
from tests.client.fake_server import TIME, chat_from

RENEW_AFTER = 1000.0


class ListTransport(ClientTransport):
    """Keep the frames that the session sends."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.is_aborted = False
        self.wakes = 0
        self.read_timeout = 0.0

    def send(self, frame: bytes) -> None:
        self.frames.append(simplejson.loads(frame))

    def wake(self) -> None:
        self.wakes += 1

    def set_read_timeout(self, seconds: float) -> None:
        self.read_timeout = seconds

    def abort(self) -> None:
        self.is_aborted = True

    def take(self, msgid: MsgId) -> Frame:
        """Remove and return the oldest frame of this type."""
        frame = next(frame for frame in self.frames if frame["msgid"] == msgid)
        self.frames.remove(frame)
        return frame

    def count(self, msgid: MsgId) -> int:
        return sum(frame["msgid"] == msgid for frame in self.frames)


class Scene:
    """A session, its transport, and the clock that they see.

    Attributes:
        now: monotonic seconds.
    """

    def __init__(self) -> None:
        self.now = 5000.0
        self.session = ClientSession(Backoff(1.0, 8.0), RENEW_AFTER, clock=lambda: self.now)
        self.transport = ListTransport()

    def connect(self) -> None:
        """Give the session a new transport."""
        self.transport = ListTransport()
        self.session.connected(self.transport)

    def log_in(self, **fields: Any) -> PendingRequest:
        """Log in as user 1, ann, with a password."""
        request = self.session.login_request({"name": "ann", "password": "p", "device": "d", "force": False})
        self.session.start(request)
        self.welcome(**fields)
        return request

    def welcome(self, **fields: Any) -> Frame:
        """Answer the LOGIN on the transport, and return it."""
        login = self.transport.take(MsgId.LOGIN)
        reply = {"msgid": 2, "errno": 0, "cid": login["cid"], "id": 1, "name": "ann", "token": "T1"}
        beat = {"heartbeat": {"interval": 60.0, "max_missed": 5}}
        assert self.session.receive(reply | beat | fields) == ""
        return login

    def refuse(self, error: type[errors.RequestError], **fields: Any) -> str:
        """Refuse the LOGIN on the transport; return the reason to leave the connection."""
        login = self.transport.take(MsgId.LOGIN)
        told = {"errno": error.errno, "error": error.error, "errmsg": "it is refused"}
        return self.session.receive({"msgid": 2, "cid": login["cid"]} | told | fields)

    def request(self, msgid: MsgId, **options: Any) -> PendingRequest:
        """Make a request of no fields."""
        request = PendingRequest(msgid, {"cid": self.session.sender.new_cid()}, **options)
        self.session.start(request)
        return request

    def pushes(self) -> list[Push]:
        """Take and acknowledge all pushes."""
        taken = []
        while item := self.session.receiver.take():
            self.session.receiver.acknowledge(item)
            taken.append(item.push)
        return taken

    def events(self) -> list[str]:
        """Take all pushes; return the kinds of the events."""
        return [push.kind for push in self.pushes() if isinstance(push, ConnectionEvent)]


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def online(scene: Scene) -> Scene:
    scene.connect()
    scene.log_in()
    assert scene.events() == ["connected"]
    return scene


@pytest.fixture
def away(online: Scene) -> Scene:
    assert online.session.disconnected("it broke") is not None
    assert online.events() == ["lost"]
    return online


@pytest.fixture
def resuming(away: Scene) -> Scene:
    away.connect()
    return away


@pytest.fixture
def renewing(online: Scene) -> Scene:
    online.now += RENEW_AFTER
    online.session.tick()
    assert online.session.receive({"msgid": 12}) == RENEWAL
    return online


State = tuple[bool, bool, bool]


def state(scene: Scene) -> State:
    """Return the columns of the table: login, transport, confirmed."""
    session = scene.session
    return session.login is not None, session.sender.transport is not None, session.is_online


LOGGED_OUT: State = (False, False, False)
CONNECTED: State = (False, True, False)
ONLINE: State = (True, True, True)
AWAY: State = (True, False, False)
RESUMING: State = (True, True, False)


def bye(scene: Scene, reason: str) -> None:
    """Have the server say BYE, and the connection end."""
    assert scene.session.receive({"msgid": 24, "reason": reason}) == reason
    scene.session.disconnected(reason)


EVENTS: dict[str, Callable[[Scene], Any]] = {
    "connected": Scene.connect,
    "LOGIN_ACK": Scene.welcome,
    "refused for now": lambda scene: scene.session.disconnected(scene.refuse(errors.Busy)),
    "refused": lambda scene: scene.session.disconnected(scene.refuse(errors.BadCredentials)),
    "BYE replaced": lambda scene: bye(scene, "replaced"),
    "BYE shutdown": lambda scene: bye(scene, "shutdown"),
    "disconnected": lambda scene: scene.session.disconnected("it broke"),
    "left for a renewal": lambda scene: scene.session.disconnected(RENEWAL),
    "connecting fails": lambda scene: scene.session.connect_failed("refused"),
    "logout": lambda scene: scene.session.end_login(""),
}


@pytest.mark.parametrize(
    ("before", "event", "after", "told"),
    [
        ("scene", "connected", CONNECTED, []),
        ("scene", "connecting fails", LOGGED_OUT, []),
        ("online", "BYE replaced", LOGGED_OUT, ["ended"]),
        ("online", "BYE shutdown", AWAY, ["lost"]),
        ("online", "disconnected", AWAY, ["lost"]),
        ("online", "logout", CONNECTED, []),
        ("away", "connected", RESUMING, []),
        ("away", "connecting fails", AWAY, ["retry"]),
        ("away", "logout", LOGGED_OUT, []),
        ("resuming", "LOGIN_ACK", ONLINE, ["back"]),
        ("resuming", "refused for now", AWAY, ["retry"]),
        ("resuming", "refused", LOGGED_OUT, ["ended"]),
        ("resuming", "BYE replaced", LOGGED_OUT, ["ended"]),
        ("resuming", "disconnected", AWAY, ["retry"]),
        ("resuming", "logout", CONNECTED, []),
        ("renewing", "left for a renewal", AWAY, []),
        ("renewing", "BYE replaced", LOGGED_OUT, ["ended"]),
        ("renewing", "disconnected", AWAY, ["lost"]),
        ("renewing", "logout", CONNECTED, []),
    ],
)
def test_each_event_leads_to_its_state(
    request: pytest.FixtureRequest, before: str, event: str, after: State, told: list[str]
) -> None:
    scene: Scene = request.getfixturevalue(before)
    EVENTS[event](scene)
    assert (state(scene), scene.events()) == (after, told)


def test_a_renewal_goes_over_to_the_second_connection(renewing: Scene) -> None:
    assert renewing.transport.count(MsgId.HEARTBEAT) == 1, "without an echo the reader would not leave"
    late = renewing.request(MsgId.FIND, idempotent=True)
    assert renewing.session.disconnected(RENEWAL) == 0.0
    renewing.connect()
    login = renewing.welcome(token="T2")
    assert (login["token"], login["force"]) == ("T1", True)
    assert renewing.events() == ["renewed"]
    assert renewing.transport.take(MsgId.FIND)["cid"] == late.cid
    assert renewing.session.require_login().info.token == "T2"


def test_a_bye_is_not_taken_over_by_a_renewal(online: Scene) -> None:
    """The writer's timer may come between the BYE and the end of the connection."""
    online.now += RENEW_AFTER
    assert online.session.receive({"msgid": 24, "reason": "replaced"}) == "replaced"
    online.session.tick()
    assert online.session.disconnected("replaced") is None
    assert (state(online), online.events()) == (LOGGED_OUT, ["ended"])


def test_no_renewal_begins_under_a_request_that_must_not_be_sent_twice(online: Scene) -> None:
    group = online.request(MsgId.CREATE_GROUP)
    online.now += RENEW_AFTER
    online.session.tick()
    assert online.session.is_online
    online.session.receive({"msgid": 11, "cid": group.cid, "errno": 0})
    online.session.tick()
    assert not online.session.is_online


def test_waits_double_until_a_login_succeeds(away: Scene) -> None:
    bounds = [1, 2, 4, 8, 8]
    for bound in bounds[1:]:
        delay = away.session.connect_failed("refused")
        assert delay is not None
        assert delay <= bound
    away.connect()
    away.welcome()
    away.session.disconnected("it broke")
    assert away.events() == ["retry"] * 4 + ["back", "lost"]


def test_a_wait_that_the_server_asks_for_is_kept_once(online: Scene) -> None:
    online.session.receive({"msgid": 24, "reason": "shutdown", "retry_after": 100})
    assert 100 <= (online.session.disconnected("shutdown") or 0) <= 101
    assert (online.session.connect_failed("refused") or 0) <= 2


def test_requests_wait_for_the_login_of_their_connection(away: Scene) -> None:
    found = away.request(MsgId.FIND, idempotent=True)
    away.connect()
    assert [frame["msgid"] for frame in away.transport.frames] == [MsgId.LOGIN]
    away.welcome()
    assert away.transport.take(MsgId.FIND)["cid"] == found.cid


def test_a_request_that_must_not_be_sent_twice_is_not(online: Scene) -> None:
    once = online.request(MsgId.CREATE_GROUP)
    twice = online.request(MsgId.FIND, idempotent=True)
    online.session.disconnected("it broke")
    assert isinstance(once.future.exception(0), ConnectionLost)
    online.connect()
    online.welcome()
    assert online.transport.take(MsgId.FIND)["cid"] == twice.cid
    assert not online.transport.count(MsgId.CREATE_GROUP)


def test_the_server_may_be_silent_for_two_beats_more_than_it_allows(online: Scene) -> None:
    assert online.transport.read_timeout == 7 * 60.0


def test_heartbeats_and_receipts_are_sent_when_they_are_due(online: Scene) -> None:
    assert online.session.tick() == 60.0
    assert online.transport.count(MsgId.HEARTBEAT) == 1
    online.session.receive(chat_from(2, 1))
    assert [push.seq for push in online.pushes() if isinstance(push, Message)] == [1]
    assert online.session.tick() == pytest.approx(0.1)
    online.now += 0.1
    assert online.session.tick() == pytest.approx(59.9)
    assert online.transport.take(MsgId.RECEIVED) == {"msgid": 13, "peerid": 2, "seq": 1}
    online.now += 59.9
    assert online.session.tick() == 60.0
    assert online.transport.count(MsgId.HEARTBEAT) == 2


def test_a_busy_server_is_asked_again_and_nothing_overtakes(online: Scene) -> None:
    first, second = (
        online.session.chat_request(MsgId.ONE_CHAT, with_user(2), {"toid": 2, "msg": text}) for text in "ab"
    )
    online.session.start(first)
    online.session.start(second)
    sent = online.transport.take(MsgId.ONE_CHAT)
    busy = {"errno": 13, "error": "busy", "retry_after": 3}
    online.session.receive({"msgid": 11, "re": 6, "cid": first.cid} | busy)
    online.session.tick()
    assert not online.transport.count(MsgId.ONE_CHAT)
    online.now += 4
    online.session.tick()
    assert online.transport.take(MsgId.ONE_CHAT) == sent
    stored = {"errno": 0, "seq": 1, "time": TIME}
    online.session.receive({"msgid": 11, "re": 6, "cid": first.cid} | stored)
    assert first.future.result(0)["seq"] == 1
    assert online.transport.take(MsgId.ONE_CHAT)["cid"] == second.cid


def test_the_next_page_is_asked_for_once_the_last_one_is_taken(scene: Scene) -> None:
    scene.connect()
    scene.log_in(offlinemsg=[chat_from(2, 1)], more=True)
    scene.session.tick()
    assert not scene.transport.count(MsgId.SYNC)
    assert len(scene.pushes()) == 2
    sync = scene.transport.take(MsgId.SYNC)
    page = {"offlinemsg": [chat_from(2, 2)], "more": False}
    scene.session.receive({"msgid": 11, "re": 25, "errno": 0, "cid": sync["cid"]} | page)
    (message,) = scene.pushes()
    assert isinstance(message, Message)
    assert (message.seq, message.offline) == (2, True)
    assert not scene.transport.count(MsgId.SYNC)


def test_a_login_without_an_answer_ends_the_connection(scene: Scene) -> None:
    scene.connect()
    request = scene.session.login_request({"name": "ann", "password": "p", "device": "", "force": False})
    scene.session.start(request)
    scene.session.abort_login()
    assert scene.transport.is_aborted


@pytest.mark.parametrize(
    ("before", "msgid", "error", "says"),
    [
        ("scene", MsgId.FIND, errors.NotLoggedIn, "log in first"),
        ("scene", MsgId.LOGIN, errors.Disconnected, "closed the connection"),
        ("online", MsgId.LOGIN, errors.AlreadyLoggedIn, "logged in"),
    ],
)
def test_a_request_that_does_not_fit_the_state_is_refused(
    request: pytest.FixtureRequest, before: str, msgid: MsgId, error: type[Exception], says: str
) -> None:
    scene: Scene = request.getfixturevalue(before)
    with pytest.raises(error, match=says):
        scene.request(msgid)


@pytest.mark.parametrize(("reason", "said"), [("", "logged out"), ("replaced", "replaced")])
def test_requests_of_a_login_that_ends_fail(away: Scene, reason: str, said: str) -> None:
    waiting = away.request(MsgId.FIND, idempotent=True)
    away.session.end_login(reason)
    error = waiting.future.exception(0)
    assert isinstance(error, errors.Disconnected)
    assert error.reason == said


def test_a_closed_session_refuses_all_and_reports_nothing(online: Scene) -> None:
    waiting = online.request(MsgId.FIND)
    online.session.close()
    assert isinstance(waiting.future.exception(0), errors.Disconnected)
    with pytest.raises(errors.Disconnected, match="closed"):
        online.request(MsgId.FIND)
    online.session.receive(chat_from(2, 1))
    assert online.session.disconnected("it broke") is None
    assert online.pushes() == []


@pytest.mark.parametrize("frame", [{}, {"msgid": []}, {"msgid": 24}, {"msgid": 2, "cid": 7}, {"msgid": 6}])
def test_an_invalid_frame_ends_nothing(online: Scene, frame: Frame) -> None:
    assert online.session.receive(frame) == ""
    assert (state(online), online.pushes()) == (ONLINE, [])

"""A user writes and reads without a connection: as on one, and no device comes online by it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from greenchat.errors import BadCredentials, Busy, CidUsed, RateLimited, RequestError
from greenchat.protocol import messages as m
from greenchat.protocol.messages import MsgId
from greenchat.protocol.native import NATIVE
from greenchat.protocol.one_shot import Heard
from greenchat.service.requests.profiles import friends_and_groups
from greenchat.service.requests.web_session import close_session, open_session
from greenchat.service.session import CookieSession
from greenchat.service.visit import Visit, Visits
from tests.service.world import Person, World, seqs

ADDRESS = "192.0.2.7:4711"
PASSWORD = "pw"


class Script:
    """A program with the token of a device that is offline, unless a test brings it online."""

    def __init__(self, world: World, who: Person, device: str = "cron") -> None:
        self.world = world
        self.who = who
        self.device = device
        self.visits = Visits(world.service)
        name = world.store.user(id=who.id).name
        self.token = open_session(world.service, name, PASSWORD, device, ADDRESS)

    def visit(self) -> Visit:
        return self.visits.open(self.token, ADDRESS)

    def ask(self, request: m.Request) -> Heard:
        """Make a request of a visit, and return what is heard of it once all is committed."""
        heard: list[Heard] = []
        self.visit().ask(request, heard.append)
        self.world.commit()
        assert len(heard) == 1
        return heard[0]

    def chat(self, other: Person, msg: str = "hi", cid: str | None = None) -> m.StoredAck:
        ack = self.ask(m.OneChat(toid=other.id, msg=msg, cid=cid))
        assert isinstance(ack, m.StoredAck)
        return ack

    def log_in(self) -> Person:
        """Bring the device online."""
        return self.world.log_in(self.who, device=self.device)


@pytest.fixture
def script(world: World, ann: Person, bob: Person) -> Script:
    """A program of Ann's; Bob is online."""
    ann.leave()
    return Script(world, ann)


# -- Messages


def test_a_message_is_answered_after_its_commit_and_delivered(script: Script, bob: Person) -> None:
    heard: list[Heard] = []
    script.visit().ask(m.OneChat(toid=bob.id, msg="hi"), heard.append)
    assert heard == []
    script.world.commit()
    (ack,) = heard
    assert isinstance(ack, m.StoredAck)
    assert ack.seq == 1
    assert [frame["msg"] for frame in bob.pushed(MsgId.ONE_CHAT)] == ["hi"]


def test_nobody_comes_online_by_a_visit(script: Script, bob: Person) -> None:
    bob.ok(MsgId.ADD_FRIEND, friendid=script.who.id)
    script.chat(bob)
    script.world.commit()
    assert script.world.service.hub.of(script.who.id) == ()
    assert "online" not in [frame["state"] for frame in bob.pushed(MsgId.PRESENCE)]
    assert bob.ok(MsgId.FIND, name="ann")["user"]["state"] == "offline"


def test_the_same_cid_is_stored_once_and_another_text_with_it_refused(script: Script, bob: Person) -> None:
    first = script.chat(bob, cid="k")
    again = script.chat(bob, cid="k")
    assert type(first) is m.StoredAck
    assert type(again) is m.RepeatedAck
    assert (again.seq, again.time) == (first.seq, first.time)
    assert isinstance(script.ask(m.OneChat(toid=bob.id, msg="other", cid="k")), CidUsed)


def test_what_a_session_may_not_do_a_visit_may_not_either(script: Script, bob: Person) -> None:
    bob.ok(MsgId.BLOCK, userid=script.who.id)
    groupid = bob.group("theirs")
    heard = [
        script.ask(m.OneChat(toid=bob.id, msg="hi")),
        script.ask(m.OneChat(toid=999, msg="hi")),
        script.ask(m.OneChat(toid=bob.id, msg="")),
        script.ask(m.GroupChat(groupid=groupid, msg="hi")),
        script.ask(m.History(groupid=groupid)),
        script.ask(m.GroupInfo(groupid=groupid)),
    ]
    assert [each.errno for each in heard if isinstance(each, RequestError)] == [10, 6, 3, 8, 8, 8]


def test_a_failed_commit_is_told(script: Script, bob: Person) -> None:
    script.world.runner.broken.add("write")
    assert isinstance(script.ask(m.OneChat(toid=bob.id, msg="hi")), Busy)


# -- The device


def test_the_device_has_what_it_wrote(script: Script, bob: Person) -> None:
    """Three visits within the time in which a cursor is not written yet."""
    for _ in range(3):
        script.chat(bob)
    device = script.log_in()
    assert device.ack["offlinemsg"] == []
    bob.chat(device)
    assert device.live() == [4]


def test_what_it_wrote_behind_something_that_is_pending_is_offered(script: Script, bob: Person) -> None:
    bob.chat(script.who)
    script.chat(bob)
    assert seqs(script.log_in().ack["offlinemsg"]) == [1, 2]


def test_a_receipt_counts(script: Script, bob: Person) -> None:
    for _ in range(3):
        bob.chat(script.who)
    assert script.ask(m.Received(peerid=bob.id, seq=2)) is None
    script.chat(bob)  # a move of the same cursor, before the receipt is written
    assert seqs(script.log_in().ack["offlinemsg"]) == [3, 4]


def test_a_receipt_of_what_is_not_there_yet_counts_to_the_end_of_the_log(script: Script, bob: Person) -> None:
    bob.chat(script.who)
    assert script.ask(m.Received(peerid=bob.id, seq=99)) is None
    bob.chat(script.who)
    assert seqs(script.log_in().ack["offlinemsg"]) == [2]


def test_a_receipt_about_others_is_passed_over_in_silence(script: Script, bob: Person) -> None:
    assert script.ask(m.Received(groupid=bob.group("theirs"), seq=1)) is None


def test_a_device_that_is_online_is_not_sent_what_it_wrote_but_the_others_are(
    script: Script, bob: Person
) -> None:
    device, tablet = script.log_in(), script.world.log_in(script.who, device="tablet")
    script.chat(bob, cid="k")
    assert device.live() == []
    assert [(frame["cid"], frame["msg"]) for frame in tablet.pushed(MsgId.ONE_CHAT)] == [("k", "hi")]
    device.leave()
    assert script.log_in().ack["offlinemsg"] == []


def test_after_a_setback_receipts_count_from_the_new_head(script: Script, bob: Person) -> None:
    for _ in range(3):
        bob.chat(script.who)
    script.ask(m.Received(peerid=bob.id, seq=3))
    conversation = script.who.id << 32 | bob.id
    for forget in script.world.service.when_set_back:
        forget(conversation)
    script.world.store.set_back(conversation, [script.who.id], 0)
    script.ask(m.Received(peerid=bob.id, seq=2))
    assert seqs(script.log_in().ack["offlinemsg"]) == [3]


# -- Reading


def test_history_is_that_of_a_session(script: Script, bob: Person) -> None:
    bob.chat(script.who, "one")
    script.chat(bob, "two", cid="k")
    heard = script.ask(m.History(peerid=bob.id))
    assert isinstance(heard, m.HistoryAck)
    (frame,) = NATIVE.reply(m.History(peerid=bob.id), heard)
    assert b'"msg":"one"' in frame
    assert b'"cid":"k"' in frame


def test_a_history_that_is_read_while_the_user_leaves_shows_nothing(script: Script, bob: Person) -> None:
    groupid = bob.group("ours")
    device = script.log_in()
    device.ok(MsgId.ADD_GROUP, groupid=groupid)
    bob.say(groupid, "secret")
    script.world.service.memberships.load(groupid)
    device.leave()
    tablet = script.world.log_in(script.who, device="tablet")
    script.world.switching(lambda: None, lambda: None, lambda: tablet.ok(MsgId.LEAVE_GROUP, groupid=groupid))
    heard = script.ask(m.History(groupid=groupid))
    assert isinstance(heard, RequestError)
    assert heard.errno == 8


def test_friends_and_groups_are_those_of_a_login(script: Script, bob: Person) -> None:
    tablet = script.world.log_in(script.who, device="tablet")
    tablet.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    groupid = tablet.group("mine")
    friends, groups = friends_and_groups(script.visit())
    assert friends == [m.UserItem(bob.id, "bob", "online")]
    assert groups == [m.GroupItem(id=groupid, groupname="mine", groupdesc="", count=1, role="creator")]


# -- Tokens and limits


def test_a_visit_needs_a_token_that_holds(script: Script) -> None:
    with pytest.raises(BadCredentials):
        script.visits.open("nonsense", ADDRESS)
    script.log_in().ok(MsgId.CHANGE_PASSWORD, old=PASSWORD, new="better")
    with pytest.raises(BadCredentials):
        script.visit()


def test_a_wrong_password_opens_no_session(world: World, ann: Person) -> None:
    with pytest.raises(BadCredentials):
        open_session(world.service, "ann", "wrong", "web", ADDRESS)


def test_a_password_that_changes_meanwhile_opens_no_session(world: World, ann: Person) -> None:
    world.switching(lambda: None, lambda: ann.ok(MsgId.CHANGE_PASSWORD, old=PASSWORD, new="better"))
    with pytest.raises(BadCredentials):
        open_session(world.service, "ann", PASSWORD, "web", ADDRESS)


def test_a_closed_session_ends_the_token_and_the_connection_of_its_device_alone(script: Script) -> None:
    device, tablet = script.log_in(), script.world.log_in(script.who, device="tablet")
    visit = script.visit()
    close_session(script.world.service, visit.account, visit.device, ADDRESS)
    assert (device.peer.closed, tablet.peer.closed) == ("replaced", None)
    with pytest.raises(BadCredentials):
        script.visit()
    script.world.log_in(script.who, token=tablet.token, device="tablet", force=True)


def test_requests_of_an_account_are_limited_over_all_its_visits(make_world: Callable[..., World]) -> None:
    world = make_world(request_rate=1.0, request_burst=100)
    script = Script(world, world.user("ann"))
    for _ in range(99):
        script.visit()
    with pytest.raises(RateLimited) as limited:
        script.visit()
    assert limited.value.retry_after
    world.time += 2
    script.visit()


def test_a_server_that_stops_takes_no_visits(script: Script) -> None:
    script.world.service.draining = True
    with pytest.raises(Busy):
        script.visit()


# -- Connections that come with a cookie


class Page(Person):
    """A connection that came with a cookie."""

    def __init__(self, world: World, cookie: str) -> None:
        super().__init__(world)
        self.session = CookieSession(cookie, world.service, self.peer, NATIVE)


def test_a_cookie_logs_in_and_no_answer_shows_a_token(script: Script) -> None:
    page = Page(script.world, script.token)
    ack = page.ok(MsgId.LOGIN)
    assert ack["name"] == "ann"
    assert "token" not in ack
    assert page.session.device == script.device
    assert "token" not in page.ok(MsgId.CHANGE_PASSWORD, old=PASSWORD, new="better")


@pytest.mark.parametrize("more", [{"password": PASSWORD}, {"token": "t"}])
def test_a_cookie_takes_no_other_proof_beside_it(script: Script, more: dict[str, str]) -> None:
    Page(script.world, script.token).refused(3, MsgId.LOGIN, name="ann", **more)


def test_a_cookie_is_for_one_device(script: Script) -> None:
    page = Page(script.world, script.token)
    page.refused(1, MsgId.LOGIN, device="tablet")
    page.ok(MsgId.LOGIN, device=script.device)


def test_a_cookie_that_has_ended_or_is_none_logs_nobody_in(script: Script) -> None:
    visit = script.visit()
    close_session(script.world.service, visit.account, visit.device, ADDRESS)
    Page(script.world, script.token).refused(1, MsgId.LOGIN)
    Page(script.world, "nonsense").refused(1, MsgId.LOGIN)

"""REST and server-sent events against real servers: what a script, a cron job and a browser's page do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from lab.servers.program import free_port
from tests.system.rest import DEADLINE, Answer, Caller
from tests.system.server import Client, Server, join

Start = Callable[..., Server]

CALM = ("--heartbeat-interval", 60, "--login-timeout", 60)


class Place(NamedTuple):
    """A server with a web port, two people at terminals, and a script of the first one.

    Attributes:
        server: the server.
        web: its web port.
        ann: a user, whose device ``cron`` is the script's.
        bob: another one.
        script: the script.
        group: of both.
    """

    server: Server
    web: int
    ann: Client
    bob: Client
    script: Caller
    group: int


def begun(server: Server, web: int, suffix: str = "") -> Place:
    """Return a place with new people."""
    ann, bob = join(server, f"ann{suffix}"), join(server, f"bob{suffix}")
    group = ann.done(8, groupname=f"ours{suffix}")["groupid"]
    bob.done(9, groupid=group)
    _, token = Caller(web).begin(f"ann{suffix}", "cron")
    return Place(server, web, ann, bob, Caller(web, token), group)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """A server with its web port, for the tests of this file that leave it as it is."""
    port = free_port()
    options = (*CALM, "--web", f"127.0.0.1:{port}", "--web-hosts", "chat.example")
    server = Server(tmp_path_factory.mktemp("rest"), *options)
    yield server, port
    server.close()


@pytest.fixture
def place(shared: tuple[Server, int], request: pytest.FixtureRequest) -> Iterator[Place]:
    """New people at the shared server."""
    place = begun(*shared, f"-{abs(hash(request.node.name)) % 10**9}")
    yield place
    place.ann.sock.close()
    place.bob.sock.close()


@pytest.fixture(scope="module")
def settled(shared: tuple[Server, int]) -> Iterator[Place]:
    """People for all the tests that change nothing."""
    place = begun(*shared)
    yield place
    place.ann.sock.close()
    place.bob.sock.close()


def name_of(client: Client, place: Place) -> str:
    """Return the name of one of the two."""
    suffix = str(place.script.get("/api/v1/me").json["name"]).removeprefix("ann")
    return ("ann" if client is place.ann else "bob") + suffix


# -- Messages


def test_a_script_sends_to_a_person_at_a_terminal(place: Place) -> None:
    answer = place.script.post("/api/v1/messages", {"user": name_of(place.bob, place), "text": "hi"})
    assert answer.status == 201
    assert answer.json.keys() == {"seq", "time", "conversation"}
    assert answer.json["conversation"] == f"u{place.ann.id}-{place.bob.id}"
    pushed = place.bob.wait(msgid=6)
    assert (pushed["msg"], pushed["seq"], pushed["time"]) == ("hi", 1, answer.json["time"])
    assert place.ann.wait(msgid=6)["msg"] == "hi"  # another device of the sender's


@pytest.mark.parametrize("by", ["group", "group_id"])
def test_a_cron_job_posts_to_a_group(place: Place, by: str) -> None:
    suffix = name_of(place.ann, place).removeprefix("ann")
    body = {by: f"ours{suffix}" if by == "group" else place.group, "text": "backup done"}
    answer = place.script.post("/api/v1/messages", body)
    assert (answer.status, answer.json["conversation"]) == (201, f"g{place.group}")
    assert place.bob.wait(msgid=10)["msg"] == "backup done"


def test_a_message_with_the_same_key_is_stored_once(place: Place) -> None:
    def send(text: str, key: str = "ké1") -> Answer:
        body = {"user_id": place.bob.id, "text": text}
        return place.script.post("/api/v1/messages", body, Idempotency_Key=key.encode().decode("latin-1"))

    first, again, other = send("hi"), send("hi"), send("something else")
    assert (first.status, again.status, other.status) == (201, 200, 409)
    assert again.json == first.json
    assert other.errno == 3
    (message,) = place.script.get(f"/api/v1/messages?user_id={place.bob.id}").json["messages"]
    assert (message["msg"], message["cid"]) == ("hi", "ké1")


def test_history_pages_back(place: Place) -> None:
    for text in "abc":
        place.script.post("/api/v1/messages", {"group_id": place.group, "text": text})
    page = place.script.get(f"/api/v1/messages?group_id={place.group}&limit=2").json
    assert ([each["msg"] for each in page["messages"]], page["more"]) == (["b", "c"], True)
    before = page["messages"][0]["seq"]
    page = place.script.get(f"/api/v1/messages?group_id={place.group}&before={before}").json
    assert ([each["msg"] for each in page["messages"]], page["more"]) == (["a"], False)


def test_me_and_a_group_are_shown(place: Place) -> None:
    place.ann.done(7, friendid=place.bob.id)
    me = place.script.get("/api/v1/me").json
    assert (me["id"], me["device"]) == (place.ann.id, "cron")
    assert [friend["id"] for friend in me["friends"]] == [place.bob.id]
    assert [group["id"] for group in me["groups"]] == [place.group]
    page = place.script.get(f"/api/v1/groups/{place.group}?limit=1").json
    assert (page["group"]["count"], page["more"]) == (2, True)
    rest = place.script.get(f"/api/v1/groups/{place.group}?after={page['users'][0]['id']}").json
    assert [user["id"] for user in rest["users"]] == [place.bob.id]


def test_nobody_comes_online_by_a_call(place: Place) -> None:
    place.bob.done(7, friendid=place.ann.id)
    place.ann.sock.close()
    place.bob.wait(msgid=23, state="offline")
    assert place.script.get("/api/v1/me").status == 200
    assert place.bob.done(30, name=name_of(place.ann, place))["user"]["state"] == "offline"


BAD: dict[str, tuple[str, str, Any, dict[str, str], int, int]] = {
    "no token": ("GET", "/api/v1/me", None, {"Authorization": ""}, 401, 5),
    "another scheme": ("GET", "/api/v1/me", None, {"Authorization": "Basic YTpi"}, 401, 5),
    "a wrong token": ("GET", "/api/v1/me", None, {"Authorization": "Bearer x"}, 401, 1),
    "not JSON": ("POST", "/api/v1/messages", b"{", {}, 400, 3),
    "not UTF-8": ("POST", "/api/v1/messages", b'{"user_id":1,"text":"\xff"}', {}, 400, 3),
    "no body": ("POST", "/api/v1/messages", b"", {}, 400, 3),
    "a form": ("POST", "/api/v1/messages", b"a=b", {"Content-Type": "text/plain"}, 415, 3),
    "no receiver": ("POST", "/api/v1/messages", {"text": "hi"}, {}, 400, 3),
    "two receivers": ("POST", "/api/v1/messages", {"user_id": 1, "group_id": 1, "text": "hi"}, {}, 400, 3),
    "no text": ("POST", "/api/v1/messages", {"user_id": 1}, {}, 400, 3),
    "an empty text": ("POST", "/api/v1/messages", {"user_id": 1, "text": ""}, {}, 400, 3),
    "a text too long": ("POST", "/api/v1/messages", {"user_id": 1, "text": "x" * 4_097}, {}, 413, 12),
    "a body too long": ("POST", "/api/v1/messages", b" " * 65_537, {}, 413, 12),
    "an empty key": (
        "POST",
        "/api/v1/messages",
        {"user_id": 1, "text": "x"},
        {"Idempotency-Key": ""},
        400,
        3,
    ),
    "a long key": (
        *("POST", "/api/v1/messages", {"user_id": 1, "text": "x"}, {"Idempotency-Key": "k" * 37}, 413, 12),
    ),
    "nobody": ("POST", "/api/v1/messages", {"user": "no such", "text": "hi"}, {}, 404, 6),
    "no group": ("POST", "/api/v1/messages", {"group_id": 2**31 - 1, "text": "hi"}, {}, 404, 7),
    "an id too large": ("POST", "/api/v1/messages", {"group_id": 2**31, "text": "hi"}, {}, 400, 3),
    "a limit too large": ("GET", "/api/v1/messages?user_id=1&limit=201", None, {}, 400, 3),
    "a limit of 5,000 digits": ("GET", f"/api/v1/messages?user_id=1&limit={'9' * 5_000}", None, {}, 400, 3),
    "a user of 5,000 digits": ("GET", f"/api/v1/messages?user_id={'9' * 5_000}", None, {}, 400, 3),
    "a limit below zero": ("GET", "/api/v1/messages?user_id=1&limit=-1", None, {}, 400, 3),
    "a limit that is none": ("GET", "/api/v1/messages?user_id=1&limit=x", None, {}, 400, 3),
    "a group that is no number": ("GET", "/api/v1/groups/x", None, {}, 400, 3),
    "a conversation that is none": ("POST", "/api/v1/received", {"conversation": "x", "seq": 1}, {}, 400, 3),
    "of two others": ("POST", "/api/v1/received", {"conversation": "u1-1", "seq": 1}, {}, 400, 3),
    "conversations, until they come": ("GET", "/api/v1/conversations", None, {}, 404, 4),
    "search, until it comes": ("GET", "/api/v1/search?q=x", None, {}, 404, 4),
    "files, until they come": ("GET", "/api/v1/files/1", None, {}, 404, 4),
    "another method": ("PUT", "/api/v1/messages", None, {}, 405, 4),
}


@pytest.mark.parametrize("row", BAD)
def test_bad_calls_get_a_clear_answer(settled: Place, row: str) -> None:
    method, path, body, headers, status, errno = BAD[row]
    answer = settled.script.call(
        method, path, body, **{name.replace("-", "_"): v for name, v in headers.items()}
    )
    assert (answer.status, answer.errno) == (status, errno), answer


def test_a_token_in_a_query_is_none(settled: Place) -> None:
    assert Caller(settled.web).get(f"/api/v1/me?access_token={settled.script.token}").status == 401


def test_a_call_waits_no_longer_than_its_token(place: Place) -> None:
    """A body that comes slowly behind its head: meanwhile the password is changed."""
    body = b'{"user_id":%d,"text":"late"}' % place.bob.id
    head = (
        f"POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {place.script.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", place.web), timeout=DEADLINE) as slow:
        slow.sendall(head + body[:5])
        assert place.script.get("/api/v1/me").status == 200  # the head has been read by now
        place.ann.done(28, old="pw", new="better")
        slow.sendall(body[5:])
        assert slow.recv(100).startswith(b"HTTP/1.1 401 ")


# -- Sessions of browsers


def test_a_session_has_a_cookie_that_only_this_server_reads(place: Place) -> None:
    body = {"name": name_of(place.ann, place), "password": "pw", "device": "web"}
    on_loopback = place.script.post("/session", body).headers["set-cookie"]
    assert on_loopback.startswith("__Host-greenchat-")
    assert on_loopback.partition("; ")[2] == "Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict; Secure"
    plain = place.script.post("/session", body, Host="chat.example").headers["set-cookie"]
    assert plain.startswith("greenchat=")
    assert plain.partition("; ")[2] == "Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict"
    secure = place.script.post("/session", body, Host="chat.example", X_Forwarded_Proto="https")
    assert secure.headers["set-cookie"].startswith("__Host-greenchat=")
    assert secure.headers["set-cookie"].endswith("; Secure")


def test_a_wrong_password_begins_no_session(place: Place) -> None:
    body = {"name": name_of(place.ann, place), "password": "wrong", "device": "web"}
    answer = Caller(place.web).post("/session", body)
    assert (answer.status, answer.errno) == (401, 1)
    assert "set-cookie" not in answer.headers


OURS = [{"Origin": "http://127.0.0.1:{port}"}, {"Sec_Fetch_Site": "same-origin"}]
THEIRS: list[dict[str, str]] = [
    {}, {"Origin": "null"}, {"Origin": "http://evil.example"}, {"Origin": "http://127.0.0.1:1"},
    {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Sec_Fetch_Site": "none"},
    {"Origin": "http://evil.example", "Sec_Fetch_Site": "same-origin"},
]  # fmt: skip


def page_of(place: Place, device: str = "web") -> Caller:
    """Return a page with a cookie."""
    name, value = Caller(place.web).begin(name_of(place.ann, place), device)
    return Caller(place.web, Cookie=f"other=1; {name}={value}")


def test_a_cookie_changes_things_from_pages_of_this_server_only(place: Place) -> None:
    page, body = page_of(place), {"user_id": place.bob.id, "text": "hi"}
    for headers in THEIRS:
        answer = page.post("/api/v1/messages", body, **headers)
        assert (answer.status, answer.errno) == (403, 14), headers
        assert page.call("DELETE", "/session", **headers).status == 403
    for headers in OURS:
        here = {name: value.format(port=place.web) for name, value in headers.items()}
        assert page.post("/api/v1/messages", body, **here).status == 201
    assert page.get("/api/v1/me").status == 200  # reads need no origin: another page cannot see the answer
    assert len(place.script.get(f"/api/v1/messages?user_id={place.bob.id}").json["messages"]) == 2


def test_another_sites_page_begins_no_session(place: Place) -> None:
    body = {"name": name_of(place.ann, place), "password": "pw", "device": "web"}
    for headers in THEIRS[1:]:
        assert Caller(place.web).post("/session", body, **headers).status == 403, headers


def test_a_session_ends(place: Place) -> None:
    page = page_of(place)
    here = {"Sec_Fetch_Site": "same-origin"}
    answer = page.call("DELETE", "/session", **here)
    assert answer.status == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert page.get("/api/v1/me").errno == 1
    assert page.call("DELETE", "/session", **here).status == 204
    assert place.script.get("/api/v1/me").status == 200  # another device


# -- Events


def test_a_stream_is_an_online_device_that_gets_what_comes(place: Place) -> None:
    place.bob.done(7, friendid=place.ann.id)
    place.ann.sock.close()
    place.bob.wait(msgid=23, state="offline")
    stream = place.script.events()
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    login = stream.next("login")
    assert (login.data["id"], "token" in login.data) == (place.ann.id, False)
    assert 1_000 <= login.retry <= 3_000
    place.bob.wait(msgid=23, state="online")
    place.bob.done(6, toid=place.ann.id, msg="one")
    place.bob.done(10, groupid=place.group, msg="two")
    place.bob.send(26, toid=place.ann.id)
    one, two = stream.next(), stream.next()
    assert (one.id, one.data["msg"]) == (f"u{place.ann.id}-{place.bob.id}-1", "one")
    assert (two.id, two.data["msg"]) == (f"g{place.group}-1", "two")
    assert stream.next("typing").data["id"] == place.bob.id
    stream.close()
    place.bob.wait(msgid=23, state="offline")


def test_a_stream_begins_with_what_was_missed(place: Place) -> None:
    place.script.events().close()
    for text in "abc":
        place.bob.done(6, toid=place.ann.id, msg=text)
    place.bob.done(10, groupid=place.group, msg="d")
    stream = place.script.events()
    assert sorted(stream.next().data["msg"] for _ in range(4)) == ["a", "b", "c", "d"]
    stream.close()


def test_the_last_id_acknowledges_what_was_sent_before_it_too(place: Place) -> None:
    stream = place.script.events()
    stream.next("login")
    place.bob.done(6, toid=place.ann.id, msg="a")
    place.bob.done(10, groupid=place.group, msg="b")
    place.bob.done(6, toid=place.ann.id, msg="c")
    one, two, three = stream.entries(3)
    stream.close()
    stream = place.script.events(last=two)
    assert stream.entries(1) == [three]
    stream.close()
    stream = place.script.events(last=three)
    place.bob.done(6, toid=place.ann.id, msg="d")
    assert stream.next().data["msg"] == "d"
    stream.close()
    assert one


def test_without_a_receipt_a_stream_repeats(place: Place) -> None:
    stream = place.script.events()
    stream.next("login")
    place.bob.done(6, toid=place.ann.id, msg="a")
    sent = stream.entries(1)
    stream.close()
    stream = place.script.events()
    assert stream.entries(1) == sent
    conversation, _, seq = sent[0].rpartition("-")
    receipt = {"conversation": conversation, "seq": int(seq)}
    assert place.script.post("/api/v1/received", receipt).status == 204
    stream.close()
    stream = place.script.events(last="nonsense")
    place.bob.done(6, toid=place.ann.id, msg="b")
    assert stream.next().data["msg"] == "b"
    stream.close()


def test_a_script_is_not_sent_its_own_messages(place: Place) -> None:
    stream = place.script.events()
    stream.next("login")
    place.script.post("/api/v1/messages", {"user_id": place.bob.id, "text": "from the script"})
    place.ann.done(6, toid=place.bob.id, msg="from the terminal")
    assert stream.next().data["msg"] == "from the terminal"
    stream.close()


def test_a_second_stream_replaces_the_first(place: Place) -> None:
    first = place.script.events()
    first.next("login")
    second = place.script.events()
    bye = first.next("bye")
    assert bye.data["reason"] == "replaced"
    assert bye.retry >= 60_000  # or the two would replace each other for ever
    assert list(first) == []
    place.bob.done(6, toid=place.ann.id, msg="a")
    assert second.next().data["msg"] == "a"
    second.close()


def test_an_end_of_the_session_ends_the_stream(place: Place) -> None:
    page = page_of(place)
    stream = page.events()
    stream.next("login")
    page.call("DELETE", "/session", Sec_Fetch_Site="same-origin")
    assert stream.next("bye").data["reason"] == "replaced"
    stream = page.events()
    assert stream.status == 401
    stream.close()


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "same-site"}])
def test_another_page_opens_no_stream(place: Place, headers: dict[str, str]) -> None:
    stream = page_of(place).events(**headers)
    assert stream.status == 403
    stream.close()


def test_a_head_of_events_begins_no_stream(settled: Place) -> None:
    answer = settled.script.call("HEAD", "/api/v1/events")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")


# -- Servers of their own


@pytest.fixture
def begin(start: Start) -> Callable[..., Place]:
    """Start a server with a web port, and people."""

    def begin(*options: object, **more: Any) -> Place:
        port = free_port()
        return begun(start("--web", f"127.0.0.1:{port}", *options, **more), port)

    return begin


def test_nothing_is_lost_when_the_server_is_killed(begin: Callable[..., Place]) -> None:
    place = begin()
    stream = place.script.events()
    stream.next("login")
    body = {"user_id": place.bob.id, "text": "kept"}
    assert place.script.post("/api/v1/messages", body, Idempotency_Key="k").status == 201
    place.bob.done(6, toid=place.ann.id, msg="a")
    place.bob.done(10, groupid=place.group, msg="b")
    place.bob.done(6, toid=place.ann.id, msg="c")
    one, group, two = stream.entries(3)
    place.server.kill()
    assert list(stream) == []
    place.server.start()
    again = place.script.post("/api/v1/messages", body, Idempotency_Key="k")
    assert (again.status, again.json["seq"]) == (200, 1)
    # A new server does not know what the old one has sent: the id counts for its own conversation alone.
    stream = place.script.events(last=two)
    assert stream.entries(1) == [group]
    stream.close()
    assert one


def test_a_server_that_stops_says_bye_and_when_to_come_back(begin: Callable[..., Place]) -> None:
    place = begin()
    stream = place.script.events()
    stream.next("login")
    assert place.server.stop() == 0
    bye = stream.next("bye")
    assert (bye.data["reason"], bye.retry) == ("shutdown", int(bye.data["retry_after"] * 1_000))
    assert list(stream) == []


def test_a_full_server_tells_a_stream_to_come_back(begin: Callable[..., Place]) -> None:
    place = begin("--exempt", "192.0.2.1", "--proxy-from", "192.0.2.1", "--max-connections-per-address", 3)
    # The two at terminals are two of the three.
    with socket.create_connection(("127.0.0.1", place.web), timeout=DEADLINE):
        stream = place.script.events()
        assert (stream.status, [event.retry for event in stream]) == (200, [5_000])
        assert place.script.get("/api/v1/me").status == 429


def test_calls_of_an_account_are_limited(begin: Callable[..., Place]) -> None:
    place = begin("--exempt", "192.0.2.1", "--request-rate", 1, "--request-burst", 100)
    answers = [place.script.get("/api/v1/me") for _ in range(110)]
    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    assert {answer.errno for answer in refused} == {11}
    assert int(refused[0].headers["retry-after"]) >= 1
    stream = place.script.events()
    assert (stream.status, [event.retry for event in stream]) == (200, [5_000])

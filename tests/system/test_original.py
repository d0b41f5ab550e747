"""People with original C++ clients, in both numberings and at human pace, against real servers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from datetime import datetime
from time import sleep
from zoneinfo import ZoneInfo

import pytest

from tests.system.original import Person
from tests.system.server import Client, Server, join

Start = Callable[..., Server]

LINEAGES = pytest.mark.parametrize("first", [1, 1000])

HURRIED = ("--login-timeout", 0.3, "--heartbeat-interval", 0.1, "--max-missed", 2)
"""A server on which a modern client must log in at once; a person takes longer than all of this."""

THINKING = 1.5
"""Seconds that a person thinks: many times the login time and the heartbeats of ``HURRIED``."""


@pytest.fixture
def server(start: Start) -> Server:
    return start("--classic-timezone", "Asia/Shanghai")


def person(server: Server, name: str, first: int = 1) -> tuple[Person, int]:
    """Return somebody who has registered and is still at the menu."""
    found = Person(server.host, server.port, first)
    ack = found.register(name)
    assert (found.number(5), ack["errno"]) == (ack["msgid"], 0)
    return found, ack["id"]


def online(server: Server, name: str, first: int = 1) -> tuple[Person, int]:
    found, userid = person(server, name, first)
    assert found.login(userid)["errno"] == 0
    return found, userid


def fill(sender: Client, texts: list[str], **to: int) -> None:
    """Send many messages and wait until all are stored."""
    msgid = 6 if "toid" in to else 10
    for number, text in enumerate(texts):
        sender.send(msgid, msg=text, cid=f"{msgid}-{number}", **to)
    for _ in texts:
        assert sender.read()["errno"] == 0


# -- Human pace


@LINEAGES
def test_people_may_think_before_and_between_their_requests(start: Start, first: int) -> None:
    server = start(*HURRIED, calm=False)
    with Person(server.host, server.port, first) as ann:
        sleep(THINKING)  # the menu
        ack = ann.register("ann")
        sleep(THINKING)
        assert ann.login(ack["id"])["errno"] == 0
        sleep(THINKING)
        ann.type(3, id=ack["id"])
        sleep(THINKING)
        assert ann.login(ack["id"])["errno"] == 0
        ann.check()


def test_a_modern_client_has_no_longer_than_before(start: Start) -> None:
    server = start(*HURRIED, calm=False)
    with Client(server) as client:
        client.send(12)
        assert client.ended()[-1] == {"msgid": 24, "reason": "evicted"}


# -- What fits


@LINEAGES
def test_thirty_friends_and_a_group_of_forty_are_shown_as_far_as_they_fit(server: Server, first: int) -> None:
    ann, userid = person(server, "ann", first)
    with ann, join(server, "Host") as host:
        group = host.done(8, groupname="all of us")["groupid"]
        with Client(server) as stranger:
            others = [stranger.done(4, name=f"friend {number}", password="pw")["id"] for number in range(39)]
        for number, other in enumerate(others):
            with Client(server) as client:
                client.login(id=other, password="pw")
                client.done(9, groupid=group)
            if number < 30:
                with Client(server) as client:
                    client.login(id=userid, password="pw", device="other")
                    client.done(7, friendid=other)
        with Client(server) as client:
            client.login(id=userid, password="pw", device="other")
            client.done(9, groupid=group)
        ack = ann.login(userid)
        assert len(ack["friends"]) > 5
        (told,) = ann.wait_for_lines(1)
        assert (told["id"], told["name"]) == (userid, "ann")
        assert f"{30 - len(ack['friends'])} friends, 41 members" in told["msg"]
        host.done(6, toid=userid, msg="still there?")
        assert ann.wait_for_lines(2)[-1]["msg"] == "still there?"
        ann.check()


@LINEAGES
def test_a_long_text_comes_in_parts_live_and_offline(server: Server, first: int) -> None:
    text = "中文" * 2_000
    ann, userid = online(server, "ann", first)
    with ann, join(server, "Bob") as bob:
        bob.done(6, toid=userid, msg=text)
        bob.done(6, toid=userid, msg="end")
        ann.wait_for_text("end")
        assert ann.texts() == [text, "end"]
        ann.check()
        ann.type(3, id=userid)
        bob.done(6, toid=userid, msg=text)
        ann.login(userid)
        ann.wait_for_text(text)
        assert ann.texts() == [text, "end", text]
        ann.check()


@LINEAGES
def test_messages_at_once_come_one_by_one_with_the_time_of_the_setting(server: Server, first: int) -> None:
    ann, userid = online(server, "ann", first)
    with ann, join(server, "Bob") as bob:
        group = bob.done(8, groupname="g")["groupid"]
        ann.type(9, id=userid, groupid=group)
        ann.type(6, id=userid, name="ann", toid=userid, msg="note", time="")
        assert ann.wait_for_lines(1)[0]["msg"] == "note"  # the chat to oneself is echoed
        texts = [f"number {number}" for number in range(20)]
        fill(bob, texts, toid=userid)
        fill(bob, texts, groupid=group)
        lines = ann.wait_for_lines(41)[1:]
        assert [line["msg"] for line in lines if line["msgid"] == ann.number(6)] == texts
        assert [line["msg"] for line in lines if line["msgid"] == ann.number(10)] == texts
        stored = datetime.fromisoformat(bob.done(15, peerid=userid, limit=1)["messages"][0]["time"])
        (last,) = [line for line in lines if line["msg"] == texts[-1] and line["msgid"] == ann.number(6)]
        assert last["time"] == f"{stored.astimezone(ZoneInfo('Asia/Shanghai')):%Y-%m-%d %H:%M:%S}"
        ann.check()


# -- Nothing lost, nothing twice


@LINEAGES
def test_five_hundred_offline_messages_are_shown_once_in_order(server: Server, first: int) -> None:
    ann, userid = person(server, "ann", first)
    texts = [f"offline {number}" for number in range(500)]
    with ann, join(server, "Bob") as bob:
        fill(bob, texts, toid=userid)
        ann.login(userid)
        ann.wait_for_lines(50)
        bob.done(6, toid=userid, msg="live")  # people write on meanwhile
        ann.type(6, id=userid, name="ann", toid=bob.id, msg="I am here", time="")
        assert bob.wait(msgid=6)["msg"] == "I am here"  # and are heard meanwhile
        ann.wait_for_lines(501, seconds=60)
        assert ann.texts() == [*texts, "live"]
        ann.check()
    with Person(server.host, server.port, first) as again:
        ack = again.login(userid)
        assert "offlinemsg" not in ack


@LINEAGES
def test_a_client_that_dies_loses_nothing_and_is_shown_nothing_twice(server: Server, first: int) -> None:
    ann, userid = person(server, "ann", first)
    texts = [f"number {number}" for number in range(100)]
    shown: list[str] = []
    with ann, join(server, "Bob") as bob:
        fill(bob, texts, toid=userid)
    for least in (20, 40, 60, 80, 100):
        with Person(server.host, server.port, first) as client:
            while client.login(userid)["errno"] == 2:
                sleep(0.05)  # the server has not seen the end of the last one yet
            client.wait_for_lines(least - len(shown))
            client.die()
            client.check()
            shown += client.texts()
    assert shown == texts


def test_a_server_that_is_killed_loses_nothing(server: Server) -> None:
    ann, userid = person(server, "ann")
    texts = [f"number {number}" for number in range(60)]
    with join(server, "Bob") as bob:
        fill(bob, texts, toid=userid)
    ann.login(userid)
    ann.wait_for_lines(20)
    server.kill()
    ann.wait_for_end()
    server.start()
    with Person(server.host, server.port) as again:
        again.login(userid)
        again.wait_for_text(texts[-1])
        ann.check()
        again.check()
        # What the killed server had not written down yet (at most a second's worth) comes again.
        both = ann.texts() + again.texts()
        assert list(dict.fromkeys(both)) == texts


@pytest.mark.long
@LINEAGES
def test_five_senders_for_a_minute(server: Server, first: int) -> None:
    talk(server, first, messages=300)


@LINEAGES
def test_five_senders_for_a_few_seconds(server: Server, first: int) -> None:
    talk(server, first, messages=25)


def talk(server: Server, first: int, messages: int) -> None:
    """Five people send five messages a second each; the person is shown each of them, in order."""
    ann, userid = online(server, "ann", first)
    senders = [join(server, f"Sender {number}") for number in range(5)]

    def send(sender: Client) -> None:
        for number in range(messages):
            sender.done(6, toid=userid, msg=f"{sender.id} {number}")
            sleep(0.2)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in senders]
    with ann:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ann.wait_for_lines(5 * messages)
        ann.check()
        for sender in senders:
            mine = [line["msg"] for line in ann.lines if line["id"] == sender.id]
            assert mine == [f"{sender.id} {number}" for number in range(messages)]
            sender.sock.close()


# -- Refusals and dialects


@LINEAGES
def test_refusals_are_told_to_a_person(server: Server, first: int) -> None:
    ann, userid = online(server, "ann", first)
    with ann, Person(server.host, server.port, first) as other:
        assert other.register("ann")["errno"] == 1
        assert other.register("")["errno"] != 0
        wrong = other.login(userid, "wrong")
        assert (wrong["errno"], wrong["errmsg"]) == (1, "the id or the password is wrong")
        taken = other.login(userid)
        assert taken["errno"] == 2
        assert "logged in already" in taken["errmsg"]
        other.check()


@LINEAGES
def test_a_full_server_says_so(start: Start, first: int) -> None:
    server = start("--max-connections", 1)
    with join(server, "Bob"), Person(server.host, server.port, first) as late:
        sleep(THINKING)
        ack = late.login(1)
        assert ack["errno"] == 11
        assert "too many connections" in ack["errmsg"]
        late.wait_for_end()
        late.check()


def test_a_dialect_of_other_numbers_is_never_misread(start: Start) -> None:
    spoken = r"WARNING greenchat\.protocol\.classic\.clients: \S+ speaks another protocol: .*"
    server = start(expected=(spoken,))
    ann, userid = online(server, "ann")
    with ann, join(server, "Bob") as bob:
        group = bob.done(8, groupname="g")["groupid"]
        ann.type(9, id=userid, groupid=group, msg="hello all", name="ann", time="")
        ann.wait_for_end()
        assert bob.done(29, groupid=group)["group"]["count"] == 1
        for _ in range(2):
            with Person(server.host, server.port) as other:
                other.type(3, name="eve", password="pw")
                other.wait_for_end()
        assert bob.ask(30, name="eve")["errno"] != 0
    assert server.stop(signal.SIGTERM) == 0  # now all of its log is written
    lines = [line for line in server.log.read_text().splitlines() if "speaks another protocol" in line]
    assert len(lines) == 2

"""Original clients on a served port: paced, translated, refused in their words, foreign dialects ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from time import monotonic

import gevent
import pytest
from gevent import socket

from greenchat.network import pacer
from greenchat.protocol.classic.clients import HOSTS, ClassicClients
from tests.network.support import Client, FakeSession, Served, echo, silent

Serve = Callable[..., Served]
HOST = "127.0.0.1"
LOGIN = b'{"msgid":1,"id":1,"password":"pw"}'


def one_read(client: Client) -> bytes:
    """Read as those clients do: one ``recv`` of 1,024 bytes is one message."""
    data: bytes = client.sock.recv(1_024)
    return data


def test_each_frame_is_a_read_of_its_own(serve: Serve) -> None:
    def many(session: FakeSession, frame: bytes) -> None:
        for number in range(20):
            session.say(b"%d" % number)

    client, _ = serve(many).pair()
    client.send(LOGIN + b"\0")
    assert [one_read(client) for _ in range(20)] == [b"%d\0" % number for number in range(20)]


def test_of_more_than_there_is_room_for_the_caller_is_told(serve: Serve) -> None:
    client, session = serve(silent).pair()
    assert session.peer.has_room(1_000_000)
    client.send(LOGIN + b"\0")
    while not session.is_classic:
        gevent.sleep(0.001)
    for _ in range(10):
        session.say(b"x")
    assert session.peer.has_room(pacer.ROOM - 9)
    assert not session.peer.has_room(pacer.ROOM - 8)
    assert session.peer.drain()
    assert session.peer.has_room(1_000)


def test_what_was_not_written_when_the_connection_ends_is_never_said_to_be(serve: Serve) -> None:
    written: list[int] = []

    def many(session: FakeSession, frame: bytes) -> None:
        for number in range(5):
            session.say(b"%d" % number)
            session.peer.when_written(partial(written.append, number))
        session.peer.close("replaced")

    client, session = serve(many).pair()
    client.send(LOGIN + b"\0")
    assert client.rest() == b"0\0"
    session.ended.wait()
    assert written == [0]


def test_a_drain_ends_with_the_connection(serve: Serve) -> None:
    client, session = serve(silent).pair()
    client.send(LOGIN + b"\0")
    while not session.is_classic:
        gevent.sleep(0.001)
    for _ in range(5):
        session.say(b"x")
    waiter = gevent.spawn(session.peer.drain)
    gevent.sleep(0)
    session.peer.close("replaced")
    assert waiter.get() is False


def test_a_flood_of_requests_is_not_read_ahead_of_its_replies(serve: Serve) -> None:
    client, session = serve(echo).pair()
    client.send(LOGIN + b"\0" + b'{"msgid":12}\0' * 200)
    assert client.frame(b"\0") == LOGIN
    assert len(session.frames) <= pacer.CROWDED + 3
    assert [client.frame(b"\0") for _ in range(200)] == [b'{"msgid":12}'] * 200


# -- Dialects


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'\0\0\0\x22{"msgid":1,"id":1,"password":"pw"}', "begins with its length"),
        (b'{"msgid":1,"id":1,"password":"pw"}', "no terminator"),
    ],
)
def test_a_foreign_dialect_is_ended_and_logged_once(
    serve: Serve, caplog: pytest.LogCaptureFixture, data: bytes, words: str
) -> None:
    served = serve(user=None, heartbeat_interval=0.02, login_timeout=0.3)
    with caplog.at_level(logging.WARNING, "greenchat"):
        for _ in range(2):
            client, session = served.pair()
            client.send(data)
            assert client.rest() == b""
            session.ended.wait()
            assert session.frames == []
    lines = [record.getMessage() for record in caplog.records if "another protocol" in record.getMessage()]
    assert len(lines) == 1
    assert words in lines[0]


def test_only_so_many_hosts_are_remembered(caplog: pytest.LogCaptureFixture) -> None:
    clients = ClassicClients()
    for _ in range(2):
        for number in range(HOSTS + 1):
            clients.note_dialect(f"10.0.{number // 250}.{number % 250}:1", "odd")
    assert len(caplog.records) == 2 * (HOSTS + 1)


# -- One too many


@pytest.mark.parametrize(
    ("request_", "msgid"),
    [
        (LOGIN, 2), (b'{"msgid":4,"name":"a","password":"b"}', 5),
        (b'{"msgid":1000,"id":1,"password":"pw"}', 1001),
    ],
)  # fmt: skip
def test_one_too_many_is_told_in_the_words_that_it_shows(serve: Serve, request_: bytes, msgid: int) -> None:
    served = serve(max_connections=1, patience=10.0)
    served.pair()
    refused = served.connect()
    gevent.sleep(0.05)  # a person types
    refused.send(request_ + b"\0")
    reply = json.loads(refused.frame(b"\0"))
    assert (reply["msgid"], reply["errno"]) == (msgid, 11)
    assert "too many connections" in reply["errmsg"]
    assert refused.rest() == b""


def test_one_too_many_that_says_nothing_is_told_after_a_while(serve: Serve) -> None:
    served = serve(max_connections=1, patience=0.1)
    served.pair()
    error, bye = map(json.loads, served.connect().rest().splitlines())
    assert (error["msgid"], bye["msgid"]) == (14, 24)


def test_one_too_many_that_leaves_takes_no_place(serve: Serve) -> None:
    served = serve(max_connections=1, patience=10.0)
    first, _ = served.pair()
    served.connect().reset()
    first.reset()
    assert served.connections.wait_closed(5.0)


# -- Room


def test_a_silent_connection_gives_way_to_a_newcomer_whose_address_has_fewer(serve: Serve) -> None:
    limits = {"silent_timeout": 60.0, "max_silent": 10, "max_connections": 3}
    served = serve(user=None, heartbeat_interval=0.1, max_missed=1_000, login_timeout=0.5, **limits)
    ann, ann_session = served.pair()
    ann_session.user = 5
    (first, _), (newest, _) = served.pair(), served.pair()
    deadline = monotonic() + 5
    while len(served.connections.silent) < 2:
        assert monotonic() < deadline
        gevent.sleep(0.01)
    assert json.loads(served.connect().rest().splitlines()[0])["msgid"] == 14  # of the same address
    address = ("127.0.0.2", 0)
    with socket.create_connection((HOST, served.server.address[1]), source_address=address) as newcomer:
        newcomer.sendall(b"hi\n")
        assert newcomer.recv(100) == b"hi\n"
        assert newest.rest() == b""
    first.send(b"I am here\n")
    assert first.frame() == b"I am here"
    ann.send(b"so am I\n")
    assert ann.frame() == b"so am I"

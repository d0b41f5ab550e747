"""A client that does what the original's C++ one does with its bytes, and dies where that one does."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from tests.system.server import DEADLINE, Client, Server, join

BUFFER = 1_024
"""Bytes that it reads at a time; what is longer kills it."""

STAMPED = ("time", "id", "name", "msg")
"""What it indexes of a message, without looking whether it is there."""


class Original:
    """Each request is one ``send`` that ends with NUL; each reply must be one ``recv`` that does."""

    def __init__(self, server: Server) -> None:
        self.sock = socket.create_connection((server.host, server.port), timeout=DEADLINE)

    def __enter__(self) -> Original:
        return self

    def __exit__(self, *error: object) -> None:
        self.sock.close()

    def send(self, request: str) -> None:
        self.sock.send(request.encode() + b"\0")

    def receive(self) -> dict[str, Any]:
        """Read as it does: one ``recv`` is one reply, up to its NUL."""
        buffer = self.sock.recv(BUFFER)
        assert buffer, "the server closed"
        assert buffer.find(b"\0") == len(buffer) - 1, f"not one NUL-ended reply: {buffer!r}"
        reply: dict[str, Any] = json.loads(buffer[:-1])
        assert reply["msgid"] in (2, 5, 6, 10), "it did not ask for this, and does not know it"
        if reply["msgid"] in (6, 10):
            assert self.line(reply)
        return reply

    def hears_nothing(self, seconds: float) -> bool:
        return not select.select([self.sock], [], [], seconds)[0]

    def login(self, userid: int, password: str) -> dict[str, Any]:
        """Log in and show friends, groups and offline messages, as its main menu does."""
        self.send(f'{{"id":{userid},"msgid":1,"password":"{password}"}}')
        ack = self.receive()
        assert ack["msgid"] == 2
        if ack["errno"] != 0:
            assert isinstance(ack["errmsg"], str)
            return ack
        assert isinstance(ack["id"], int)
        assert isinstance(ack["name"], str)
        assert set(ack) <= {"msgid", "errno", "id", "name", "friends", "groups", "offlinemsg"}
        ack["friends"] = [self._person(friend) for friend in strings(ack, "friends")]
        ack["groups"] = [self._group(group) for group in strings(ack, "groups")]
        ack["offlinemsg"] = [self.line(json.loads(message)) for message in strings(ack, "offlinemsg")]
        return ack

    def _person(self, text: str) -> tuple[object, ...]:
        person = json.loads(text)
        return person["id"], person["name"], person["state"]

    def _group(self, text: str) -> tuple[object, ...]:
        group = json.loads(text)
        users = [json.loads(user) for user in array_of_strings(group["users"])]
        members = [(user["id"], user["name"], user["state"], user["role"]) for user in users]
        return group["id"], group["groupname"], group["groupdesc"], members

    def line(self, message: dict[str, Any]) -> str:
        """Return what it prints of a message."""
        time, sender, name, text = (message[field] for field in STAMPED)
        assert isinstance(time, str)
        where = f"group {message['groupid']} " if message["msgid"] == 10 else ""
        return f"{where}[{sender}] {name} said: {text}"


def strings(ack: dict[str, Any], field: str) -> list[str]:
    """Read a field that may be absent; where it is there, it is a vector<string>."""
    return array_of_strings(ack[field]) if field in ack else []


def array_of_strings(value: object) -> list[str]:
    assert isinstance(value, list)
    assert all(isinstance(item, str) for item in value)
    return value


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


def register(server: Server, name: str, password: str = "pw") -> tuple[Original, int]:
    client = Original(server)
    client.send(f'{{"msgid":4,"name":"{name}","password":"{password}"}}')
    ack = client.receive()
    assert (ack["msgid"], ack["errno"]) == (5, 0)
    return client, ack["id"]


def settled(client: Original) -> None:
    """Wait until the server has read what was sent: it answers a registration of a name that is taken."""
    client.send('{"msgid":4,"name":"nobody","password":""}')
    assert client.receive()["errno"] != 0


def test_the_exact_bytes_of_the_originals_requests_work(server: Server) -> None:
    sock = socket.create_connection((server.host, server.port), timeout=DEADLINE)
    with sock:
        sock.send(b'{"msgid":4,"name":"ann","password":"pw"}\0')
        assert json.loads(sock.recv(BUFFER).removesuffix(b"\0")) == {
            "msgid": 5, "errno": 0, "id": 1, "name": "ann",
        }  # fmt: skip
        sock.send(b'{"id":1,"msgid":1,"password":"pw"}\0')
        assert json.loads(sock.recv(BUFFER).removesuffix(b"\0")) == {
            "msgid": 2, "errno": 0, "id": 1, "name": "ann",
        }  # fmt: skip


def test_a_name_that_is_taken_and_a_wrong_password_are_told(server: Server) -> None:
    client, userid = register(server, "ann")
    with client:
        client.send('{"msgid":4,"name":"ann","password":"pw"}')
        ack = client.receive()
        assert (ack["msgid"], ack["errno"]) == (5, 1)
        assert client.login(userid, "wrong")["errno"] == 1
        assert client.login(userid, "pw")["errno"] == 0
        with Original(server) as second:
            assert second.login(userid, "pw")["errno"] == 2


def test_chat_goes_both_ways_with_a_modern_client(server: Server) -> None:
    client, userid = register(server, "ann")
    with client, join(server, "Modern") as modern:
        client.login(userid, "pw")
        sent = f'"msg":"hello","msgid":6,"name":"ann","time":"2026-11-23 05:20:00","toid":{modern.id}'
        client.send(f'{{"id":{userid},{sent}}}')
        got = modern.wait(msgid=6)
        assert (got["id"], got["name"], got["msg"], got["seq"]) == (userid, "ann", "hello", 1)
        modern.done(6, toid=userid, msg="hello yourself")
        assert client.line(client.receive()) == f"[{modern.id}] Modern said: hello yourself"


def test_a_group_is_made_joined_and_chatted_in(server: Server) -> None:
    client, userid = register(server, "ann")
    with client, join(server, "Modern") as modern:
        client.login(userid, "pw")
        client.send(f'{{"groupdesc":"all of us","groupname":"team","id":{userid},"msgid":8}}')
        settled(client)
        group = modern.done(30, groupname="team")["group"]["id"]
        modern.done(9, groupid=group)
        sent = f'"id":{userid},"msg":"hi all","msgid":10,"name":"ann","time":"2026-11-23 05:20:00"'
        client.send(f'{{"groupid":{group},{sent}}}')
        got = modern.wait(msgid=10)
        assert (got["id"], got["name"], got["groupid"], got["msg"]) == (userid, "ann", group, "hi all")
        modern.done(10, groupid=group, msg="hi ann")
        assert client.line(client.receive()) == f"group {group} [{modern.id}] Modern said: hi ann"


def test_friends_groups_and_offline_messages_are_strings_at_login_and_offline_ones_only_once(
    server: Server,
) -> None:
    client, userid = register(server, "ann")
    with client, join(server, "Modern") as modern:
        client.login(userid, "pw")
        client.send(f'{{"friendid":{modern.id},"id":{userid},"msgid":7}}')
        client.send(f'{{"groupdesc":"","groupname":"team","id":{userid},"msgid":8}}')
        settled(client)
        group = modern.done(30, groupname="team")["group"]["id"]
        modern.done(9, groupid=group)
        client.send(f'{{"id":{userid},"msgid":3}}')
        settled(client)
        first = modern.done(6, toid=userid, msg="are you there?")["seq"]
        modern.done(10, groupid=group, msg="where is ann?")
        modern.done(17, peerid=userid, target=modern.done(6, toid=userid, msg="forget this")["seq"])
        assert first == 1

        ack = client.login(userid, "pw")
        assert ack["friends"] == [(modern.id, "Modern", "online")]
        members = [(userid, "ann", "online", "creator"), (modern.id, "Modern", "online", "normal")]
        assert ack["groups"] == [(group, "team", "", members)]
        assert sorted(ack["offlinemsg"]) == [
            f"[{modern.id}] Modern said: ",
            f"[{modern.id}] Modern said: are you there?",
            f"group {group} [{modern.id}] Modern said: where is ann?",
        ]
        client.send(f'{{"id":{userid},"msgid":3}}')
        settled(client)
        assert client.login(userid, "pw")["offlinemsg"] == []
        modern.done(6, toid=userid, msg="live again")
        assert client.line(client.receive()) == f"[{modern.id}] Modern said: live again"


def test_what_its_user_was_sent_while_the_connection_was_gone_is_there_at_the_next(server: Server) -> None:
    client, userid = register(server, "ann")
    with join(server, "Modern") as modern:
        with client:
            client.login(userid, "pw")
            modern.done(6, toid=userid, msg="one")
            client.receive()
        server.wait_for_rows([("offline",)], 'SELECT state FROM "User" WHERE id = ?', userid)
        modern.done(6, toid=userid, msg="two")
        with Original(server) as again:
            assert again.login(userid, "pw")["offlinemsg"] == [f"[{modern.id}] Modern said: two"]


def test_messages_that_come_together_are_separated_by_nul(server: Server) -> None:
    """How many a ``recv`` returns is TCP's affair; a buffer that is read up to NUL is always one reply."""
    register(server, "ann")[0].sock.close()
    with Client(server, terminator=b"\0") as classic, join(server, "Modern") as modern:
        classic.send(1, id=1, password="pw")
        assert classic.read()["errno"] == 0
        for number in range(500):
            modern.send(6, toid=1, msg=f"number {number}")
        for number in range(500):
            assert classic.read()["msg"] == f"number {number}"


def test_it_gets_nothing_that_it_does_not_know(server: Server) -> None:
    """No PRESENCE, TYPING, READ, RECALL or ACK: the next thing that it reads is the next message."""
    client, userid = register(server, "ann")
    with client, join(server, "Modern") as modern:
        client.login(userid, "pw")
        client.send(f'{{"friendid":{modern.id},"id":{userid},"msgid":7}}')
        client.send(f'{{"friendid":999,"id":{userid},"msgid":7}}')
        client.send(f'{{"id":{userid},"msg":"x","msgid":6,"name":"ann","time":"","toid":{modern.id}}}')
        modern.wait(msgid=6)
        modern.done(3)
        modern.login(name="Modern", password="pw")
        modern.send(26, toid=userid)
        modern.send(27, seq=1, peerid=userid)
        seq = modern.done(6, toid=userid, msg="one")["seq"]
        assert client.receive()["msg"] == "one"
        modern.done(17, peerid=userid, target=seq)
        modern.done(6, toid=userid, msg="two")
        assert client.receive()["msg"] == "two"


def test_logout_and_login_again_work_on_the_same_connection(server: Server) -> None:
    client, userid = register(server, "ann")
    with client:
        for _ in range(3):
            assert client.login(userid, "pw")["errno"] == 0
            client.send(f'{{"id":{userid},"msgid":3}}')
        settled(client)
        server.wait_for_rows([("offline",)], 'SELECT state FROM "User"')


def test_it_knows_no_heartbeats_and_is_not_evicted_for_it(start: Callable[..., Server]) -> None:
    interval, missed = 0.2, 5
    server = start("--heartbeat-interval", interval, "--max-missed", missed, calm=False)
    client, userid = register(server, "ann")
    with client, join(server, "Modern") as modern:
        client.login(userid, "pw")
        until = monotonic() + 2 * interval * missed
        while monotonic() < until:
            modern.ask(12)
            assert client.hears_nothing(0.02)
        modern.done(6, toid=userid, msg="still there?")
        assert client.receive()["msg"] == "still there?"


def test_at_the_end_of_the_server_it_sees_the_end_of_the_stream(server: Server) -> None:
    client, userid = register(server, "ann")
    with client:
        client.login(userid, "pw")
        assert server.stop() == 0
        assert client.sock.recv(BUFFER) == b""


def test_of_more_offline_messages_than_fit_the_rest_follows_as_live_ones(server: Server) -> None:
    """In LOGIN_ACK there are as many as fit its buffer."""
    client, userid = register(server, "ann")
    client.sock.close()
    with join(server, "Modern") as modern:
        for number in range(450):
            modern.send(6, toid=userid, msg=f"{number}", cid=f"{number}")
        for _ in range(450):
            assert modern.read()["errno"] == 0
    with Client(server, terminator=b"\0") as classic:
        classic.send(1, id=userid, password="pw")
        ack = classic.read()
        page = [json.loads(text)["msg"] for text in ack["offlinemsg"]]
        live = [classic.read()["msg"] for _ in range(450 - len(page))]
    assert 0 < len(page) < 20
    assert len(json.dumps(ack, separators=(",", ":"))) < BUFFER
    assert page + live == [f"{number}" for number in range(450)]

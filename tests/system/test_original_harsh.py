"""Original clients that are in a hurry, never read, leave in the middle, or speak something else."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from lab.hostile.scenarios import certificate
from lab.machine import forget_peak, peak_mib, rss_mib
from tests.servers import need
from tests.system.original import Person
from tests.system.server import DEADLINE, Client, Server, join
from tests.system.test_original import fill, online, person

Start = Callable[..., Server]

SPOKEN = r"WARNING greenchat\.protocol\.classic\.clients: \S+ speaks another protocol: .*"


@pytest.fixture
def server(start: Start) -> Server:
    return start()


def robot(server: Server) -> Client:
    """Return a connection that speaks the classic framing and waits for nothing."""
    return Client(server, terminator=b"\0")


def register(server: Server, name: str) -> int:
    with Client(server) as client:
        userid: int = client.done(4, name=name, password="pw")["id"]
    return userid


# -- Who gets what


def test_pipelined_behind_another_reply_all_of_a_login_counts_as_received(server: Server) -> None:
    userid = register(server, "ann")
    for name in ("Bob", "Cem"):
        with join(server, name) as sender:
            sender.done(6, toid=userid, msg=f"from {name}")
    with robot(server) as client:
        client.send(1, id=userid, password="wrong")
        client.send(1, id=userid, password="pw")
        wrong, ack = client.read(), client.read()
        assert (wrong["errno"], len(ack["offlinemsg"])) == (1, 2)
        client.send(3)
        client.send(1, id=userid, password="pw")
        assert "offlinemsg" not in client.read()


def enter(client: Client, userid: int) -> list[str]:
    """Log in and return the texts in the answer."""
    client.send(1, id=userid, password="pw")
    ack = client.wait(msgid=2, errno=0, id=userid)
    return [json.loads(text)["msg"] for text in ack.get("offlinemsg", [])]


def test_the_next_user_of_a_connection_is_shown_nothing_of_the_former(server: Server) -> None:
    ann, cem = register(server, "ann"), register(server, "cem")
    text = "中文" * 2_000
    with robot(server) as client, join(server, "Bob") as bob:
        bob.done(6, toid=ann, msg=text)
        bob.done(6, toid=ann, msg="second")
        enter(client, ann)
        assert client.wait(msgid=6)["msg"].startswith("(1/")
        client.send(3, id=ann)
        enter(client, cem)
        client.frames.clear()  # those that came between the first part and the logout
        bob.done(6, toid=cem, msg="for Cem")
        assert client.read()["msg"] == "for Cem"
        client.send(3, id=cem)
        enter(client, ann)
        parts = [client.read()["msg"]]
        while parts[-1] != "second":
            parts.append(client.read()["msg"])
        assert "".join(part.partition(" ")[2] for part in parts[:-1]) == text


def test_what_one_says_to_oneself_while_offline_messages_come_is_shown(server: Server) -> None:
    ann, userid = person(server, "ann")
    with ann, join(server, "Bob") as bob:
        fill(bob, [f"offline {number}" for number in range(60)], toid=userid)
        ann.login(userid)
        ann.wait_for_lines(10)
        for number in range(3):
            ann.type(6, id=userid, name="ann", toid=userid, msg=f"note {number}", time="")
        lines = ann.wait_for_lines(63)
        assert [line["msg"] for line in lines if line["id"] == userid] == ["note 0", "note 1", "note 2"]
        ann.check()


def test_the_text_with_the_most_parts_is_shown(server: Server) -> None:
    ann, userid = online(server, "ann")
    text = ("\x01" * 59 + "\t") * 68
    with ann, join(server, "\N{GRINNING FACE}" * 50) as bob:
        bob.done(6, toid=userid, msg=text)
        bob.done(6, toid=userid, msg="end")
        ann.wait_for_text("end")
        assert ann.texts() == [text, "end"]
        ann.check()


def test_a_recalled_text_is_shown_no_more_although_it_waited(server: Server) -> None:
    ann = register(server, "ann")
    with robot(server) as client, join(server, "Bob") as bob:
        fill(bob, [f"offline {number}" for number in range(100)], toid=ann)
        texts = enter(client, ann)
        for seq in (60, 59):
            bob.done(17, peerid=ann, target=seq)
        while len(texts) < 100:
            texts.append(client.read()["msg"])
        assert texts == ["" if number in (58, 59) else f"offline {number}" for number in range(100)]


@pytest.mark.parametrize("how", ["shutdown", "replaced"])
def test_what_waits_at_the_end_comes_again_and_nothing_twice(server: Server, how: str) -> None:
    ann = register(server, "ann")
    wanted = [f"offline {number}" for number in range(60)]
    with robot(server) as client, join(server, "Bob") as bob:
        fill(bob, wanted, toid=ann)
        texts = enter(client, ann)
        while len(texts) < 20:
            texts.append(client.read()["msg"])
        if how == "shutdown":
            assert server.stop() == 0
            texts += [frame["msg"] for frame in client.ended()]
            server.start()
        other = robot(server)
        with other:
            other.send(1, id=ann, password="pw", force=True)
            ack = other.wait(msgid=2, errno=0)
            texts += [frame["msg"] for frame in client.ended()] if how == "replaced" else []
            texts += [json.loads(text)["msg"] for text in ack.get("offlinemsg", [])]
            while len(texts) < 60:
                texts.append(other.read()["msg"])
    assert texts == wanted


# -- Peers that do not read, or do not end


@pytest.mark.parametrize("seconds", [1])
def test_a_client_that_never_reads_costs_little_and_is_cut_off(start: Start, seconds: int) -> None:
    server = start("--outbox-seconds", seconds)
    userid = register(server, "ann")
    with join(server, "Bob") as bob, Client(server, terminator=b"\0", receive_buffer=2_048) as deaf:
        deaf.send(1, id=userid, password="pw")
        assert deaf.read()["errno"] == 0
        before = rss_mib(server.process.pid)
        forget_peak(server.process.pid)
        texts = [f"{number} " + "x" * 4_000 for number in range(2_000)]
        fill(bob, texts, toid=userid)
        assert peak_mib(server.process.pid) - before <= 16
    with Client(server) as client:
        client.login(id=userid, password="pw", device="other", force=True)


def test_a_megabyte_without_an_end_is_not_kept(start: Start) -> None:
    server = start()
    with robot(server) as client:
        client.send(12)
        assert client.read() == {"msgid": 12}
        before = rss_mib(server.process.pid)
        forget_peak(server.process.pid)
        client.write(b'{"msgid":6,"msg":"' + b"x" * 1_048_576)
        assert client.ended() == []
        assert peak_mib(server.process.pid) - before <= 8


def test_a_half_open_client_gets_what_it_asked_for(server: Server) -> None:
    userid = register(server, "ann")
    with robot(server) as client:
        client.send(1, id=userid, password="pw")
        client.sock.shutdown(socket.SHUT_WR)
        (ack,) = client.ended()
        assert (ack["msgid"], ack["errno"]) == (2, 0)


def test_a_login_is_refused_behind_a_full_queue(server: Server) -> None:
    userid = register(server, "ann")
    with robot(server) as client:
        client.send(1, id=userid, password="pw")
        assert client.read()["errno"] == 0
        for _ in range(100):
            client.send(12)
        client.send(1, id=userid, password="pw")
        frames = [client.read() for _ in range(101)]
        assert [frame["msgid"] for frame in frames] == [12] * 100 + [2]
        assert frames[-1]["errno"] == 16


# -- Settings


def trusting() -> ssl.SSLContext:
    """Return what takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_without_the_longer_time_a_person_has_as_long_as_others(start: Start) -> None:
    for option in ("--silent-timeout", "--max-silent", "--max-silent-per-address"):
        options = ["--exempt", "192.0.2.1"] if option.endswith("address") else []
        server = start("--login-timeout", 0.3, option, 0, *options, calm=False)
        began = monotonic()
        with Person(server.host, server.port) as ann:
            ann.wait_for_end()
        assert monotonic() - began < DEADLINE / 2


def test_original_clients_may_come_by_ipv6(start: Start) -> None:
    server = start("--host", "::1")
    ann, userid = online(server, "ann", 1000)
    with ann, join(server, "Bob") as bob:
        bob.done(6, toid=userid, msg="hello")
        ann.wait_for_text("hello")
        ann.check()


def test_with_tls_an_original_client_is_paced_too_and_has_the_short_time(
    start: Start, tmp_path: Path
) -> None:
    need("openssl")
    options = certificate(tmp_path)
    server = start("--login-timeout", 2, *options, calm=False)
    with robot(server) as client:
        client.sock = trusting().wrap_socket(client.sock)
        ann = client.done(4, name="ann", password="pw")["id"]
        enter(client, ann)
        for number in range(5):
            client.send(6, toid=ann, msg=f"note {number}")
        assert [client.read()["msg"] for _ in range(5)] == [f"note {number}" for number in range(5)]
        client.send(3, id=ann)
        assert client.ended() == []


# -- Other dialects


def requests(**fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\0"


DIALECTS = {
    "a chat to a name": requests(msgid=6, id=1, name="ann", to="bob", msg="hi", time=""),
    "a login with other fields": requests(msgid=1, userid=1, pwd="pw"),
    "a logout as the last request": requests(msgid=10, id=1),
    "joining with another field": requests(msgid=9, id=1, gid=1),
    "a reply as a request": requests(msgid=2, id=1),
    "a length, little-endian, sent by itself": b"\x25\0\0\0",
    "no JSON": b"LOGIN ann pw\0",
    "a list": b"[1]\0",
    "an unknown number": requests(msgid=100, name="ann", password="pw"),
    "a text for a number": requests(msgid="1", id=1, password="pw"),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_ended_without_a_word_and_logged_once(start: Start, name: str) -> None:
    server = start(expected=(SPOKEN,))
    for _ in range(2):
        with robot(server) as client:
            client.write(DIALECTS[name])
            assert client.ended() == []
    assert server.stop() == 0
    assert server.log.read_text().count("speaks another protocol") == 1


def test_messages_without_an_end_are_ended_without_a_word(start: Start) -> None:
    server = start("--login-timeout", 0.3, calm=False, expected=(SPOKEN,))
    with robot(server) as client:
        client.write(b'{"msgid":1,"id":1,"password":"pw"}')
        assert client.ended() == []
    assert server.stop() == 0
    assert "no terminator" in server.log.read_text()

"""Whatever bytes come: PROTOCOL's answer for their sender, and nothing for anybody else."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.conftest import CALM
from tests.system.server import DEADLINE, DIALECT, Client, Server, join

MAX_FRAME = 65_536
LOGIN_TIMEOUT = 1.0


class Pair:
    """Two people who chat all the time, and whom nothing may disturb."""

    def __init__(self, server: Server, names: tuple[str, str]) -> None:
        self._clients = [join(server, name) for name in names]
        self._condition = threading.Condition()
        self._stop = threading.Event()
        self._trouble: BaseException | None = None
        self._seq = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.01):
                self._chat(*self._clients)
                self._clients.reverse()
                with self._condition:
                    self._condition.notify_all()
        except BaseException as error:
            self._trouble = error
        with self._condition:
            self._condition.notify_all()

    def _chat(self, sender: Client, receiver: Client) -> None:
        self._seq += 1
        text = f"number {self._seq}"
        assert sender.done(6, toid=receiver.id, msg=text)["seq"] == self._seq
        got = receiver.read()
        assert (got["msg"], got["seq"], got["id"]) == (text, self._seq, sender.id)
        receiver.send(13, seq=self._seq, peerid=sender.id)

    def check(self) -> None:
        """They go on."""
        with self._condition:
            for _ in range(2):
                assert self._condition.wait(DEADLINE), "the pair hangs"
                assert self._trouble is None, repr(self._trouble)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(DEADLINE)
        for client in self._clients:
            client.sock.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), *CALM, expected=(DIALECT,))
    yield server
    server.close()


@pytest.fixture(scope="module")
def pair(server: Server) -> Iterator[Pair]:
    pair = Pair(server, ("Bystander", "Other bystander"))
    yield pair
    pair.close()


@pytest.fixture(autouse=True)
def undisturbed(server: Server, pair: Pair) -> Iterator[None]:
    """The pair goes on, in the same connections to the same process, and nothing strange is printed."""
    process = server.process.pid
    yield
    pair.check()
    assert server.running
    assert server.process.pid == process
    server.check_log()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client that has not logged in."""
    with Client(server) as client:
        yield client


@pytest.fixture(scope="module")
def user(server: Server) -> Iterator[Client]:
    """A client that has."""
    with join(server, "User") as user:
        yield user


def goes_on(client: Client) -> None:
    """The connection still serves."""
    assert client.ask(12)["msgid"] == 12
    assert client.frames == []


def nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    return opening * depth + closing * depth


# -- Frames in which no request can be seen: ERROR

NO_REQUESTS = {
    "words": b"hello",
    "half an object": b'{"msgid":12',
    "two objects": b'{"msgid":12}{"msgid":12}',
    "a trailing comma": b'{"msgid":12,}',
    "single quotes": b"{'msgid':12}",
    "an array": b"[12]",
    "a number": b"12",
    "a huge number": b"1" * 60_000,
    "a string": b'"msgid"',
    "null": b"null",
    "true": b"true",
    "an empty object": b"{}",
    "brackets as deep as a frame allows": nested(b"[", b"]", MAX_FRAME // 2),
    "brackets that are never closed": b"[" * MAX_FRAME,
    "objects as deep as a frame allows": nested(b'{"a":', b"}", MAX_FRAME // 7).replace(b":}", b":1}", 1),
    "brackets in a field that nobody reads": b'{"msgid":12,"x":' + nested(b"[", b"]", 32_000) + b"}",
    "invalid UTF-8": b"\xff\xfe\xfd",
    "invalid UTF-8 in a text": b'{"msgid":30,"name":"\xc3\x28"}',
    "an overlong UTF-8 form": b'{"msgid":30,"name":"\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"msgid":30,"name":"\xed\xa0\x80"}',
    "a lone surrogate": rb'{"msgid":30,"name":"\ud800"}',
    "a lone low surrogate": rb'{"msgid":30,"name":"\udc00x"}',
    "a byte order mark": b'\xef\xbb\xbf{"msgid":12}',
    "UTF-16": '{"msgid":12}'.encode("utf-16-be"),
    "NaN": b'{"msgid":12,"x":NaN}',
    "a control character in a text": b'{"msgid":30,"name":"a\x01b"}',
    "NUL bytes in the middle": b'{"msgid":12}\0{"msgid":12}',
    "no msgid": b'{"name":"x"}',
    "msgid null": b'{"msgid":null}',
    "msgid true": b'{"msgid":true}',
    "msgid a string": b'{"msgid":"12"}',
    "msgid a float": b'{"msgid":12.0}',
    "msgid a list": b'{"msgid":[12]}',
    "msgid huge": b'{"msgid":' + b"9" * 60_000 + b"}",
    "msgid a huge exponent": b'{"msgid":1e400}',
}


@pytest.mark.parametrize("frame", NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_what_is_no_request_is_answered_by_error_and_the_connection_goes_on(
    client: Client, frame: bytes
) -> None:
    client.write(b'{"msgid":12,"cid":"before"}\n' + frame + b"\n")
    assert client.read() == {"msgid": 12, "cid": "before"}
    error = client.read()
    assert (error["msgid"], error["errno"], error["error"]) == (14, 3, "bad_request")
    assert error["errmsg"]
    goes_on(client)


def test_a_readable_cid_is_echoed_though_no_request_can_be_seen(client: Client) -> None:
    client.write(b'{"msgid":"x","cid":"mine"}\n')
    assert client.read().items() >= {"msgid": 14, "cid": "mine"}.items()


# -- Requests with bad fields: their own reply

BIG = 2**31
BAD_FIELDS = {
    "toid a boolean": '{"msgid":6,"toid":true,"msg":"x"}',
    "toid a float": '{"msgid":6,"toid":2.5,"msg":"x"}',
    "toid a whole float": '{"msgid":6,"toid":2.0,"msg":"x"}',
    "toid with an exponent": '{"msgid":6,"toid":1e0,"msg":"x"}',
    "toid a string": '{"msgid":6,"toid":"2","msg":"x"}',
    "toid a list": '{"msgid":6,"toid":[2],"msg":"x"}',
    "toid an object": '{"msgid":6,"toid":{},"msg":"x"}',
    "toid null": '{"msgid":6,"toid":null,"msg":"x"}',
    "toid missing": '{"msgid":6,"msg":"x"}',
    "toid zero": '{"msgid":6,"toid":0,"msg":"x"}',
    "toid negative": '{"msgid":6,"toid":-1,"msg":"x"}',
    "toid beyond 32 bits": f'{{"msgid":6,"toid":{BIG},"msg":"x"}}',
    "toid beyond 64 bits": f'{{"msgid":6,"toid":{2**64},"msg":"x"}}',
    "toid of a thousand digits": f'{{"msgid":6,"toid":{"9" * 1_000},"msg":"x"}}',
    "msg missing": '{"msgid":6,"toid":1}',
    "msg null": '{"msgid":6,"toid":1,"msg":null}',
    "msg a number": '{"msgid":6,"toid":1,"msg":5}',
    "msg empty": '{"msgid":6,"toid":1,"msg":""}',
    "groupid a string": '{"msgid":10,"groupid":"1","msg":"x"}',
    "groupid a boolean": '{"msgid":9,"groupid":false}',
    "friendid a float": '{"msgid":7,"friendid":1.5}',
    "friendid missing": '{"msgid":7}',
    "userid null": '{"msgid":19,"userid":null}',
    "groupname missing": '{"msgid":8}',
    "groupname blank": '{"msgid":8,"groupname":"  "}',
    "ids no list": '{"msgid":22,"ids":5}',
    "ids of strings": '{"msgid":22,"ids":["1"]}',
    "ids with a null": '{"msgid":22,"ids":[1,null]}',
    "neither peerid nor groupid": '{"msgid":17,"target":1}',
    "both peerid and groupid": '{"msgid":17,"target":1,"peerid":1,"groupid":1}',
    "target a float": '{"msgid":17,"target":1.5,"peerid":1}',
    "target huge": f'{{"msgid":17,"target":{2**63},"peerid":1}}',
    "seq a string": '{"msgid":13,"seq":"1","peerid":1}',
    "seq zero": '{"msgid":27,"seq":0,"peerid":1}',
    "limit negative": '{"msgid":29,"groupid":1,"limit":-1}',
    "old missing": '{"msgid":28,"new":"x"}',
    "neither name nor groupname": '{"msgid":30}',
    "both name and groupname": '{"msgid":30,"name":"a","groupname":"b"}',
    "a limit that is no day's": '{"msgid":15,"peerid":1,"limit":201}',
    "no day": '{"msgid":15,"peerid":1,"day":"2026-02-30"}',
    "a day of SQL": '{"msgid":15,"peerid":1,"day":"2026-01-01\' OR 1=1"}',
    "cid empty": '{"msgid":6,"toid":1,"msg":"x","cid":""}',
    "cid a number": '{"msgid":6,"toid":1,"msg":"x","cid":7}',
}


@pytest.mark.parametrize("frame", BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_request_with_a_bad_field_gets_its_own_reply_that_says_what_is_wrong(
    user: Client, frame: str
) -> None:
    cid = {} if '"cid"' in frame else {"cid": "mine"}
    user.write((frame[:-1] + ',"cid":"mine"}' if cid else frame).encode() + b"\n")
    reply = user.read()
    msgid = json.loads(frame)["msgid"]
    mine = {"msgid": 16} if msgid == 15 else {"msgid": 11, "re": msgid}
    assert reply.items() >= (mine | cid | {"errno": 3, "error": "bad_request"}).items()
    assert reply["errmsg"]
    goes_on(user)


def test_a_cid_over_its_limit_is_told_so(user: Client) -> None:
    user.send(6, toid=user.id, msg="x", cid="c" * 37)
    assert user.read().items() >= {"msgid": 11, "re": 6, "errno": 12}.items()
    goes_on(user)


@pytest.mark.parametrize(
    ("frame", "reply"),
    [
        ('{"msgid":1,"id":true,"password":"pw"}', 2),
        ('{"msgid":1,"id":"1","password":"pw"}', 2),
        ('{"msgid":1,"id":1}', 2),
        ('{"msgid":1,"id":1,"name":"User","password":"pw"}', 2),
        ('{"msgid":1,"password":"pw"}', 2),
        ('{"msgid":1,"id":1,"password":null}', 2),
        ('{"msgid":1,"id":1,"password":"pw","force":1}', 2),
        ('{"msgid":1,"id":1,"password":"pw","device":5}', 2),
        ('{"msgid":1,"id":1,"password":"pw","device":"a\\u0007"}', 2),
        ('{"msgid":4,"name":"x"}', 5),
        ('{"msgid":4,"name":5,"password":"pw"}', 5),
        ('{"msgid":4,"name":"x","password":""}', 5),
        ('{"msgid":4,"name":" ","password":"pw"}', 5),
        ('{"msgid":4,"name":"a\\u0000b","password":"pw"}', 5),
    ],
)
def test_bad_fields_of_login_and_reg_are_told_by_their_replies(
    client: Client, frame: str, reply: int
) -> None:
    client.write(frame.encode() + b"\n")
    assert client.read().items() >= {"msgid": reply, "errno": 3, "error": "bad_request"}.items()
    goes_on(client)


@pytest.mark.parametrize("msgid", [0, -1, 2, 5, 11, 14, 16, 23, 24, 31, 2**40])
def test_an_unknown_or_server_only_msgid_is_told_so(client: Client, msgid: int) -> None:
    assert client.ask(msgid).items() >= {"msgid": 11, "re": msgid, "errno": 4}.items()
    goes_on(client)


@pytest.mark.parametrize("msgid", [3, 6, 7, 8, 9, 10, 13, 15, 17, 18, 19, 20, 21, 22, 25, 26, 27, 28, 29, 30])
def test_a_request_that_needs_a_login_is_told_so_however_bad_it_is(client: Client, msgid: int) -> None:
    assert client.ask(msgid, toid=True).items() >= {"errno": 5, "error": "not_logged_in"}.items()
    goes_on(client)


def test_of_duplicate_keys_the_last_counts(user: Client) -> None:
    user.write(b'{"msgid":6,"toid":1,"msg":"a","toid":%d,"msg":"b","cid":"dup"}\n' % user.id)
    assert user.read().items() >= {"msgid": 11, "re": 6, "errno": 0, "cid": "dup"}.items()
    assert user.ask(15, peerid=user.id, limit=1)["messages"][0]["msg"] == "b"


def test_a_doubled_msgid_is_answered_once_and_harms_nothing(user: Client) -> None:
    user.write(b'{"msgid":12,"msgid":30,"name":"x"}\n')
    assert user.read()["msgid"] in (11, 12, 14)
    goes_on(user)


@pytest.mark.parametrize(
    "extra",
    [b"9" * 4_000, b"9" * 50_000, b"-1", b"1e400", b"1.5e-400", b"0." + b"1" * 50_000, b"1" * 20],
    ids=["4,000 digits", "50,000 digits", "-1", "1e400", "1.5e-400", "50,000 decimals", "20 digits"],
)
def test_a_huge_number_in_a_field_that_nobody_reads_gets_one_answer(client: Client, extra: bytes) -> None:
    client.write(b'{"msgid":12,"x":' + extra + b"}\n")
    assert client.read()["msgid"] in (12, 14)
    goes_on(client)


@pytest.mark.parametrize("key", ["errno", "__class__", "\\u0000", "x" * 60_000, "$.msgid", "", "MSGID", "é"])
def test_unknown_fields_are_ignored(client: Client, key: str) -> None:
    client.write(f'{{"msgid":12,"{key}":[{{}}]}}\n'.encode())
    assert client.read() == {"msgid": 12}


def test_who_sends_is_never_what_a_request_claims(user: Client, server: Server) -> None:
    with join(server, "Receiver of claims") as receiver:
        user.done(6, toid=receiver.id, msg="hi", id=receiver.id, name="Root", time="1970", seq=99)
        got = receiver.wait(msgid=6)
        assert (got["id"], got["name"], got["seq"]) == (user.id, "User", 1)
        assert got["time"] > "2020"


# -- Too large


def heartbeat_of(size: int) -> bytes:
    frame = b'{"msgid":12,"x":"' + b"x" * (size - 19) + b'"}'
    assert len(frame) == size
    return frame


@pytest.mark.parametrize("terminator", [b"\n", b"\r\n"])
def test_a_frame_exactly_at_the_limit_is_served(client: Client, terminator: bytes) -> None:
    client.write(heartbeat_of(MAX_FRAME) + terminator)
    assert client.read() == {"msgid": 12}
    goes_on(client)


TOO_LARGE = {
    "one byte over": heartbeat_of(MAX_FRAME + 1) + b"\n",
    "100,000 brackets": b"[" * 100_000 + b"\n",
    "an endless line": b"x" * 1_000_000,
    "ten megabytes of spaces": b" " * 10_000_000,
}


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_frame_over_the_limit_gets_error_and_bye_after_what_came_before_it(
    client: Client, data: bytes
) -> None:
    client.write(b'{"msgid":12,"cid":"before"}\n')
    try:
        client.write(data)
    except (ConnectionResetError, BrokenPipeError):
        pass  # it hung up in the middle, as it should
    before, error, bye = client.ended()
    assert before == {"msgid": 12, "cid": "before"}
    assert error.items() >= {"msgid": 14, "errno": 12, "error": "too_large"}.items()
    assert bye.items() >= {"msgid": 24, "reason": "protocol"}.items()


@pytest.mark.parametrize(
    ("msgid", "field", "size"),
    [(6, "msg", 4_097), (8, "groupname", 51), (8, "groupdesc", 201), (30, "name", 51)],
)
def test_a_text_over_its_limit_is_told_so(user: Client, msgid: int, field: str, size: int) -> None:
    reply = user.ask(msgid, **{"toid": user.id, "groupname": "too long", field: "é" * size})
    if msgid == 30:
        reply = user.ask(30, name="é" * size)
    assert reply.items() >= {"errno": 12, "error": "too_large"}.items()
    goes_on(user)


def test_the_longest_text_fits_a_frame_however_it_is_escaped(user: Client) -> None:
    escaped = "\\ud83d\\ude00" * 4_096
    user.write(f'{{"msgid":6,"toid":{user.id},"cid":"long","msg":"{escaped}"}}\n'.encode())
    assert user.read().items() >= {"errno": 0, "cid": "long"}.items()
    assert user.ask(15, peerid=user.id, limit=1)["messages"][0]["msg"] == "😀" * 4_096


def test_a_list_over_its_limit_is_told_so(user: Client) -> None:
    assert user.done(22, ids=list(range(1, 1001)))["ids"] == []
    assert user.ask(22, ids=list(range(1, 1002)))["errno"] in (3, 12)
    goes_on(user)


# -- Too many


def test_the_tenth_bad_frame_ends_the_connection_with_error_and_bye(client: Client) -> None:
    client.write(b"bad\n" * 9)
    goes_on_after = client.ask(12)
    assert goes_on_after["msgid"] == 12
    assert [frame["msgid"] for frame in client.frames] == [14] * 9
    client.frames.clear()
    client.write(b'bad\n{"msgid":12}\n')
    error, bye = client.ended()
    assert error["msgid"] == 14
    assert bye.items() >= {"msgid": 24, "reason": "protocol"}.items()


def test_requests_that_fail_are_no_bad_frames(client: Client) -> None:
    for _ in range(30):
        assert client.ask(6)["errno"] == 5
        assert client.ask(99)["errno"] == 4
        assert client.ask(1, id=True)["errno"] == 3
    goes_on(client)


def test_ten_thousand_frames_in_one_segment_are_all_answered_in_order(client: Client) -> None:
    frames = [b'{"msgid":12,"cid":"%d"}\n' % number for number in range(10_000)]
    sent = threading.Thread(target=client.write, args=(b"".join(frames),))
    sent.start()
    assert [client.read()["cid"] for _ in frames] == [str(number) for number in range(10_000)]
    sent.join(DEADLINE)
    goes_on(client)


def test_ten_thousand_messages_in_one_segment_are_all_stored_in_order(user: Client) -> None:
    head = user.done(6, toid=user.id, msg="x")["seq"]
    line = b'{"msgid":6,"toid":%d,"msg":"x","cid":"flood %d"}\n'
    sent = threading.Thread(
        target=user.write, args=(b"".join(line % (user.id, number) for number in range(10_000)),)
    )
    sent.start()
    for number in range(10_000):
        ack = user.read()
        assert (ack["cid"], ack["errno"], ack["seq"]) == (f"flood {number}", 0, head + 1 + number)
    sent.join(DEADLINE)


def test_empty_lines_are_ignored(client: Client) -> None:
    client.write(b"\n\r\n\n" * 10_000 + b'{"msgid":12}\n')
    assert client.read() == {"msgid": 12}
    goes_on(client)


def test_a_byte_at_a_time_is_as_good_as_any(user: Client) -> None:
    for byte in json.dumps({"msgid": 6, "toid": user.id, "msg": "héllo 😀" * 20, "cid": "slow"}).encode():
        user.write(bytes([byte]))
    user.write(b"\n")
    assert user.read().items() >= {"errno": 0, "cid": "slow"}.items()


# -- Ends


def test_after_a_half_close_the_replies_to_what_was_sent_before_still_come(server: Server) -> None:
    with join(server, "Half closer") as client:
        for number in range(500):
            client.send(6, toid=client.id, msg="x", cid=f"half {number}")
        client.sock.shutdown(socket.SHUT_WR)
        acks = client.ended()
    assert [(ack["cid"], ack["errno"], ack["seq"]) for ack in acks] == [
        (f"half {number}", 0, number + 1) for number in range(500)
    ]


def test_after_a_half_close_a_registration_is_still_answered(client: Client) -> None:
    client.send(4, name="Half registered", password="pw")
    client.sock.shutdown(socket.SHUT_WR)
    (reply,) = client.ended()
    assert (reply["msgid"], reply["errno"]) == (5, 0)


@pytest.mark.parametrize("half", [b"", b'{"msgid":6,"toid"', b'{"msgid":12}'])
def test_half_a_frame_before_the_end_is_no_frame(client: Client, half: bytes) -> None:
    client.write(half)
    client.sock.shutdown(socket.SHUT_WR)
    assert client.ended() == []


def test_a_reset_in_mid_frame_takes_the_user_offline_and_leaves_one_line(server: Server) -> None:
    client = join(server, "Resetter")
    client.write(b'{"msgid":6,"toid":1,"msg":"x')
    client.reset()
    server.wait_for_rows([("offline",)], 'SELECT state FROM "User" WHERE id = ?', client.id)
    (line,) = server.wait_for_log(f"user={client.id} ended: ")
    assert "ended: reset after" in line


def test_resets_while_replies_are_written_leave_no_trace(server: Server) -> None:
    for _ in range(20):
        client = Client(server)
        client.write(b'{"msgid":12}\n' * 1_000)
        client.read()
        client.reset()


# -- Silence


@pytest.fixture
def strict(start: Callable[..., Server]) -> Server:
    """A server that does not wait long."""
    strictly = ("--login-timeout", LOGIN_TIMEOUT, "--silent-timeout", 0)
    return start(*strictly, "--heartbeat-interval", 0.1, "--max-missed", 5, calm=False, expected=(DIALECT,))


def test_a_connection_that_says_nothing_is_ended_after_the_login_timeout(strict: Server) -> None:
    with Client(strict) as client:
        (bye,) = client.ended()
    assert bye["msgid"] == 24


def test_a_connection_that_says_much_but_does_not_log_in_is_ended_too(strict: Server) -> None:
    with Client(strict) as client:
        client.send(12)
        while (frame := client.read()) == {"msgid": 12}:
            client.send(12)
    assert frame["msgid"] == 24


def test_the_login_timeout_does_not_depend_on_the_heartbeat_interval(start: Callable[..., Server]) -> None:
    options = ("--login-timeout", LOGIN_TIMEOUT, "--silent-timeout", 0)
    server = start("--heartbeat-interval", 60, *options, calm=False)
    with Client(server) as client:
        (bye,) = client.ended()
    assert bye["msgid"] == 24


def test_one_who_asks_and_never_reads_is_not_served_without_end(server: Server) -> None:
    """It is read no further; its memory stays small, and nobody else notices."""
    with join(server, "Deaf", receive_buffer=4_096) as client:
        for _ in range(20):
            client.done(6, toid=client.id, msg="x" * 4_000)
        before = memory(server)
        client.sock.setblocking(False)
        request = b'{"msgid":15,"peerid":%d}\n' % client.id
        sent = 0
        while select.select([], [client.sock], [], 1)[1] and sent < 50_000_000:
            sent += client.sock.send(request * 100)
        assert sent < 50_000_000, "it reads all the same"
        assert memory(server) - before < 50_000_000


def test_one_who_never_reads_is_a_slow_consumer_and_loses_nothing(server: Server) -> None:
    """It gets whole frames, in order, then BYE; the rest is there at the next login."""
    with join(server, "Talker") as talker:
        slow = join(server, "Slow reader", receive_buffer=4_096)
        count = 0
        while (
            server.rows('SELECT state FROM "User" WHERE id = ?', slow.id) == [("online",)] and count < 20_000
        ):
            for _ in range(100):
                count += 1
                talker.send(6, toid=slow.id, msg="x" * 4_096, cid=f"talk {count}")
            for _ in range(100):
                assert talker.read()["errno"] == 0
        *live, bye = slow.ended()
        slow.sock.close()
        assert bye.items() >= {"msgid": 24, "reason": "slow_consumer"}.items()
        assert [frame["seq"] for frame in live] == list(range(1, len(live) + 1))
        assert len(live) < count
        with Client(server) as again:
            page = again.login(token=slow.token)
            offered = [message["seq"] for message in page["offlinemsg"]]
            while page["more"]:
                page = again.done(25)
                offered += [message["seq"] for message in page["offlinemsg"]]
        assert offered == list(range(1, count + 1))


def memory(server: Server) -> int:
    """Return the bytes that the server keeps in memory."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


# -- Other languages


def test_http_on_the_port_is_answered_in_http_and_ended(client: Client) -> None:
    fields = "".join(f"X-Field-{number}: value\r\n" for number in range(20))
    client.write(f"GET /index.html HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
    answer = b""
    while data := client.sock.recv(65_536):
        answer += data
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_tls_on_the_port_fails_for_its_client_alone(strict: Server) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    sock = socket.create_connection((strict.host, strict.port), timeout=DEADLINE)
    with sock, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(sock, server_hostname="localhost")
    with Client(strict) as client:
        goes_on(client)


@pytest.mark.parametrize("terminator", [b"\0", b"\n"])
def test_garbage_of_every_byte_is_ended_at_the_tenth_frame(server: Server, terminator: bytes) -> None:
    """NUL-ended garbage gets no reply: an original client knows neither ERROR nor BYE."""
    garbage = bytes(range(255, 10, -1))
    with Client(server) as client:
        client.write((garbage + terminator) * 20)
        frames = client.ended()
    assert [frame["msgid"] for frame in frames] == ([] if terminator == b"\0" else [14] * 10 + [24])


def test_nul_ended_frames_after_a_newline_ended_one_are_one_bad_frame(client: Client) -> None:
    client.write(b'{"msgid":12}\n{"msgid":12}\0{"msgid":12}\0\n')
    assert client.read() == {"msgid": 12}
    assert client.read()["msgid"] == 14
    goes_on(client)


# -- SQL

SQL = [
    '\'; DROP TABLE "User"; --',
    '"; DROP TABLE Message; --',
    "' OR '1'='1",
    "\\'; DELETE FROM Friend; --",
    "%s %d {0} :name ? $1",
]


@pytest.mark.parametrize("sql", SQL)
def test_sql_in_any_text_is_a_text(server: Server, client: Client, sql: str) -> None:
    tables = server.rows("SELECT name FROM sqlite_master ORDER BY name")
    users = server.rows('SELECT count(*) FROM "User"')[0][0]
    assert client.ask(1, name=sql, password=sql)["errno"] == 1
    assert client.ask(1, token=sql)["errno"] == 1
    assert client.done(4, name=sql, password=sql)["name"] == sql
    assert client.ask(1, name=sql, password="' OR '1'='1' --")["errno"] == 1
    me = client.done(1, name=sql, password=sql, device=sql)["id"]
    assert client.done(6, toid=me, msg=sql)["seq"] == 1
    client.send(6, toid=me, msg=sql, cid=sql[:36])
    assert client.wait(cid=sql[:36])["seq"] == 2
    group = client.done(8, groupname=sql, groupdesc=sql)["groupid"]
    client.done(10, groupid=group, msg=sql)
    assert client.done(30, name=sql)["user"]["id"] == me
    assert client.done(30, groupname=sql)["group"].items() >= {"id": group, "groupdesc": sql}.items()
    assert client.ask(15, peerid=me, day=sql)["errno"] == 3
    client.done(28, old=sql, new=sql + "!")
    assert client.done(15, peerid=me)["messages"][1]["msg"] == sql
    assert client.done(15, groupid=group)["messages"][0]["msg"] == sql
    assert server.rows("SELECT name FROM sqlite_master ORDER BY name") == tables
    assert server.rows('SELECT count(*) FROM "User"')[0][0] == users + 1

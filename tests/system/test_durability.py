"""Acknowledged is durable: the server dies by SIGKILL again and again, under load, on SQLite."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from tests.system.conftest import CALM
from tests.system.server import DEADLINE, Client, Ended, Frame, Server, join, run

KILLS = 20
WINDOW = 16
"""Messages that a sender has under way."""

AWAY = (OSError, Ended, AssertionError)
"""What a client meets while the server is dead or dying (an AssertionError: a frame cut off)."""

Conversation = tuple[str, int]


class Person:
    """Somebody who comes back whenever the server does, with a token."""

    def __init__(self, server: Server, name: str) -> None:
        client = join(server, name)
        self.name, self.id, self.token = name, client.id, client.token
        self.trouble: BaseException | None = None
        self.over = threading.Event()
        self._server = server
        self.client = client
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), f"{self.name} hangs"
        assert self.trouble is None, f"{self.name}: {self.trouble!r}"

    def hang_up(self) -> None:
        self.over.set()
        with contextlib.suppress(OSError):  # the server was faster
            self.client.sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        client: Client | None = self.client
        try:
            while client is not None:
                try:
                    self.chat(client)
                    return
                except AWAY as error:
                    client.sock.close()
                    if isinstance(error, AssertionError) and "cut off" not in str(error):
                        raise
                    client = self._come_back()
        except BaseException as error:
            self.trouble = error

    def done(self) -> bool:
        """Whether there is nothing more to come back for."""
        return self.over.is_set()

    def _come_back(self) -> Client | None:
        until = monotonic() + DEADLINE
        while not self.done():
            try:
                client = self.client = Client(self._server)
                self.welcome(client, client.login(token=self.token))
                return client
            except AWAY:
                assert monotonic() < until, "the server does not come back"
                self.over.wait(0.02)
        return None

    def welcome(self, client: Client, ack: Frame) -> None:
        """Take note of what a login brought."""

    def chat(self, client: Client) -> None:
        """Do what this person does, until the connection fails or it is done."""
        raise NotImplementedError


class Sender(Person):
    """Numbers messages to some conversations in turn, WINDOW at a time, until told to end.

    Attributes:
        acknowledged: the seq of each cid that the server acknowledged.
        sent: how many there were.
    """

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(server, name)
        self.acknowledged: dict[str, int] = {}
        self.sent = 0
        self.to: list[Conversation] = []
        self.progress: threading.Semaphore | None = None
        self._under_way: deque[int] = deque()

    def done(self) -> bool:
        return super().done() and not self._under_way

    def write(self, client: Client, number: int) -> None:
        field, to = self.to[number % len(self.to)]
        msgid = 6 if field == "toid" else 10
        text = f"{self.name} {number}"
        client.send(msgid, **{field: to}, msg=text, cid=text)

    def chat(self, client: Client) -> None:
        for number in self._under_way:
            self.write(client, number)
        while not self.done():
            while len(self._under_way) < WINDOW and not self.over.is_set():
                self._under_way.append(self.sent)
                self.sent += 1
                self.write(client, self._under_way[-1])
            frame = client.read()
            if frame["msgid"] == 11:
                self._acknowledge(frame)

    def _acknowledge(self, ack: Frame) -> None:
        assert ack["errno"] == 0, ack
        cid = ack["cid"]
        assert cid not in self.acknowledged, f"{cid} is acknowledged again"
        self.acknowledged[cid] = ack["seq"]
        self._under_way.remove(int(cid.split()[1]))
        assert self.progress is not None
        self.progress.release()


class Receiver(Person):
    """Takes everything and says so; holds each connection to the promised order.

    Attributes:
        got: the text of each seq of each conversation.
    """

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(server, name)
        self.got: dict[Conversation, dict[int, str]] = {}
        self._last: dict[Conversation, int] = {}

    def welcome(self, client: Client, ack: Frame) -> None:
        self._last.clear()  # of this connection
        page = ack
        self._take_page(client, page)
        while page["more"]:
            page = client.done(25)
            self._take_page(client, page)

    def _take_page(self, client: Client, page: Frame) -> None:
        for message in page["offlinemsg"]:
            self._take(client, message)

    def chat(self, client: Client) -> None:
        while not self.over.is_set():
            while client.frames:
                self._take(client, client.frames.pop(0))
            self._take(client, client.read())

    def _take(self, client: Client, message: Frame) -> None:
        if "groupid" in message:
            conversation = ("groupid", message["groupid"])
        else:
            conversation = ("peerid", message["id"])
        seq = message["seq"]
        got = self.got.setdefault(conversation, {})
        last = self._last.get(conversation)
        assert seq == last + 1 if last else seq <= len(got) + 1, f"{conversation}: {seq} after {last}"
        assert got.setdefault(seq, message["msg"]) == message["msg"]
        self._last[conversation] = seq
        field, whom = conversation
        client.send(13, seq=seq, **{field: whom})


def test_after_twenty_sigkills_under_load_every_acknowledged_message_is_there_once_and_in_order(
    tmp_path: Path,
) -> None:
    chance = random.Random(20)
    server = Server(tmp_path, *CALM)
    try:
        senders = [Sender(server, f"s{number}") for number in range(3)]
        receivers = [Receiver(server, f"r{number}") for number in range(3)]
        group = found_group(senders, receivers)
        acknowledged = threading.Semaphore(0)
        for sender, receiver in zip(senders, receivers, strict=True):
            sender.to = [("toid", receiver.id), ("toid", receiver.id), ("groupid", group)]
            sender.progress = acknowledged
        for person in (*receivers, *senders):
            person.start()
        for _ in range(KILLS):
            for _ in range(chance.randint(1, 400)):
                assert acknowledged.acquire(timeout=DEADLINE), [person.trouble for person in senders]
            threading.Event().wait(chance.uniform(0, 0.01))
            server.kill()
            server.start()
        for sender in senders:
            sender.over.set()
        for sender in senders:
            sender.join()
        check_log_of_messages(server, senders, receivers, group)
        for person in receivers:
            person.hang_up()
            person.join()
        check_receivers(server, senders, receivers, group)
    finally:
        server.close()


def found_group(senders: list[Sender], receivers: list[Receiver]) -> int:
    """Return a group that all are in."""
    founder, *others = [person.client for person in (*senders, *receivers)]
    group: int = founder.done(8, groupname="All")["groupid"]
    for other in others:
        other.done(9, groupid=group)
    return group


def check_log_of_messages(
    server: Server, senders: list[Sender], receivers: list[Receiver], group: int
) -> None:
    """Every message is in the log once, with the seq that its ACK said, and seq has no gap."""
    rows = server.rows("SELECT conversation, seq, sender, cid, body FROM Message ORDER BY conversation, seq")
    seqs: dict[int, list[int]] = {}
    for conversation, seq, *_ in rows:
        seqs.setdefault(conversation, []).append(seq)
    assert {conversation: list(range(1, len(found) + 1)) for conversation, found in seqs.items()} == seqs
    heads = dict(server.rows("SELECT id, last_seq FROM Conversation WHERE last_seq > 0"))
    assert heads == {conversation: len(found) for conversation, found in seqs.items()}
    assert set(heads) == {-group} | {
        (min(s.id, r.id) << 32) + max(s.id, r.id) for s, r in zip(senders, receivers, strict=True)
    }
    for sender in senders:
        mine = [row for row in rows if row[2] == sender.id]
        assert {row[3]: row[1] for row in mine} == sender.acknowledged
        assert Counter(row[4] for row in mine) == Counter(f"{sender.name} {n}" for n in range(sender.sent))
        for conversation in {row[0] for row in mine}:
            numbers = [int(row[4].split()[1]) for row in mine if row[0] == conversation]
            assert numbers == sorted(numbers), "a conversation is not in the order sent"


def check_receivers(server: Server, senders: list[Sender], receivers: list[Receiver], group: int) -> None:
    """Everybody has every message that was for them, at last."""
    for sender, receiver in zip(senders, receivers, strict=True):
        pair = (min(sender.id, receiver.id) << 32) + max(sender.id, receiver.id)
        wanted = {("peerid", sender.id): log_of(server, pair), ("groupid", group): log_of(server, -group)}
        if receiver.got != wanted:  # the rest, which was live when it hung up, or on its way
            with Client(server) as client:
                receiver.welcome(client, client.login(token=receiver.token, force=True))
        assert receiver.got == wanted


def log_of(server: Server, conversation: int) -> dict[int, str]:
    return dict(server.rows("SELECT seq, body FROM Message WHERE conversation = ?", conversation))


def test_a_second_server_on_the_same_database_refuses_to_start(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start()
    status, said, errors = run(0, "--store", f"sqlite:///{server.database}", folder=tmp_path)
    assert (status, said) == (1, "")
    assert errors == f"greenchat: the database {server.database} is in use by another server\n"
    with join(server, "Unharmed") as client:
        client.done(6, toid=client.id, msg="still here")


def test_the_database_of_a_killed_server_is_free_at_once(start: Callable[..., Server]) -> None:
    server = start()
    server.kill()
    server.start()
    assert server.stop(signal.SIGINT) == 0

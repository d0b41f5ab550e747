"""At least once: what the application was not done with comes again, and holds up nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Queue
from typing import Any

import pytest

from greenchat import errors
from greenchat.client import Client, ConnectionEvent, Message, Push
from greenchat.protocol.messages import MsgId
from tests.client.conftest import SOON, New
from tests.client.fake_server import FakeServer, Peer, chat_from

Run = Callable[..., Future[Any]]


def next_message(client: Client) -> Message:
    """Take the next message, passing over events."""
    return next(push for push in client.pushes(60) if isinstance(push, Message))


def received_until_the_end(peer: Peer) -> list[int]:
    """Return what the client acknowledges until it ends the connection."""
    return [frame["seq"] for frame in peer.rest() if frame["msgid"] == MsgId.RECEIVED]


def test_a_push_is_acknowledged_when_the_next_one_is_asked_for(client: Client, peer: Peer) -> None:
    peer.send(chat_from(2, 1), chat_from(2, 2))
    assert next_message(client).seq == 1
    assert next_message(client).seq == 2
    assert peer.get(MsgId.RECEIVED)["seq"] == 1
    assert not list(client.pushes(0))
    assert peer.get(MsgId.RECEIVED)["seq"] == 2


def test_what_the_program_failed_on_is_not_acknowledged_and_comes_again(
    new: New, server: FakeServer, run: Run
) -> None:
    def fail_on_the_second(client: Client) -> None:
        with client:
            client.login("ann", "secret")
            for push in client.pushes(60):
                if isinstance(push, Message) and push.seq == 2:
                    raise RuntimeError("a bug of the application")

    failing = run(fail_on_the_second, new("127.0.0.1", server.port))
    peer = server.accept()
    peer.welcome(offlinemsg=[chat_from(2, 1), chat_from(2, 2)])
    assert received_until_the_end(peer) == [1]
    peer.close()
    assert isinstance(failing.exception(10), RuntimeError)


def test_a_with_block_that_ends_in_order_acknowledges_the_last(
    new: New, server: FakeServer, run: Run
) -> None:
    def take_one(client: Client) -> None:
        with client:
            client.login("ann", "secret")
            assert next_message(client).seq == 1

    taking = run(take_one, new("127.0.0.1", server.port))
    peer = server.accept()
    peer.welcome(offlinemsg=[chat_from(2, 1)])
    assert received_until_the_end(peer) == [1]
    peer.close()
    taking.result(60)


def test_each_thread_answers_for_what_it_took(client: Client, peer: Peer) -> None:
    """Thread ids are given again: a new thread must not answer for one that died."""
    peer.send(chat_from(2, 1), chat_from(2, 2), chat_from(3, 3))
    for _ in range(2):
        taking = threading.Thread(target=next_message, args=(client,))
        taking.start()
        taking.join(10)
    assert next_message(client).seq == 3
    client.acknowledge()
    assert peer.get(MsgId.RECEIVED) == {"msgid": 13, "peerid": 3, "seq": 3}


class Failing:
    """A callback that raises while ``broken``, and notes what it was given."""

    def __init__(self) -> None:
        self.broken = True
        self.got: Queue[tuple[int, int]] = Queue()

    def __call__(self, push: Push) -> None:
        if isinstance(push, Message):
            self.got.put((push.sender, push.seq))
            if push.text == "bad" and self.broken:
                raise RuntimeError("a bug of the application")


def test_what_a_callback_failed_on_comes_again_at_the_next_login_and_stalls_nothing(
    new: New, server: FakeServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing()
    with new("127.0.0.1", server.port, on_push=failing, backoff=SOON) as client:
        login = run(client.login, "ann", "secret")
        peer = server.accept()
        peer.welcome()
        login.result(60)
        peer.send(chat_from(2, 1), chat_from(2, 2, "bad"), chat_from(2, 3), chat_from(3, 1))
        assert [failing.got.get(timeout=60) for _ in range(4)] == [(2, 1), (2, 2), (2, 3), (3, 1)]
        marks = {
            frame["peerid"]: frame["seq"] for frame in (peer.get(MsgId.RECEIVED), peer.get(MsgId.RECEIVED))
        }
        assert marks == {2: 1, 3: 1}
        assert "a bug of the application" in caplog.text
        failing.broken = False
        peer.cut()
        peer = server.accept()
        peer.welcome(offlinemsg=[chat_from(2, 2, "bad"), chat_from(2, 3), chat_from(2, 4)])
        assert [failing.got.get(timeout=60) for _ in range(2)] == [(2, 2), (2, 4)]
        while peer.get(MsgId.RECEIVED)["seq"] != 4:
            pass
        server.close()


def test_what_was_queued_when_the_login_ended_comes_at_the_next(client: Client, peer: Peer, run: Run) -> None:
    peer.send(chat_from(2, 1), chat_from(2, 2))
    assert next_message(client).seq == 1
    logout = run(client.logout)
    peer.ack(peer.get(MsgId.LOGINOUT))
    logout.result(60)
    login = run(client.login, "ann", "secret")
    peer.welcome(offlinemsg=[chat_from(2, 1), chat_from(2, 2)])
    login.result(60)
    assert next_message(client).seq == 2, "1 is still in this thread's hands"
    client.acknowledge()
    while peer.get(MsgId.RECEIVED)["seq"] != 2:
        pass


@pytest.mark.parametrize("new", ["threads"], indirect=True)
def test_a_forked_child_that_ends_does_not_cut_the_parent(client: Client, peer: Peer, run: Run) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with client:
                assert (client.online, client.login_info) == (False, None)
                for method in (client.find_user, lambda name: next(client.pushes(0))):
                    with pytest.raises(errors.Disconnected, match="fork"):
                        method("bob")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    chat = run(client.chat, 2, "still here")
    peer.stored(peer.get(MsgId.ONE_CHAT), 1)
    assert chat.result(60).seq == 1
    assert not [push for push in client.pushes(0) if isinstance(push, ConnectionEvent)]

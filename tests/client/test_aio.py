"""What the asyncio client has to itself: tasks, cancellation and event loops."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest

from greenchat import client as threads
from greenchat.client import aio
from greenchat.client.aio import Client, ConnectionEvent, Message
from greenchat.errors import Disconnected
from greenchat.protocol.msgids import MsgId
from tests.client.conftest import SOON
from tests.client.fake_server import DEADLINE, FakeServer, Peer, chat_from

Run = Callable[..., Future[Any]]
Scene = Callable[[Client, Peer], Coroutine[Any, Any, None]]
Play = Callable[[Scene], None]


@pytest.fixture
def play(server: FakeServer, run: Run) -> Play:
    """Run a scene with a client that is logged in, and the server's end of its connection."""

    async def begin(scene: Scene) -> None:
        async with asyncio.timeout(DEADLINE), Client("127.0.0.1", server.port, backoff=SOON) as client:
            accepted = run(welcomed, server)
            await client.login("ann", "secret")
            assert isinstance(await anext(client.pushes(DEADLINE)), ConnectionEvent)
            await client.acknowledge()
            await scene(client, accepted.result(DEADLINE))
            server.close()

    return lambda scene: asyncio.run(begin(scene))


def welcomed(server: FakeServer) -> Peer:
    peer = server.accept()
    peer.welcome()
    return peer


async def aside(call: Callable[..., Any], *args: Any) -> Any:
    """Wait for the server's end on a thread, so that the client goes on."""
    return await asyncio.to_thread(call, *args)


async def received(peer: Peer) -> tuple[int, int]:
    """Return the next RECEIVED: the other user, and the seq."""
    frame = await aside(peer.get, MsgId.RECEIVED)
    return frame["peerid"], frame["seq"]


def signature(method: Any) -> list[tuple[Any, ...]]:
    return [
        (each.name, each.kind, each.default, str(each.annotation))
        for each in inspect.signature(method).parameters.values()
        if each.name != "on_push"
    ]


PUBLIC = [name for name in dir(threads.Client) if not name.startswith("_")]


def test_both_clients_have_the_same_methods_and_names() -> None:
    assert [name for name in dir(Client) if not name.startswith("_")] == PUBLIC
    assert aio.__all__ == threads.__all__
    assert signature(Client.__init__) == signature(threads.Client.__init__)


@pytest.mark.parametrize("name", [name for name in PUBLIC if callable(getattr(Client, name))])
def test_a_method_takes_the_same_arguments_in_both_clients(name: str) -> None:
    assert signature(getattr(Client, name)) == signature(getattr(threads.Client, name))
    assert inspect.iscoroutinefunction(getattr(Client, name)) or name == "pushes"
    assert getattr(Client, name).__doc__


def test_each_task_answers_for_the_push_that_it_took(play: Play) -> None:
    async def scene(client: Client, peer: Peer) -> None:
        taken: asyncio.Queue[int] = asyncio.Queue()
        go_on = asyncio.Event()

        async def work(is_done: Awaitable[Any]) -> None:
            async for push in client.pushes():
                assert isinstance(push, Message)
                taken.put_nowait(push.sender)
                await is_done

        slow = asyncio.create_task(work(asyncio.Event().wait()))
        peer.send(chat_from(2, 1))
        assert await taken.get() == 2
        fast = asyncio.create_task(work(go_on.wait()))
        peer.send(chat_from(3, 1))
        assert await taken.get() == 3
        go_on.set()
        assert await received(peer) == (3, 1)
        for task in (slow, fast):
            task.cancel()
        await asyncio.wait([slow, fast])

    play(scene)


def test_a_loop_that_is_timed_from_outside_acknowledges_too(play: Play) -> None:
    """Up to Python 3.11 ``wait_for`` takes each push in a task of its own."""

    async def scene(client: Client, peer: Peer) -> None:
        peer.send(chat_from(2, 1), chat_from(3, 1))
        pushes = client.pushes()
        for sender in (2, 3):
            push = await asyncio.wait_for(anext(pushes), DEADLINE)
            assert isinstance(push, Message)
            assert push.sender == sender
        assert await received(peer) == (2, 1)

    play(scene)


def test_what_is_acknowledged_by_hand_is_not_acknowledged_twice(play: Play) -> None:
    async def scene(client: Client, peer: Peer) -> None:
        peer.send(chat_from(2, 1))
        pushes = client.pushes(0.01)
        await anext(pushes)
        await client.acknowledge()
        assert await received(peer) == (2, 1)
        assert [push async for push in pushes] == []
        peer.send(chat_from(3, 1))
        await anext(client.pushes())
        await client.acknowledge()
        assert await received(peer) == (3, 1)

    play(scene)


def test_a_loop_over_many_pushes_stops_no_other_task(play: Play) -> None:
    async def scene(client: Client, peer: Peer) -> None:
        count, turns = 200, 0
        peer.send(*(chat_from(2, seq) for seq in range(1, count + 1)))

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        last = asyncio.create_task(client.find_user("bob"))
        request = await aside(peer.get, MsgId.FIND)
        peer.ack(request, user={"id": 2, "name": "bob", "state": "online"})
        await last  # by now all messages are there
        turning = asyncio.create_task(turn())
        seen = 0
        async for _ in client.pushes():
            seen += 1
            if seen == count:
                break
        turning.cancel()
        assert turns >= count // 2

    play(scene)


def test_a_call_that_is_cancelled_lets_the_next_pass(play: Play) -> None:
    async def scene(client: Client, peer: Peer) -> None:
        given_up = asyncio.create_task(client.chat(2, "given up"))
        assert (await aside(peer.get, MsgId.ONE_CHAT))["msg"] == "given up"
        given_up.cancel()
        sent = asyncio.create_task(client.chat(2, "sent"))
        request = await aside(peer.get, MsgId.ONE_CHAT)
        assert request["msg"] == "sent"
        peer.stored(request, 2)
        assert (await sent).seq == 2
        assert given_up.cancelled()

    play(scene)


def test_a_login_that_is_cancelled_ends_the_connection(server: FakeServer, run: Run) -> None:
    async def scene() -> None:
        async with Client("127.0.0.1", server.port) as client:
            accepting = run(server.accept)
            login = asyncio.create_task(client.login("ann", "secret"))
            peer = await aside(accepting.result, DEADLINE)
            await aside(peer.get, MsgId.LOGIN)
            login.cancel()
            await asyncio.wait([login])
            assert await aside(peer.at_end)
            assert client.login_info is None
            again = run(welcomed, server)
            assert (await client.login("ann", "secret")).id == 1
            again.result(DEADLINE)
            server.close()

    asyncio.run(scene())


def test_a_client_belongs_to_one_event_loop(play: Play) -> None:
    kept: list[Client] = []

    async def scene(client: Client, peer: Peer) -> None:
        kept.append(client)

    play(scene)

    async def elsewhere() -> None:
        for call in (kept[0].find_user("bob"), kept[0].acknowledge(), kept[0].close()):
            with pytest.raises(Disconnected, match="another event loop"):
                await call

    asyncio.run(elsewhere())


def test_a_block_that_is_cancelled_ends_its_connection(server: FakeServer, run: Run) -> None:
    async def listen() -> None:
        async with Client("127.0.0.1", server.port) as client:
            await client.login("ann", "secret")
            async for _ in client.pushes():
                pass

    async def scene() -> None:
        accepted = run(welcomed, server)
        listening = asyncio.create_task(listen())
        peer = await aside(accepted.result, DEADLINE)
        await aside(peer.get, MsgId.HEARTBEAT)  # it is logged in
        listening.cancel()
        assert await aside(peer.at_end)
        peer.close()
        await asyncio.wait([listening])
        assert listening.cancelled()

    asyncio.run(scene())


def test_a_client_that_is_closed_sends_nothing_more(server: FakeServer, run: Run) -> None:
    """The server may take its time to end the connection, and heartbeats fall due meanwhile."""
    unhandled: list[dict[str, Any]] = []

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
        accepting = run(server.accept)
        async with Client("127.0.0.1", server.port) as client:
            login = asyncio.create_task(client.login("ann", "secret"))
            peer = await aside(accepting.result, DEADLINE)
            await aside(lambda: peer.welcome(heartbeat={"interval": 0.01, "max_missed": 500}))
            await login
        assert await aside(peer.at_end)

    asyncio.run(scene())
    assert unhandled == []


@pytest.mark.parametrize("with_tls", [False, True])
def test_a_server_that_says_nothing_is_not_waited_for_long(
    server: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch, with_tls: bool
) -> None:
    monkeypatch.setattr("greenchat.client.aio.connection.CONNECT_TIMEOUT", 0.05)

    async def scene() -> None:
        tls = ssl.create_default_context() if with_tls else None
        async with Client("127.0.0.1", server.port, tls=tls) as client:
            with pytest.raises(Disconnected, match="does not answer"):
                await client.login("ann", "secret")

    asyncio.run(scene())


def test_many_bytes_that_nobody_reads_are_not_kept(play: Play) -> None:
    """The socket is read on when the client has taken what is there."""

    async def scene(client: Client, peer: Peer) -> None:
        pad = "x" * 300_000
        frames = [chat_from(2, seq) | {"pad": pad} for seq in range(1, 31)]
        sending = asyncio.create_task(aside(peer.send, *frames))
        seen = []
        async for push in client.pushes():
            assert isinstance(push, Message)
            seen.append(push.seq)
            if push.seq == len(frames):
                break
        await sending
        assert seen == list(range(1, 31))

    play(scene)

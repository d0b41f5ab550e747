from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, cast

import pytest

from greenchat.client import Backoff, Client
from tests.client.blocking import BlockingClient
from tests.client.fake_server import FakeServer, Peer

New = Callable[..., Client]

SOON = Backoff(base=0.01, cap=0.05)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def run() -> Iterator[Callable[..., Future[Any]]]:
    """Run a call that waits for the server on a thread of its own."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


@pytest.fixture(params=["threads", "asyncio"])
def new(request: pytest.FixtureRequest) -> Iterator[New]:
    """Return the constructor of a client.  Both clients run the same contract."""
    if request.param == "threads":
        yield Client
        return
    with ExitStack() as made:

        def make(*args: Any, **named: Any) -> Client:
            client = BlockingClient(*args, **named)
            made.callback(client.shut_down)
            return cast("Client", client)

        yield make


@pytest.fixture
def client(new: New, server: FakeServer, run: Any) -> Iterator[Client]:
    """A client; closed before the pool waits for its calls, and no thread of it may be left."""
    before = set(threading.enumerate())
    with new("127.0.0.1", server.port, backoff=SOON) as made:
        yield made
        server.close()
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("greenchat")]
    assert not left


@pytest.fixture
def peer(server: FakeServer, client: Client, run: Any) -> Peer:
    """The server's end of the client's connection, logged in as user 1, ann."""
    login = run(client.login, "ann", "secret")
    accepted = server.accept()
    accepted.welcome()
    assert login.result(60).id == 1
    assert next(client.pushes(60)).kind == "connected"  # type: ignore[union-attr]
    return accepted

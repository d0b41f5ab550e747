"""The fault proxy, between a plain client and an echo server."""

from __future__ import annotations

import random
import socket
import socketserver
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from lab.background import Background, background
from lab.faults.proxy import COMMIT, FaultProxy

DEADLINE = 60.0

SILENT = 0.3
"""Seconds after which nothing is taken to come: a fault that let it through would be faster."""


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes, and tells the server."""

    server: EchoServer

    def handle(self) -> None:
        while data := self.request.recv(65_536):
            self.server.came.append(data)
            self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.came: list[bytes] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a reset is what is tested."""


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    with EchoServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def aside() -> Iterator[Background]:
    with background() as aside:
        yield aside


@pytest.fixture
def proxy(aside: Background, echo: EchoServer) -> Iterator[FaultProxy]:
    proxy = FaultProxy(aside, echo.server_address[1])
    yield proxy
    proxy.close()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with connect(proxy) as client:
        assert ask(client, b"hello") == b"hello"
        yield client


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), DEADLINE)


def ask(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return read(client, len(data))


def read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(65_536)):
        data += more
    return data


def hears_nothing(client: socket.socket) -> bool:
    client.settimeout(SILENT)
    try:
        return not client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(DEADLINE)


def test_a_good_line_carries_megabytes_both_ways(client: socket.socket) -> None:
    data = bytes(range(256)) * 20_000
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    assert read(client, len(data)) == data
    sender.join()


def test_the_end_of_a_connection_is_carried_too(client: socket.socket, proxy: FaultProxy) -> None:
    client.sendall(b"bye")
    client.shutdown(socket.SHUT_WR)
    assert read(client, 100) == b"bye"
    assert client.recv(1) == b""
    until = monotonic() + DEADLINE
    while proxy.connections and monotonic() < until:
        threading.Event().wait(0.01)
    assert proxy.connections == 0


def test_a_target_that_is_away_ends_the_connection(aside: Background) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        proxy = FaultProxy(aside, taken.getsockname()[1])
        with pytest.raises(ConnectionResetError), connect(proxy) as client:
            client.recv(1)
        proxy.close()


def test_delay_holds_bytes_back_but_neither_their_order_nor_each_other(
    client: socket.socket, proxy: FaultProxy
) -> None:
    proxy.delay(0.2)
    began = monotonic()
    for number in range(100):
        client.sendall(bytes([number]))
        threading.Event().wait(0.01)
    assert read(client, 100) == bytes(range(100))
    took = monotonic() - began
    assert took >= 0.4  # there and back
    assert took < 100 * 0.4, "they wait one after the other"


def test_throttle_lets_so_many_bytes_a_second_through(client: socket.socket, proxy: FaultProxy) -> None:
    proxy.throttle(10_000)
    began = monotonic()
    assert ask(client, b"x" * 4_000) == b"x" * 4_000
    assert monotonic() - began >= 0.35


def test_cut_resets_who_is_there_and_refuses_who_comes_until_it_is_healed(
    client: socket.socket, proxy: FaultProxy
) -> None:
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.heal()
    with connect(proxy) as again:
        assert ask(again, b"back") == b"back"


def test_stall_says_nothing_and_brings_everything_later(
    client: socket.socket, proxy: FaultProxy, echo: EchoServer
) -> None:
    proxy.stall()
    client.sendall(b"one")
    with connect(proxy) as late:
        late.sendall(b"two")
        assert hears_nothing(client)
        assert hears_nothing(late)
        assert echo.came == [b"hello"]
        proxy.heal()
        assert (read(client, 3), read(late, 3)) == (b"one", b"two")


def test_what_a_client_sent_before_it_gave_up_arrives_after_a_stall(
    client: socket.socket, proxy: FaultProxy, echo: EchoServer
) -> None:
    proxy.stall()
    client.sendall(b"COMMIT")
    client.close()
    proxy.heal()
    until = monotonic() + DEADLINE
    while b"COMMIT" not in echo.came and monotonic() < until:
        threading.Event().wait(0.01)
    assert echo.came == [b"hello", b"COMMIT"]


def test_swallow_takes_everything_and_resets_at_the_end(
    client: socket.socket, proxy: FaultProxy, echo: EchoServer
) -> None:
    with connect(proxy) as idle:
        assert ask(idle, b"idle") == b"idle"
        proxy.swallow()
        client.sendall(b"lost")
        with connect(proxy) as late:
            late.sendall(b"lost too")
            assert hears_nothing(client)
            assert hears_nothing(late)
            proxy.heal()
            for lossy in (client, late):
                with pytest.raises(ConnectionResetError):
                    lossy.recv(1)
        assert ask(idle, b"unharmed") == b"unharmed"
    assert echo.came == [b"hello", b"idle", b"unharmed"]


@pytest.mark.parametrize(("dice", "carried_out"), [(0.0, True), (0.9, False)])
def test_doubt_cuts_the_line_at_a_commit_which_may_have_been_carried_out(
    client: socket.socket,
    proxy: FaultProxy,
    echo: EchoServer,
    monkeypatch: pytest.MonkeyPatch,
    dice: float,
    carried_out: bool,
) -> None:
    rolled = iter([0.0, dice])
    monkeypatch.setattr(random, "random", lambda: next(rolled))
    proxy.doubt()
    assert ask(client, b"SELECT 1") == b"SELECT 1"
    client.sendall(COMMIT)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert echo.came == [b"hello", b"SELECT 1"] + [COMMIT] * carried_out
    assert proxy.doubted == 1
    with connect(proxy) as again:
        assert ask(again, b"SELECT 2") == b"SELECT 2"


def test_the_newest_fault_is_the_one_that_holds(client: socket.socket, proxy: FaultProxy) -> None:
    proxy.delay(60)
    proxy.throttle(1)
    proxy.delay(0)
    assert ask(client, b"x" * 1_000) == b"x" * 1_000


def test_a_proxy_that_is_closed_is_gone(aside: Background, echo: EchoServer) -> None:
    proxy = FaultProxy(aside, echo.server_address[1])
    with connect(proxy) as client:
        assert ask(client, b"hello") == b"hello"
        proxy.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)

"""Accepting, refusing, and the end of all."""

from __future__ import annotations

import json
import logging
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from greenchat.metrics import (
    CONNECTIONS_CLOSED,
    CONNECTIONS_OPENED,
    CONNECTIONS_REFUSED,
    RECEIVED_BYTES,
    RECEIVED_FRAMES,
    SENT_BYTES,
    SENT_FRAMES,
)
from greenchat.network import acceptor, admission, listener
from greenchat.network.connections import Connections
from tests.network.support import Client, FakeSession, Served, echo, silent

Serve = Callable[..., Served]


def test_a_connection_without_login_is_told_after_its_time(serve: Serve) -> None:
    client, session = serve(user=None, heartbeat_interval=0.02, login_timeout=0.1).pair()
    assert client.last_words() == {"msgid": 24, "reason": "evicted"}
    assert session.reasons == ["evicted"]


def test_one_connection_too_many_is_answered(serve: Serve) -> None:
    served = serve(max_connections=2)
    first, _ = served.pair()
    served.pair()
    before = CONNECTIONS_REFUSED.value
    refused = served.connect()
    refused.send(b"login\n" * 1000)
    words = refused.last_words()
    assert (words["msgid"], words["reason"]) == (24, "evicted")
    assert words["retry_after"] > 0
    assert CONNECTIONS_REFUSED.value == before + 1
    first.send(b"ping\n")
    assert first.frame() == b"ping"


def test_a_place_that_became_free_is_given_again(serve: Serve) -> None:
    served = serve(max_connections=1)
    first, _ = served.pair()
    first.reset()
    assert served.connections.wait_closed()
    second, _ = served.pair()
    second.send(b"ping\n")
    assert second.frame() == b"ping"
    assert not served.connections.wait_closed(0.01)


def test_the_refused_do_not_pile_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "REFUSED_AT_ONCE", 3)
    served = serve(max_connections=1)
    served.pair()
    refused = [served.connect() for _ in range(20)]
    assert [client.last_words()["msgid"] for client in refused] == [24] * 20
    assert len(served.connections) <= 1 + 3


def why(client: Client) -> tuple[str, str]:
    """Return the limit and the reason that a refused client is told; both say when to come back."""
    error, bye = map(json.loads, client.rest().splitlines())
    assert (error["msgid"], error["errno"], error["error"]) == (14, 11, "rate_limited")
    assert (bye["msgid"], bye["retry_after"]) == (24, error["retry_after"])
    assert bye["retry_after"] >= 1.0
    return error["errmsg"], bye["reason"]


def test_one_connection_too_many_of_an_address_is_told_so_and_other_addresses_are_served(
    serve: Serve,
) -> None:
    served = serve(host="::", max_connections_per_address=2)
    for _ in range(2):
        served.pair()
    assert why(served.connect()) == ("too many connections from your address", "evicted")
    client = served.connect("::1")
    client.send(b"ping\n")
    assert client.frame() == b"ping"


def test_exempt_addresses_have_any_number(serve: Serve) -> None:
    served = serve(max_connections_per_address=1, is_exempt=lambda host: host == "127.0.0.1")
    clients = [served.pair()[0] for _ in range(5)]
    for client in clients:
        client.send(b"ping\n")
        assert client.frame() == b"ping"


def test_one_stranger_too_many_is_told_so_and_who_logs_in_makes_room(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "SWEEP_AGAIN", 0.0)

    def login(session: FakeSession, frame: bytes) -> None:
        session.user = 5
        echo(session, frame)

    served = serve(login, user=None, max_strangers=2)
    ann, _ = served.pair()
    served.pair()
    stranger = "too many connections to this server that are not logged in"
    assert why(served.connect()) == (stranger, "evicted")
    ann.send(b"login\n")
    ann.frame()
    served.pair()
    assert why(served.connect()) == (stranger, "evicted")


@pytest.mark.parametrize(
    ("host", "peer", "shown"),
    [("127.0.0.1", "127.0.0.1", "127.0.0.1:"), ("::1", "::1", "[::1]:"), ("::", "::1", "[::1]:"),
     ("::", "127.0.0.1", "127.0.0.1:")],
)  # fmt: skip
def test_ipv4_and_ipv6_are_served(serve: Serve, host: str, peer: str, shown: str) -> None:
    served = serve(host=host)
    client = served.connect(peer)
    session = served.service.sessions.get()
    client.send(b"ping\n")
    assert client.frame() == b"ping"
    assert session.peer.address == f"{shown}{client.sock.getsockname()[1]}"


def test_accepted_sockets_inherit_the_options(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: list[Any] = []

    class Accepted(acceptor.PlainSocket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            accepted.append(self)

    monkeypatch.setattr(acceptor, "PlainSocket", Accepted)
    serve().pair()
    for level, option, value in acceptor.SOCKET_OPTIONS:
        assert accepted[0].getsockopt(level, option) == value


def test_after_stop_accepting_newcomers_are_refused_and_the_others_stay(serve: Serve) -> None:
    served = serve()
    client, _ = served.pair()
    served.server.stop_accepting()
    with pytest.raises(ConnectionRefusedError):
        served.connect()
    client.send(b"ping\n")
    assert client.frame() == b"ping"


def test_close_all_tells_each_when_to_come_back_and_wait_closed_waits_for_all(serve: Serve) -> None:
    served = serve(silent)
    clients = [served.pair()[0] for _ in range(3)]
    spread = iter([1.0, 2.0, 3.0])
    assert not served.connections.wait_closed(0.01)
    served.server.stop_accepting()
    served.connections.close_all("shutdown", lambda: next(spread))
    words = [client.last_words() for client in clients]
    assert {word["reason"] for word in words} == {"shutdown"}
    assert sorted(word["retry_after"] for word in words) == [1.0, 2.0, 3.0]
    for client in clients:
        client.close()
    assert served.connections.wait_closed(10.0)
    assert served.connections.wait_closed(0.0)


def test_a_port_in_use_is_an_error(serve: Serve) -> None:
    port = serve().server.address[1]
    with pytest.raises(OSError, match="in use"):
        listener.ChatServer(("127.0.0.1", port), Connections(), None, None).start()  # type: ignore[arg-type]


def test_the_counters_count(serve: Serve) -> None:
    before = (RECEIVED_FRAMES.value, SENT_FRAMES.value, RECEIVED_BYTES.value, SENT_BYTES.value)
    opened, ended = CONNECTIONS_OPENED.value, CONNECTIONS_CLOSED.value
    served = serve()
    client, _ = served.pair()
    client.send(b"one\ntwo\n")
    client.frame()
    client.frame()
    client.reset()
    assert served.connections.wait_closed()
    after = (RECEIVED_FRAMES.value, SENT_FRAMES.value, RECEIVED_BYTES.value, SENT_BYTES.value)
    assert [new - old for new, old in zip(after, before, strict=True)] == [2, 2, 8, 8]
    assert CONNECTIONS_OPENED.value == opened + 1
    assert CONNECTIONS_CLOSED.value >= ended + 1


@contextmanager
def no_file_left() -> Iterator[None]:
    """Let no file descriptor be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_out_of_file_descriptors_waits_and_goes_on(
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acceptor, "BACK_OFF", 0.01)
    served = serve()
    client, _ = served.pair()
    attempts: list[OSError] = []
    back_off = served.server.back_off

    def counting(error: OSError) -> None:
        attempts.append(error)
        back_off(error)

    monkeypatch.setattr(served.server, "back_off", counting)
    with socket.socket() as newcomer:  # it must exist before the files run out
        newcomer.setblocking(False)
        with no_file_left():
            newcomer.connect_ex(("127.0.0.1", served.server.address[1]))
            while len(attempts) < 5:
                client.send(b"ping\n")
                assert client.frame() == b"ping"
            assert served.service.sessions.empty()
        assert served.service.sessions.get()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "Traceback" not in capfd.readouterr().err

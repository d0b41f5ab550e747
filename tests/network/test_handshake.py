"""The PROXY header in front of a connection: who is believed, what is taken off, what is closed."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from time import monotonic

import gevent
import pytest

from greenchat.metrics import EVICTIONS
from greenchat.network import admission
from greenchat.protocol.proxy import MAX_HEADER, SIGNATURE
from tests.network.support import Client, Served

Serve = Callable[..., Served]

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
LINE = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 6000\r\n"
BINARY = SIGNATURE + b"\x21\x11" + (12).to_bytes(2) + bytes([192, 0, 2, 7, 10, 0, 0, 1, 0xDC, 4, 0x17, 0x70])
BIG = SIGNATURE + b"\x21\x11" + (MAX_HEADER - 16).to_bytes(2) + BINARY[16:] + bytes(MAX_HEADER - len(BINARY))
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
SEVEN = "192.0.2.7:56324"


@pytest.fixture
def proxied(serve: Serve) -> Serve:
    """Serve behind proxies on loopback."""
    return lambda *args, **options: serve(*args, **{"proxies": LOOPBACK, **options})


@pytest.fixture
def ends(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[int], list[str]]]:
    """Wait for so many lines of the log about ends of connections; there are no other lines."""
    caplog.set_level(logging.INFO)

    def wait(count: int) -> list[str]:
        while len(caplog.records) < count:
            gevent.sleep(0.001)
        return [record.getMessage() for record in caplog.records]

    yield wait
    assert {record.name for record in caplog.records} <= {"greenchat.network.connection"}


@pytest.mark.parametrize("header", [LINE, BINARY, BIG])
@pytest.mark.parametrize("size", [1, 10, 100_000])
def test_the_header_is_taken_off_however_the_network_cuts_it(
    proxied: Serve, header: bytes, size: int
) -> None:
    served = proxied()
    client = served.connect()
    stream = header + b'{"n":1}\n{"n":2}\n'
    for at in range(0, len(stream), size):
        client.send(stream[at : at + size])
        if size == 1 and at < 200:
            gevent.sleep(0)  # so that the server sees it as it is
    assert [client.frame(), client.frame()] == [b'{"n":1}', b'{"n":2}']
    session = served.service.sessions.get()
    assert session.peer.address == SEVEN


def test_the_log_names_the_client_and_not_the_proxy(proxied: Serve, ends: Callable[[int], list[str]]) -> None:
    client = proxied().connect()
    client.send(LINE)
    client.close()
    (line,) = ends(1)
    assert re.fullmatch(rf"{SEVEN} user=5 ended: closed by peer after \d+\.\d s", line)


def test_a_classic_client_behind_a_proxy_is_classic(proxied: Serve) -> None:
    client = proxied().connect()
    client.send(BINARY + b'{"msgid":1}\0')
    assert client.frame(b"\0") == b'{"msgid":1}'


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
def test_a_proxy_that_speaks_for_itself_is_the_client(proxied: Serve, header: bytes) -> None:
    served = proxied()
    client = served.connect()
    client.send(header + b"ping\n")
    assert client.frame() == b"ping"
    assert served.service.sessions.get().peer.address == f"127.0.0.1:{client.sock.getsockname()[1]}"


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY TCP6 2001:DB8::7 ::1 1 2\r\n", "[2001:db8::7]:1"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 56324 2\r\n", SEVEN),
    ],
)
@pytest.mark.parametrize(("host", "peer"), [("::", "127.0.0.1"), ("::1", "::1")])
def test_ipv4_and_ipv6_on_either_side_of_the_proxy(
    proxied: Serve, host: str, peer: str, header: bytes, address: str
) -> None:
    served = proxied(host=host)
    served.connect(peer).send(header)
    assert served.service.sessions.get().peer.address == address


@pytest.mark.parametrize("data", [LINE + b"ping\n", b"ping\n", b""])
def test_who_is_not_listed_is_closed_whatever_it_says(
    serve: Serve, ends: Callable[[int], list[str]], data: bytes
) -> None:
    served = serve(proxies=[ip_network("192.0.2.0/24"), ip_network("::1/128")])
    client = served.connect()
    (line,) = ends(1)
    assert re.fullmatch(r"127\.0\.0\.1:\d+ user=- ended: not in proxy-from after \d+\.\d s", line)
    with contextlib.suppress(ConnectionError):  # it is too late for that
        client.send(data)
    assert ended_without_a_word(client)
    assert served.service.sessions.empty()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"msgid":12}\n', "bad PROXY header (there is none)"),
        (LINE.replace(b"192", b"392"), "bad PROXY header (an address of the line is not valid)"),
        (b"PROXY UNKNOWN" + b" " * 1000, "bad PROXY header (the line is too long)"),
        (SIGNATURE + b"\x21\x11\xff\xff" + bytes(10_000), "bad PROXY header (it is too long)"),
    ],
)
def test_what_is_no_header_ends_the_connection_with_one_line(
    proxied: Serve, ends: Callable[[int], list[str]], data: bytes, reason: str
) -> None:
    served = proxied()
    client = served.connect()
    client.send(data)
    (line,) = ends(1)
    assert re.fullmatch(rf"127\.0\.0\.1:\d+ user=- ended: {re.escape(reason)} after \d\.\d s", line)
    assert ended_without_a_word(client)
    assert served.service.sessions.empty()


@pytest.mark.parametrize("data", [b"", LINE[:20], BIG[:-1]])
def test_a_header_that_is_late_ends_the_connection(
    proxied: Serve, ends: Callable[[int], list[str]], data: bytes
) -> None:
    before = EVICTIONS.values["login_timeout"]
    client = proxied(login_timeout=0.05).connect()
    client.send(data)
    assert client.rest() == b""
    (line,) = ends(1)
    assert "user=- ended: no PROXY header in time after" in line
    assert EVICTIONS.values["login_timeout"] == before + 1


def test_the_time_to_log_in_is_counted_from_the_beginning(proxied: Serve) -> None:
    served = proxied(user=None, login_timeout=10.0)
    client = served.connect()
    wait_until_greeted(served)
    gevent.sleep(0.05)
    client.send(LINE)
    peer = served.service.sessions.get().peer
    assert peer.anonymous_since == peer.opened <= monotonic() - 0.05


@pytest.mark.parametrize("data", [b"", LINE[:20], BINARY[:20]])
@pytest.mark.parametrize(("how", "reason"), [("close", "closed by peer"), ("reset", "reset")])
def test_a_proxy_that_goes_before_its_header_is_complete(
    proxied: Serve, ends: Callable[[int], list[str]], data: bytes, how: str, reason: str
) -> None:
    served = proxied()
    client = served.connect()
    client.send(data)
    wait_until_greeted(served)
    getattr(client, how)()
    (line,) = ends(1)
    assert f"user=- ended: {reason} after" in line
    assert served.service.sessions.empty()


def test_one_connection_too_many_is_answered_after_its_header(
    proxied: Serve, ends: Callable[[int], list[str]]
) -> None:
    served = proxied(max_connections=1)
    served.connect().send(LINE)
    served.service.sessions.get()
    refused = served.connect()
    refused.send(LINE.replace(b"0.2.7", b"0.2.8"))
    words = refused.last_words()
    assert (words["msgid"], words["reason"]) == (24, "evicted")
    refused.close()
    assert ends(1)[0].startswith("192.0.2.8:56324 user=- ended: too many connections to this server after")


def test_the_clients_addresses_are_counted_and_not_the_proxys(proxied: Serve) -> None:
    served = proxied(max_connections_per_address=1, is_exempt=lambda host: host == "127.0.0.1")
    seven, again, eight = served.connect(), served.connect(), served.connect()
    seven.send(LINE + b"ping\n")
    assert seven.frame() == b"ping"
    again.send(LINE)
    error = json.loads(again.frame())
    assert (error["errno"], error["errmsg"]) == (11, "too many connections from your address")
    assert again.last_words()["reason"] == "evicted"
    eight.send(LINE.replace(b"0.2.7", b"0.2.8") + b"ping\n")
    assert eight.frame() == b"ping"
    for _ in range(3):  # health checks of an exempt proxy
        client = served.connect()
        client.send(LOCAL + b"ping\n")
        assert client.frame() == b"ping"


def test_far_too_many_of_an_address_are_closed_behind_their_header(
    proxied: Serve, ends: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "REFUSED_AT_ONCE", 0)
    served = proxied(max_connections_per_address=1, max_connections=2)
    seven, again = served.connect(), served.connect()
    seven.send(LINE + b"ping\n")
    assert seven.frame() == b"ping"
    again.send(LINE)
    assert again.rest() == b""
    assert f"{SEVEN} user=- ended: too many connections from your address after" in ends(1)[0]
    other = served.connect()
    other.send(LINE.replace(b"192.0.2.7", b"192.0.2.8") + b"pong\n")
    assert other.frame() == b"pong"


def test_those_that_say_nothing_do_not_pile_up(proxied: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "REFUSED_AT_ONCE", 3)
    served = proxied(max_connections=1)
    silent = [served.connect() for _ in range(4)]
    refused = [served.connect() for _ in range(10)]
    assert [client.last_words()["msgid"] for client in refused] == [24] * 10
    assert len(served.server.handshakes) == len(silent)


def test_the_end_of_a_server_ends_the_handshakes(proxied: Serve, ends: Callable[[int], list[str]]) -> None:
    served = proxied()
    client = served.connect()
    wait_until_greeted(served)
    served.server.handshakes.close()
    assert client.rest() == b""
    assert "user=- ended: stopped after" in ends(1)[0]


def test_without_proxies_a_header_is_a_frame_like_another(serve: Serve) -> None:
    client, session = serve().pair()
    client.send(LINE)
    assert client.frame() == LINE.rstrip()
    assert session.peer.address.startswith("127.0.0.1:")


def ended_without_a_word(client: Client) -> bool:
    """Say whether the server closed, or reset because there was more, and sent nothing."""
    try:
        return client.rest() == b""
    except ConnectionResetError:
        return True


def wait_until_greeted(served: Served) -> None:
    """Wait until a greeting is under way, and waits."""
    while not len(served.server.handshakes):
        gevent.sleep(0)
    gevent.sleep(0.01)

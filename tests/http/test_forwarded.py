"""The client's address and scheme behind proxies, by the headers and by the limits."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest

from greenchat.http.call import Headers
from greenchat.http.forwarded import client_of, read_address
from tests.http.support import Served, wait_until

Serve = Callable[..., Served]

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
PROXY = "10.0.0.1:999"


def headers(*lines: str) -> Headers:
    pairs = (line.split(": ", 1) for line in lines)
    return Headers([(name.lower().encode(), value.encode()) for name, value in pairs])


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], PROXY),
        (["X-Forwarded-For: 203.0.113.7"], "203.0.113.7:0"),
        (["X-Forwarded-For: 203.0.113.7:1234"], "203.0.113.7:1234"),
        (["X-Forwarded-For: 1.1.1.1, 203.0.113.7"], "203.0.113.7:0"),
        (["X-Forwarded-For: 1.1.1.1, 203.0.113.7, 10.0.0.2, 10.9.9.9"], "203.0.113.7:0"),
        (["X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 203.0.113.7"], "203.0.113.7:0"),
        (["X-Forwarded-For: 10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
        (["X-Forwarded-For: 203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2:0"),
        (["X-Forwarded-For: garbage"], PROXY),
        (["X-Forwarded-For: 2001:db8::1"], "[2001:db8::1]:0"),
        (["X-Forwarded-For: [2001:db8::1]:80"], "[2001:db8::1]:80"),
        (["X-Forwarded-For: ::ffff:203.0.113.7"], "203.0.113.7:0"),
        (["X-Forwarded-For: 203.0.113.7, fd00::1"], "203.0.113.7:0"),
        (["Forwarded: for=203.0.113.7;proto=https, for=10.0.0.2"], "203.0.113.7:0"),
        (['Forwarded: proto=https; For="[2001:db8::1]:4711"'], "[2001:db8::1]:4711"),
        (["Forwarded: for=_hidden"], PROXY),
        (["Forwarded: for=1.1.1.1", "X-Forwarded-For: 203.0.113.7"], "203.0.113.7:0"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy_of_ours(lines: list[str], client: str) -> None:
    assert client_of(PROXY, False, headers(*lines), PROXIES).address == client
    assert client_of("203.0.113.99:5", False, headers(*lines), PROXIES).address == "203.0.113.99:5"
    assert client_of(PROXY, False, headers(*lines), []).address == PROXY


@pytest.mark.parametrize(
    ("lines", "encrypted", "secure"),
    [
        ([], False, False),
        ([], True, True),
        (["X-Forwarded-Proto: https"], False, True),
        (["X-Forwarded-Proto: http"], True, False),
        (["X-Forwarded-Proto: https, http"], False, False),
        (["Forwarded: for=1.1.1.1;proto=https"], False, True),
    ],
)
def test_the_scheme_is_what_the_last_proxy_says(lines: list[str], encrypted: bool, secure: bool) -> None:
    assert client_of(PROXY, encrypted, headers(*lines), PROXIES).secure is secure
    assert client_of("203.0.113.99:5", encrypted, headers(*lines), PROXIES).secure is encrypted


@pytest.mark.parametrize(
    "text", ["", "unknown", "_x", "1.2.3", "1.2.3.4.5", "fe80::1%eth0", "[::1", ":80", "a:b"]
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert read_address(text) is None


def test_a_handler_sees_the_client(serve: Serve) -> None:
    served = serve(trusted=["127.0.0.1"], hosts=["chat.example"])
    answer = served.get(
        "/who", "Host: Chat.Example", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https"
    )
    assert answer.body == b"203.0.113.7:0 https chat.example"
    assert serve().get("/who", "X-Forwarded-For: 203.0.113.7").body.startswith(b"127.0.0.1:")


def test_a_proxy_has_any_number_of_connections_and_its_clients_have_not(serve: Serve) -> None:
    served = serve(trusted=["127.0.0.1"], connections={"max_connections_per_address": 2})
    busy = [served.connect() for _ in range(2)]
    for client in busy:
        client.ask("/slow", "X-Forwarded-For: 203.0.113.7")
    wait_until(lambda: len(served.http) - served.http.idle == 2)
    refused = served.get("/", "X-Forwarded-For: 203.0.113.7")
    assert (refused.status, refused.json["error"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    others = [served.connect() for _ in range(3)]
    assert [client.get("/", f"X-Forwarded-For: 203.0.113.{n}").status for n, client in enumerate(others)] == [
        200
    ] * 3
    served.rows.go.set()
    assert [client.answer().status for client in busy] == [200] * 2
    # Between two requests a connection is the proxy's again.
    assert served.get("/", "X-Forwarded-For: 203.0.113.7").status == 200


def test_without_a_proxy_the_connections_of_an_address_are_limited(serve: Serve) -> None:
    served = serve(connections={"max_connections_per_address": 2})
    clients = [served.connect() for _ in range(2)]
    assert [client.get("/").status for client in clients] == [200] * 2
    third = served.connect()
    answer = third.answer()
    assert (answer.status, answer.json["detail"]) == (429, "too many connections from your address")
    assert third.at_end()
    clients[0].close()
    wait_until(lambda: len(served.http) == 1)
    assert served.get("/").status == 200


def test_requests_of_an_address_are_limited(serve: Serve) -> None:
    served = serve(trusted=["127.0.0.1"], request_rate=0.001, request_burst=3)
    one = served.connect()
    statuses = [one.get("/", "X-Forwarded-For: 203.0.113.7").status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert one.at_end()
    assert served.get("/", "X-Forwarded-For: 203.0.113.8").status == 200
    assert served.get("/nothing", "X-Forwarded-For: 203.0.113.7").status == 429
    assert served.get("/health", "X-Forwarded-For: 203.0.113.7").status == 200


def test_an_exempt_address_may_ask_for_more(serve: Serve) -> None:
    served = serve(request_rate=0.001, request_burst=1, is_exempt=lambda host: host == "127.0.0.1")
    client = served.connect()
    assert [client.get("/").status for _ in range(5)] == [200] * 5


def test_a_crowd_is_refused_with_a_reason(serve: Serve) -> None:
    served = serve(connections={"max_connections": 1})
    served.connect().get("/")
    answer = served.connect().answer()
    assert (answer.status, answer.json["detail"]) == (429, "too many connections to this server")


def test_a_proxy_header_names_the_client_of_a_connection(serve: Serve) -> None:
    served = serve(proxies=["127.0.0.1"], trusted=["127.0.0.1"])
    client = served.connect()
    client.send(b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n")
    # It is the client's connection now: what its headers claim is not believed.
    assert client.get("/who", "X-Forwarded-For: 8.8.8.8").body.startswith(b"203.0.113.9:4711 ")
    assert client.get("/who").body.startswith(b"203.0.113.9:4711 ")

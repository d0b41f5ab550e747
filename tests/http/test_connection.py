"""One web client on a served port: requests one after another, answers, ends."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import gevent
import pytest

from greenchat.http.answers import SECURITY
from greenchat.metrics import CONNECTIONS_CLOSED, CONNECTIONS_OPENED, HANDLER_ERRORS, HTTP_REQUESTS
from tests.http.support import Answer, Client, Served, wait_until

Serve = Callable[..., Served]

BOTH_WIRES = pytest.mark.parametrize("wire", ["plain", "tls"])


def is_safe(answer: Answer) -> bool:
    return all(answer.headers.get(name) == value for name, value in SECURITY)


# -- Keep-alive, HEAD, versions


@BOTH_WIRES
def test_a_connection_serves_many_requests(serve: Serve) -> None:
    client = serve().connect()
    for _ in range(3):
        answer = client.get("/")
        assert (answer.status, answer.body, answer.version) == (200, b"home", "HTTP/1.1")
        assert client.get("/echo", method="POST", body=b"abc").body == b"abc"


@BOTH_WIRES
def test_requests_that_come_at_once_are_answered_in_order(serve: Serve) -> None:
    client = serve().connect()
    for number in range(50):
        client.ask("/echo", method="POST", body=b"%d" % number)
    assert [client.answer().body for _ in range(50)] == [b"%d" % number for number in range(50)]


def test_a_request_may_come_byte_by_byte(serve: Serve) -> None:
    client = serve().connect()
    for byte in b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc":
        client.send(bytes([byte]))
    assert client.answer().body == b"abc"


def test_head_has_the_headers_of_get_and_no_body(serve: Serve) -> None:
    client = serve().connect()
    head, get = client.get("/", method="HEAD"), client.get("/")
    differing = {name for name in head.headers if head.headers[name] != get.headers[name]} - {"date"}
    assert (head.status, head.body, differing) == (200, b"", set())
    assert client.get("/nothing", method="HEAD").status == 404
    assert client.get("/").body == b"home"


def test_a_client_of_http_1_0_is_answered_and_closed(serve: Serve) -> None:
    client = serve().connect()
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    answer = client.answer()
    assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"home", "close")
    assert client.at_end()


def test_a_client_may_ask_for_the_end(serve: Serve) -> None:
    client = serve().connect()
    assert client.get("/", "Connection: close").headers["connection"] == "close"
    assert client.at_end()


def test_an_absolute_target_counts_before_the_host(serve: Serve) -> None:
    served = serve(hosts=["chat.example"])
    assert served.get("http://chat.example:80/who?x=1").body.endswith(b" http chat.example:80")
    assert served.get("http://evil.example/who").status == 421
    assert served.get("http://chat.example").body == b"home"


def test_options_tells_the_methods(serve: Serve) -> None:
    client = serve().connect()
    assert client.get("/", method="OPTIONS").headers["allow"] == "GET, HEAD, OPTIONS"
    assert client.get("*", method="OPTIONS").status == 204
    assert client.get("/echo", method="OPTIONS").headers["allow"] == "OPTIONS, POST"


# -- The table


def test_parameters_and_query_are_decoded(serve: Serve) -> None:
    answer = serve().get("/items/a%2Fb/%C3%A4?q=x+y%26&q=z&empty=", method="PUT")
    assert json.loads(answer.body) == [{"id": "a/b", "part": "ä"}, {"q": "z", "empty": ""}]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/who/", 404),
        ("GET", "//who", 404),
        ("GET", "/../who", 404),
        ("GET", "/x/../who", 404),
        ("GET", "/%2e%2e/who", 404),
        ("PUT", "/items/../x", 404),
        ("PUT", "/items/%2e%2e/x", 404),
        ("PUT", "/items//x", 404),
        ("POST", "/who", 405),
        ("DELETE", "/", 405),
        ("BREW", "/", 405),
        ("GET", "/%ff", 400),
        ("GET", "/?%ff=1", 400),
        ("GET", "who", 400),
        ("GET", "ftp://localhost/who", 400),
        ("GET", "/?" + "&".join(["a=1"] * 101), 400),
        ("GET", "/" + "x" * 9_000, 414),
        ("CONNECT", "localhost:80", 400),
    ],
)
def test_what_is_not_there_is_a_problem(serve: Serve, method: str, path: str, status: int) -> None:
    served = serve()
    answer = served.get(path, method=method)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"errno", "error", "detail"} <= answer.json.keys()
    assert is_safe(answer)
    assert served.get("/").status == 200


def test_405_tells_the_methods(serve: Serve) -> None:
    assert serve().get("/", method="DELETE").headers["allow"] == "GET, HEAD, OPTIONS"


# -- Bad input


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: user@localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Name: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            400,
        ),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3, 4\r\n\r\nabcd", 400),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1e3\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000001\r\n\r\n", 413),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 19 + b"\r\n\r\n", 413),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n", 400),
        (
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"POST /echo HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n", 400),
        (
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"f" * 21
            + b"\r\nabc",
            400,
        ),
        (
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;"
            + b"x" * 40_000
            + b"\r\na\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: a-miracle\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", 413),
        (b"POST /mine HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", 401),
    ],
)
def test_bad_input_is_answered_and_ends_the_connection(serve: Serve, data: bytes, status: int) -> None:
    served = serve()
    client = served.connect()
    client.send(data)
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert answer.headers["content-type"] == "application/problem+json"
    assert is_safe(answer)
    assert client.at_end()
    assert served.get("/").status == 200


def test_equal_lengths_count_as_one(serve: Serve) -> None:
    data = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"
    assert serve().raw(data).body == b"abc"


def test_chunks_are_put_together_and_trailers_dropped(serve: Serve) -> None:
    served = serve()
    chunked = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    client = served.connect()
    for _ in range(2):
        client.send(chunked + b"2;a=b\r\nab\r\n1\r\nc\r\n0\r\nTrailer: x\r\n\r\n")
        assert client.answer().body == b"abc"
    assert "trailer" not in served.rows.calls[-1].headers


def test_a_chunked_body_over_the_limit_is_not_read_on(serve: Serve) -> None:
    client = serve().connect()
    client.send(b"PUT /items/a/b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"65\r\n" + b"x" * 101 + b"\r\n")
    assert client.answer().status == 413
    assert client.at_end()


def test_a_client_that_sends_on_still_gets_the_answer(serve: Serve) -> None:
    client = serve().connect()
    client.send(b"PUT /items/a/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n")
    client.send(b"x" * 200_000)
    assert client.answer().status == 413


def test_a_body_is_waited_for_with_100_continue(serve: Serve) -> None:
    client = serve().connect()
    expects = "Expect: 100-continue\r\n"
    client.send(f"POST /echo HTTP/1.1\r\nHost: localhost\r\n{expects}Content-Length: 3\r\n\r\n".encode())
    assert client.answer().status == 100
    client.send(b"abc")
    assert client.answer().body == b"abc"
    client.send(f"POST /mine HTTP/1.1\r\nHost: localhost\r\n{expects}Content-Length: 3\r\n\r\n".encode())
    assert client.answer().status == 401  # and no 100 before it


# -- Time


def silence(client: Client) -> None:
    """Read to the end, which comes without an answer."""
    assert client.at_end()


def test_a_head_that_does_not_come_is_408(serve: Serve) -> None:
    client = serve(head_seconds=0.05).connect()
    client.send(b"GET / HTTP/1.1\r\nHost:")
    assert client.answer().status == 408
    assert client.at_end()


def test_a_body_that_does_not_come_is_408(serve: Serve) -> None:
    client = serve(head_seconds=0.05).connect()
    client.send(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
    assert client.answer().status == 408
    assert client.at_end()


def test_a_connection_without_a_request_ends_without_a_word(serve: Serve) -> None:
    silence(serve(first_seconds=0.05).connect())


def test_an_idle_connection_ends_without_a_word(serve: Serve) -> None:
    client = serve(idle_seconds=0.05).connect()
    assert client.get("/").status == 200
    silence(client)


def test_of_too_many_idle_connections_the_oldest_ends(serve: Serve) -> None:
    served = serve(max_idle=2)
    clients = []
    for kept in (1, 2, 2, 2):
        clients.append(served.connect())
        assert clients[-1].get("/").status == 200
        while served.http.idle != kept:
            gevent.sleep(0.001)
    silence(clients[0])
    silence(clients[1])
    assert [client.get("/").status for client in clients[2:]] == [200, 200]


def test_a_client_that_reads_nothing_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenchat.http.stream.PATIENCE", 0.05)
    served = serve()
    client = served.connect()
    for _ in range(3):
        client.ask("/large")
    wait_until(lambda: len(served.http) == 0)
    client.reset()


@BOTH_WIRES
def test_a_large_answer_is_whole(serve: Serve) -> None:
    client = serve().connect()
    assert client.get("/large").body == b"x" * 3_000_000
    assert client.get("/pieces").body == b"y" * 300_000
    assert client.get("/pieces", method="HEAD").headers["content-length"] == "300000"


# -- Ends


def test_a_bug_is_logged_and_tells_nothing(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served, before = serve(), HANDLER_ERRORS.value
    client = served.connect()
    answer = client.get("/bug")
    assert (answer.status, answer.json["errno"]) == (500, 13)
    assert b"secret" not in answer.body
    assert client.at_end()
    assert HANDLER_ERRORS.value == before + 1
    assert "ZeroDivisionError" in caplog.text
    assert served.get("/").status == 200


def test_clients_that_leave_at_any_moment_harm_nobody(serve: Serve) -> None:
    served = serve()
    data = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
    for end in range(0, len(data), 5):
        client = served.connect()
        client.send(data[:end])
        (client.reset if end % 2 else client.close)()
    wait_until(lambda: len(served.http) == 0)
    assert served.get("/").status == 200


def test_connections_are_counted(serve: Serve) -> None:
    served = serve()
    opened, closed = CONNECTIONS_OPENED.value, CONNECTIONS_CLOSED.value
    answered = HTTP_REQUESTS.values["2xx"], HTTP_REQUESTS.values["4xx"]
    client = served.connect()
    client.get("/")
    client.get("/nothing")
    assert (HTTP_REQUESTS.values["2xx"], HTTP_REQUESTS.values["4xx"]) == (answered[0] + 1, answered[1] + 1)
    assert len(served.http) == 1
    client.close()
    wait_until(lambda: len(served.http) == 0)
    wait_until(lambda: closed + 1 == CONNECTIONS_CLOSED.value)
    assert opened + 1 == CONNECTIONS_OPENED.value


def test_a_path_is_in_no_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        served = serve()
        served.get("/items/SECRETCODE/x?SECRETCODE", method="PUT")
        served.get("/SECRETCODE")
    assert "/items/{id}/{part}: 200" in caplog.text
    assert "SECRETCODE" not in caplog.text


@BOTH_WIRES
def test_at_the_end_idle_clients_go_and_answers_are_finished(serve: Serve) -> None:
    served = serve()
    idle, unused, busy = served.connect(), served.connect(), served.connect()
    assert idle.get("/").status == 200
    busy.ask("/slow")
    served.rows.began.wait()
    wait_until(lambda: served.http.idle == 2)
    served.http.drain()
    silence(idle)
    silence(unused)
    assert not served.http.wait_closed(0.01)
    served.rows.go.set()
    answer = busy.answer()
    assert (answer.body, answer.headers["connection"]) == (b"late", "close")
    assert busy.at_end()
    assert served.http.wait_closed(10)


def test_a_socket_may_leave_http(serve: Serve) -> None:
    served = serve()
    client = served.connect()
    client.ask("/over", "Upgrade: x", "Connection: upgrade")
    client.send(b"more")
    answer = client.answer()
    assert (answer.status, answer.headers["upgrade"]) == (101, "x")
    assert is_safe(answer)
    wait_until(lambda: bool(served.rows.taken) and len(served.http) == 0)
    taken = served.rows.taken[0]
    received = taken.received
    while len(received) < 4:
        try:
            received += taken.sock.recv(100)
        except BlockingIOError:
            wait_until(lambda: True)
    assert received == b"more"
    taken.sock.send(b"bye")
    taken.sock.close()
    assert client.until(b"bye") == b""

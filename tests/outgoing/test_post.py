"""One request to somebody's server, which may answer anything at all."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
import pytest
from gevent import socket
from gevent import ssl as gevent_ssl
from gevent.server import StreamServer

from greenchat.outgoing import post as module
from greenchat.outgoing.destination import parse
from greenchat.outgoing.post import Answer, NoAnswer, post
from tests.certificates import Authority, Pair

DEADLINE = 30.0


class Peer:
    """A server that says some bytes to each request, and remembers the requests."""

    def __init__(self, say: Callable[[socket.socket], None] | bytes) -> None:
        self.requests: list[bytes] = []
        self._say = say

    def serve(self, sock: socket.socket, address: object) -> None:
        with sock:
            data = b""
            while not data.endswith(b"{}"):
                more = sock.recv(65_536)
                if not more:
                    return
                data += more
            self.requests.append(data)
            if callable(self._say):
                self._say(sock)
            else:
                sock.sendall(self._say)


@contextmanager
def serving(say: Callable[[socket.socket], None] | bytes, **tls: object) -> Iterator[tuple[Peer, int]]:
    peer = Peer(say)
    server = StreamServer(("127.0.0.1", 0), peer.serve, **tls)
    server.start()
    try:
        with gevent.Timeout(DEADLINE):
            yield peer, server.server_port
    finally:
        server.stop(timeout=1)


def send(port: int, url: str = "http://example.org:{}/x?y=1", tls: ssl.SSLContext | None = None) -> Answer:
    return post(parse(url.format(port), allow_http=True), ["127.0.0.1"], {"webhook-id": "g1-2"}, b"{}", tls)


def test_the_request_goes_to_the_address_with_the_name_in_the_host_header() -> None:
    with serving(b"HTTP/1.1 204 No Content\r\n\r\n") as (peer, port):
        assert send(port) == Answer(204, None)
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /x?y=1 HTTP/1.1"
    assert f"Host: example.org:{port}" in lines
    assert {"Content-Type: application/json", "Content-Length: 2", "webhook-id: g1-2"} <= set(lines)
    assert body == b"{}"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Answer(200, None)),
        (b"HTTP/1.0 200 OK\r\n\r\n", Answer(200, None)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", Answer(500, None)),
        (b"HTTP/1.1 429 No\r\nRetry-After: 7\r\n\r\n", Answer(429, 7.0)),
        (b"HTTP/1.1 503 No\r\nRetry-After: Fri, 31 Dec 2027 23:59:59 GMT\r\n\r\n", Answer(503, None)),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", Answer(302, None)),
        # The status counts, whatever follows it.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut off", Answer(200, None)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense", Answer(200, None)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 200_000, Answer(200, None)),
    ],
)
def test_the_status_is_the_answer(said: bytes, answer: Answer) -> None:
    with serving(said) as (_, port):
        assert send(port) == answer


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 200", "closed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 103 Hints\r\n\r\n" * 1_000, "informational"),
    ],
)
def test_what_is_no_answer_is_told(said: bytes, reason: str) -> None:
    with serving(said) as (_, port), pytest.raises(NoAnswer, match=reason):
        send(port)


def test_an_endless_body_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST", 0.2)

    def drip(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        sock.recv(1)  # until the client goes

    with serving(drip) as (_, port):
        assert send(port) == Answer(200, None)


def test_an_answer_counts_though_the_time_ends_in_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOTAL", 2.0)
    monkeypatch.setattr(module, "REST", DEADLINE)

    def drip(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        gevent.sleep(2.5)  # beyond the limit, which is what is tested

    with serving(drip) as (_, port):
        assert send(port) == Answer(200, None)


class Flood:
    """The socket of a server that says more at once, whenever it is read: no read has to wait."""

    def __init__(self, *said: bytes) -> None:
        self._said = list(said)

    def setsockopt(self, *option: int) -> None:
        pass

    def settimeout(self, seconds: float | None) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        pass

    def recv(self, size: int) -> bytes:
        return self._said.pop(0) if self._said else b""

    def close(self) -> None:
        pass


def test_a_server_that_says_more_at_once_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    flood = Flood(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 100)
    monkeypatch.setattr(socket, "create_connection", lambda *_: flood)
    other = gevent.spawn(lambda: None)
    assert send(80) == Answer(200, None)
    assert other.ready()


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOTAL", 0.2)
    with serving(lambda sock: sock.recv(1) and None) as (_, port), pytest.raises(NoAnswer, match="within"):
        send(port)


def test_a_port_where_nobody_listens_is_told() -> None:
    with serving(b"") as (_, port):
        pass
    with pytest.raises(NoAnswer, match="connection failed"):
        send(port)


def test_the_next_address_is_tried() -> None:
    with serving(b"HTTP/1.1 204 No Content\r\n\r\n") as (_, port):
        destination = parse(f"http://example.org:{port}/", allow_http=True)
        assert post(destination, ["127.0.0.2", "127.0.0.1"], {}, b"{}").status == 204


# -- TLS


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    context: ssl.SSLContext = gevent_ssl.SSLContext(gevent_ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.cert)
    return context


def served(pair: Pair, names: list[str | None]) -> dict[str, object]:
    context = gevent_ssl.SSLContext(gevent_ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    context.sni_callback = lambda sock, name, context: names.append(name)
    return {"ssl_context": context}


def test_tls_checks_the_name_though_the_address_is_pinned(
    authority: Authority, trusting: ssl.SSLContext
) -> None:
    names: list[str | None] = []
    pair = authority.issue("hooks", names="DNS:hooks.example")
    with serving(b"HTTP/1.1 204 No Content\r\n\r\n", **served(pair, names)) as (_, port):
        assert send(port, "https://hooks.example:{}/", trusting).status == 204
        with pytest.raises(NoAnswer, match=r"TLS: .*other\.example"):
            send(port, "https://other.example:{}/", trusting)
    assert names == ["hooks.example", "other.example"]


def test_a_certificate_of_an_unknown_authority_is_refused(certificate: Pair) -> None:
    with serving(b"", **served(certificate, [])) as (peer, port), pytest.raises(NoAnswer, match="TLS: "):
        send(port, "https://localhost:{}/")
    assert peer.requests == []


def test_plain_text_behind_an_https_url_is_told(trusting: ssl.SSLContext) -> None:
    server = StreamServer(("127.0.0.1", 0), lambda sock, address: sock.sendall(b"220 smtp ready\r\n"))
    server.start()
    with pytest.raises(NoAnswer, match="TLS: "):
        send(server.server_port, "https://localhost:{}/", trusting)
    server.stop(timeout=1)

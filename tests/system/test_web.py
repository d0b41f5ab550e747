"""The web port of real servers, by itself and behind real nginx and HAProxy with the files of ``conf/``."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, Protocol

import pytest

from lab.servers.haproxy import CONF as HAPROXY_CONF
from lab.servers.haproxy import HaProxy
from lab.servers.nginx import WEB_CONF, Front, Nginx
from lab.servers.program import find, free_port
from tests.certificates import Authority, Pair
from tests.servers import need
from tests.system.server import DEADLINE, Client, Server, run
from tests.websocket import Frame, masked, read

Start = Callable[..., Server]

HOST = "127.0.0.1"
WEB = ("--web", f"{HOST}:0")

CLIENT, OTHER = "127.0.0.5", "127.0.0.6"
"""Addresses of clients, of which nothing is exempt."""

TEXT, CLOSE, PING = 1, 8, 9

LIMITED = ("--proxy-from", HOST, "--exempt", HOST, "--max-connections-per-address", 2)


class WebSocket:
    """A WebSocket client on a socket of its own.

    Args:
        port: where to.
        source: its own address.
        headers: more of the request.
    """

    def __init__(self, port: int, source: str = HOST, headers: str = "") -> None:
        self.sock = socket.create_connection((HOST, port), DEADLINE, (source, 0))
        key = b64encode(os.urandom(16)).decode()
        self.sock.sendall(
            f"GET /ws HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.sock.recv(65_536)
            assert data, head
            head += data
        head, _, self._buffer = head.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ")[1])
        self._frames: list[Frame] = []

    def send(self, **fields: object) -> None:
        self.sock.sendall(masked(1, json.dumps(fields).encode()))

    def next(self) -> Frame:
        """Return the next frame that is no ping."""
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame.opcode != PING:
                    return frame
            data = self.sock.recv(65_536)
            assert data, "the server has closed"
            self._frames, self._buffer = read(self._buffer + data)

    def wait(self, **fields: object) -> dict[str, Any]:
        """Return the next object that has these fields."""
        while True:
            frame = self.next()
            found = dict(json.loads(frame.payload)) if frame.opcode == TEXT else {}
            if fields.items() <= found.items():
                return found

    def enter(self, name: str) -> None:
        """Register, and log in."""
        self.send(msgid=4, name=name, password="pw", cid="r")
        assert self.wait(cid="r")["errno"] == 0
        self.send(msgid=1, name=name, password="pw", cid="l")
        assert self.wait(cid="l")["errno"] == 0


class Proxy(Protocol):
    """A program in front of servers."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Way(NamedTuple):
    """A way to servers through a proxy."""

    port: int
    proxy: Proxy
    log: Path


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    """Return status and body of an answer."""
    request = urllib.request.Request(f"http://localhost:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def wait_for(true: Callable[[], bool]) -> None:
    until = monotonic() + 2 * DEADLINE
    while not true():
        assert monotonic() < until
        sleep(0.02)


# -- By itself


def test_the_ready_line_names_the_web_port_and_the_page_tells_how_to_connect(start: Start) -> None:
    server = start(*WEB)
    assert server.ready.endswith(f"\nweb client: http://{HOST}:{server.web}\n")
    status, page = get(server.web, "/")
    assert status == 200
    assert b"python -m greenchat.client" in page
    assert get(server.web, "/health") == get(server.web, "/ready") == (200, b"ok\n")


def test_by_default_there_is_no_web_port(start: Start) -> None:
    assert start().web == 0


def test_a_port_that_browsers_refuse_is_refused(tmp_path: Path) -> None:
    status, out, err = run("0", "--web", f"{HOST}:6000", folder=tmp_path)
    assert (status, out) == (2, "")
    assert err.startswith("greenchat: web: browsers refuse port 6000 ")


def test_a_web_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        status, _, err = run("0", "--web", f"{HOST}:{port}", folder=tmp_path)
    assert (status, err) == (1, f"greenchat: cannot listen on {HOST}:{port}: Address already in use\n")


def test_a_browser_and_a_terminal_talk(start: Start) -> None:
    server = start(*WEB)
    with Client(server) as bob:
        bob.done(4, name="bob", password="pw")
        bob.login(name="bob", password="pw")
        ann = WebSocket(server.web, headers=f"Origin: http://localhost:{server.web}\r\n")
        ann.enter("ann")
        ann.send(msgid=6, toid=bob.id, msg="from the web", cid="c")
        assert ann.wait(cid="c")["errno"] == 0
        assert bob.wait(msgid=6)["msg"] == "from the web"
        bob.done(6, toid=2, msg="from a terminal")
        assert ann.wait(msgid=6)["msg"] == "from a terminal"
        ann.sock.close()


def test_the_metrics_show_the_web(start: Start) -> None:
    admin = free_port()
    server = start(*WEB, "--admin", f"{HOST}:{admin}")
    ann = WebSocket(server.web)
    ann.enter("ann")
    assert get(server.web, "/nothing")[0] == 404
    shown = get(admin, "/metrics")[1].decode().splitlines()
    for line in (
        'connections{listener="tcp",state="logged_in"} 0.0',
        'connections{listener="web",state="logged_in"} 1.0',
        'http_requests_total{status="1xx"} 1.0',
        'http_requests_total{status="4xx"} 1.0',
        'http_requests_total{status="5xx"} 0.0',
    ):
        assert f"greenchat_{line}" in shown


def test_a_page_of_another_site_opens_no_websocket(start: Start) -> None:
    server = start(*WEB)
    for origin in ("https://evil.example", "null"):
        assert WebSocket(server.web, headers=f"Origin: {origin}\r\n").status == 403


def test_a_server_that_stops_says_so_and_ends_all_of_its_web_clients(start: Start) -> None:
    server = start(*WEB)
    ann = WebSocket(server.web)
    ann.enter("ann")
    idle = socket.create_connection((HOST, server.web), DEADLINE)
    idle.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert idle.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert server.stop() == 0
    assert ann.wait(msgid=24)["reason"] == "shutdown"
    frame = ann.next()
    assert (frame.opcode, frame.code) == (CLOSE, 1012)
    assert idle.recv(1) == b""


def test_with_a_certificate_it_speaks_https(start: Start, certificate: Pair, authority: Authority) -> None:
    server = start(*WEB, "--tls-cert", certificate.cert, "--tls-key", certificate.key)
    assert f"web client: https://{HOST}:" in server.ready
    context = ssl.create_default_context(cafile=authority.cert)
    url = f"https://localhost:{server.web}/health"
    with urllib.request.urlopen(url, timeout=DEADLINE, context=context) as answer:
        assert answer.read() == b"ok\n"


def test_a_proxy_header_is_read_where_it_is_expected(start: Start) -> None:
    server = start(*WEB, "--web-proxy-protocol")
    with socket.create_connection((HOST, server.web), DEADLINE) as sock:
        sock.sendall(b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\nGET /ready HTTP/1.0\r\n\r\n")
        assert b"\r\n\r\nok\n" in sock.makefile("rb").read()


# -- Behind proxies


def behind_nginx(folder: Path, servers: list[Server]) -> Way:
    need("nginx")
    port = free_port()
    web = Front(port, [server.web for server in servers])
    nginx = Nginx(folder, [server.port for server in servers], free_port(), web)
    return Way(port, nginx, nginx.web_log)


def behind_haproxy(folder: Path, servers: list[Server]) -> Way:
    need("haproxy")
    port = free_port()
    proxy = HaProxy(folder, [(server.port, server.web) for server in servers], free_port(), port)
    return Way(port, proxy, folder / "log")


WAYS = {"nginx": behind_nginx, "haproxy": behind_haproxy}


@pytest.fixture(params=WAYS)
def pass_through(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Way]]:
    """Start a proxy in front of servers; it ends with the test."""
    with ExitStack() as running:

        def begin(*servers: Server) -> Way:
            folder = tmp_path / "proxy"
            folder.mkdir()
            way = WAYS[request.param](folder, list(servers))
            running.callback(way.proxy.stop)
            way.proxy.start()
            wait_for(lambda: get(way.port, "/ready")[0] == 200)
            return way

        yield begin


PassThrough = Callable[..., Way]


def test_through_a_proxy_people_talk_and_limits_hold_for_each(
    start: Start, pass_through: PassThrough
) -> None:
    server = start(*WEB, *LIMITED, "--proxy-protocol")
    way = pass_through(server)
    ann, bob = WebSocket(way.port, CLIENT), WebSocket(way.port, CLIENT)
    ann.enter("ann")
    bob.enter("bob")
    ann.send(msgid=6, toid=2, msg="hello", cid="c")
    assert bob.wait(msgid=6)["msg"] == "hello"
    # One address has two connections, whatever it claims; another one has its own.
    assert WebSocket(way.port, CLIENT).status == 429
    for lie in (f"X-Forwarded-For: {OTHER}", f"Forwarded: for={OTHER}", f"X-Forwarded-For: {HOST}"):
        assert WebSocket(way.port, CLIENT, headers=f"{lie}\r\n").status == 429
    assert WebSocket(way.port, OTHER).status == 101
    assert get(way.port, "/")[0] == 200
    ann.sock.close()
    wait_for(lambda: f" {CLIENT}:0 user=1 ended: " in server.log.read_text())
    wait_for(lambda: WebSocket(way.port, CLIENT).status == 101)


def test_the_code_of_a_hook_is_in_no_log_of_a_proxy(start: Start, pass_through: PassThrough) -> None:
    server = start(*WEB, "--proxy-protocol")
    way = pass_through(server)
    assert get(way.port, "/hooks/SECRETCODE?SECRETCODE")[0] in (404, 405)
    assert get(way.port, "/?SECRETCODE")[0] == 200
    server.kill()
    assert get(way.port, "/hooks/SECRETCODE")[0] in (502, 503)
    wait_for(lambda: way.log.read_text().count("/hooks/...") >= 2)
    for log in way.log.parent.iterdir():
        if log.is_file() and log.suffix != ".cfg":
            assert "SECRETCODE" not in log.read_text(errors="replace"), log.name


def test_a_server_that_died_is_passed_over(start: Start, pass_through: PassThrough) -> None:
    servers = [start(*WEB, "--proxy-protocol") for _ in range(2)]
    way = pass_through(*servers)
    servers[0].kill()
    wait_for(lambda: all(get(way.port, "/health")[0] == 200 for _ in range(4)))
    ann = WebSocket(way.port)
    ann.enter("ann")
    assert servers[1].stop() == 0
    assert ann.wait(msgid=24)["reason"] == "shutdown"


@pytest.mark.parametrize("name", WAYS)
def test_the_files_are_accepted_as_they_are(tmp_path: Path, name: str) -> None:
    need(name)
    if name == "haproxy":
        command: list[str | Path] = [find("haproxy"), "-c", "-q", "-f", HAPROXY_CONF]
    else:
        text = f"events {{}}\npid {tmp_path}/pid;\nhttp {{ include {WEB_CONF}; }}\n"
        (tmp_path / "nginx.conf").write_text(text)
        command = [find("nginx"), "-t", "-q", "-e", "stderr", "-p", tmp_path, "-c", tmp_path / "nginx.conf"]
    assert subprocess.run(command, check=False, timeout=DEADLINE).returncode == 0

"""A server behind proxies: the log has the clients' addresses, and nobody gets past the proxies."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import pytest

from greenchat.protocol.proxy import SIGNATURE
from tests.certificates import Authority, Pair
from tests.system.server import DEADLINE, Client, Server

Start = Callable[..., Server]

LINE = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 6000\r\n"
BINARY = SIGNATURE + b"\x21\x11" + (12).to_bytes(2) + bytes([192, 0, 2, 8, 10, 0, 0, 1, 0xDC, 4, 0x17, 0x70])

FAILED = r"INFO greenchat\.network\.connection: \S+ user=- ended: (bad|no|not) [\w (),-]+ after \d+\.\d s"
"""A line of the log about a connection that did not get as far as a frame."""

NGINX = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
stream {{
    {tls}
    server {{ listen 127.0.0.1:{port} {ssl}; proxy_pass 127.0.0.1:{backend}; proxy_protocol on; }}
}}
"""

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx") is None and os.environ.get("CI") != "true",
    reason="no nginx: scripts/test installs it",
)


def ends(server: Server) -> list[tuple[str, str, str]]:
    """Return address, user and reason of the connections that have ended, after the log."""
    return re.findall(r": (\S+) user=(\S+) ended: (.*) after ", server.log.read_text())


def wait_for_ends(server: Server, count: int) -> list[tuple[str, str, str]]:
    server.wait_for_log(" ended: ", count)
    return ends(server)


def closed(client: Client) -> bool:
    """Say that the server closed, without a word."""
    return client.ended() == []


def test_clients_of_proxies_are_served_and_logged_under_their_own_addresses(start: Start) -> None:
    server = start("--proxy-protocol")
    with Client(server) as ann, Client(server) as bob:
        ann.write(LINE)
        bob.write(BINARY)
        ann.done(4, name="ann", password="pw")
        ann.login(name="ann", password="pw")
        bob.done(4, name="bob", password="pw")
        bob.login(name="bob", password="pw")
        ann.done(6, toid=bob.id, msg="hi")
        assert bob.wait(msgid=6)["msg"] == "hi"
    assert sorted(wait_for_ends(server, 2)) == [
        ("192.0.2.7:56324", "1", "closed by peer"),
        ("192.0.2.8:56324", "2", "closed by peer"),
    ]


def test_a_classic_client_behind_a_proxy_logs_in(start: Start) -> None:
    server = start("--proxy-protocol")
    with Client(server, terminator=b"\0") as client:
        client.write(LINE + b'{"msgid":4,"name":"ann","password":"pw"}\0')
        assert client.read()["errno"] == 0


def test_who_comes_past_the_proxy_is_closed(start: Start) -> None:
    server = start("--proxy-protocol", "--proxy-from", "192.0.2.1, fd00::/8", expected=(FAILED,))
    with Client(server) as client:
        assert closed(client)
    ((_, user, reason),) = wait_for_ends(server, 1)
    assert (user, reason) == ("-", "not in proxy-from")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"msgid":12}\n', "bad PROXY header (there is none)"),
        (b"PROXY TCP4 1.2.3.4\r\n", "bad PROXY header (the line is neither TCP4, TCP6 nor UNKNOWN)"),
        (b"PROXY TCP4 192.0.2.7", "no PROXY header in time"),
        (b"", "no PROXY header in time"),
    ],
)
def test_what_does_not_begin_with_a_header_is_closed(start: Start, data: bytes, reason: str) -> None:
    server = start("--proxy-protocol", "--login-timeout", 0.3, calm=False, expected=(FAILED,))
    with Client(server) as client:
        client.write(data)
        assert closed(client)
    ((_, _, said),) = wait_for_ends(server, 1)
    assert said == reason


def test_a_header_that_nobody_asked_for_is_a_bad_frame(start: Start) -> None:
    with Client(start()) as client:
        client.write(LINE)
        assert client.read()["msgid"] == 14
        assert client.ask(12)["msgid"] == 12


class Front(NamedTuple):
    """A server behind nginx."""

    server: Server
    port: int
    """That of nginx."""
    context: ssl.SSLContext | None
    """For TLS with nginx."""


@pytest.fixture(params=["plain", "tls"])
def front(
    request: pytest.FixtureRequest, start: Start, tmp_path: Path, certificate: Pair, authority: Authority
) -> Iterator[Front]:
    context, tls = None, ""
    if request.param == "tls":
        context = ssl.create_default_context(cafile=authority.cert)
        tls = f"ssl_certificate {certificate.cert}; ssl_certificate_key {certificate.key};"
    server = start("--proxy-protocol")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path / "nginx"
    folder.mkdir()
    (folder / "nginx.conf").write_text(
        NGINX.format(port=port, backend=server.port, ssl=tls and "ssl", tls=tls)
    )
    nginx = subprocess.Popen(
        ["nginx", "-p", str(folder), "-c", "nginx.conf"], stderr=(folder / "log").open("wb")
    )
    try:
        yield Front(server, port, context)
    finally:
        nginx.terminate()
        nginx.wait(DEADLINE)


def connect_from(source: str, port: int) -> socket.socket:
    """Connect as soon as somebody listens."""
    until = monotonic() + DEADLINE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), DEADLINE, (source, 0))
        except ConnectionRefusedError:
            if monotonic() > until:
                raise
            select.select([], [], [], 0.02)


@needs_nginx
def test_behind_nginx_the_clients_address_is_known(front: Front) -> None:
    sock = connect_from("127.0.0.9", front.port)
    mine = sock.getsockname()[1]
    if front.context:
        sock = front.context.wrap_socket(sock, server_hostname="localhost")
    with sock, sock.makefile("rb") as lines:
        sock.sendall(b'{"msgid":4,"name":"ann","password":"pw"}\n')
        reply: dict[str, Any] = json.loads(lines.readline())
        assert reply["errno"] == 0
    assert wait_for_ends(front.server, 1) == [(f"127.0.0.9:{mine}", "-", "closed by peer")]

"""A page on ``/ws``: its cookie logs it in, and no script sees a token."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.servers.program import free_port
from tests.system.rest import DEADLINE, Caller
from tests.system.server import Server, join
from tests.websocket import TEXT, masked, read

Start = Callable[..., Server]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Page:
    """A WebSocket from a page."""

    def __init__(self, port: int, **headers: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        lines = [
            "GET /ws HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: Upgrade", "Upgrade: websocket",
            f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]  # fmt: skip
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self._rest = b""
        while b"\r\n\r\n" not in self._rest:
            self._rest += self.sock.recv(65_536)
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])

    def ask(self, **fields: Any) -> dict[str, Any]:
        """Send a request and return its answer."""
        self.sock.sendall(masked(TEXT, json.dumps(fields | {"cid": "q"}).encode()))
        while True:
            frames, self._rest = read(self._rest)
            for frame in frames:
                answer: dict[str, Any] = json.loads(frame.payload)
                if answer.get("cid") == "q":
                    return answer
            data = self.sock.recv(65_536)
            assert data, "the connection has ended"
            self._rest += data


@pytest.fixture
def opened(start: Start) -> Iterator[Callable[..., Page]]:
    """Open WebSockets of pages with a cookie of Ann's."""
    port = free_port()
    server = start("--web", f"127.0.0.1:{port}")
    ann = join(server, "ann")
    name, value = Caller(port).begin("ann", "web")
    pages: list[Page] = []

    def opened(origin: str | None = f"http://127.0.0.1:{port}", cookie: str = f"{name}={value}") -> Page:
        headers = {"Origin": origin} if origin else {}
        pages.append(Page(port, **headers, **({"Cookie": cookie} if cookie else {})))
        return pages[-1]

    yield opened
    ann.sock.close()
    for page in pages:
        page.sock.close()


def test_a_cookie_logs_a_page_in_without_showing_a_token(opened: Callable[..., Page]) -> None:
    page = opened()
    ack = page.ask(msgid=1, force=True)
    assert (ack["errno"], ack["name"], "token" in ack) == (0, "ann", False)
    changed = page.ask(msgid=28, old="pw", new="better")
    assert (changed["errno"], "token" in changed) == (0, False)
    assert opened().ask(msgid=1, force=True)["errno"] == 1  # the change has ended the cookie's token


def test_a_page_with_a_cookie_gives_no_other_proof(opened: Callable[..., Page]) -> None:
    page = opened()
    assert page.ask(msgid=1, name="ann", password="pw")["errno"] == 3
    assert page.ask(msgid=1)["errno"] == 0


def test_who_opens_it_is_checked(opened: Callable[..., Page]) -> None:
    assert opened(origin="http://evil.example").status == 403
    assert opened(origin="null").status == 403
    assert opened(origin=None).status == 403
    program = opened(origin=None, cookie="")
    assert program.status == 101
    assert program.ask(msgid=1)["errno"] == 3
    assert "token" in program.ask(msgid=1, name="ann", password="pw", device="bot")

"""WebSocket clients that others have written against the real server: a library, npm's ``ws``, Chromium."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from lab.servers.program import free_port
from lab.websocket import CLOSE, PING, frames_in, masked, upgrade_request
from tests.system.server import Server, join

Start = Callable[..., Server]

DEADLINE = 60.0

PEERS = Path(__file__).parent / "peers"

WS = Path(sys.prefix) / "tests/system/peers"
"""Where ``scripts/test`` puts npm's package, beside the scripts of ``PEERS``."""

PING_AFTER = 0.3
"""Seconds of silence after which the server pings; a client without pongs is evicted after 1.8 seconds."""

SILENCE = 3.0
"""Seconds for which a peer says nothing."""

TEXT = "grüße 🎉 " * 500
"""A text with a long length field, and characters of all sizes."""

TERMS = {"interval": PING_AFTER, "max_missed": 5, "by": "server"}

needs_ws = pytest.mark.skipif(
    not (WS / "node_modules/ws").exists() or not shutil.which("node"),
    reason="no ws: scripts/test installs it",
)
needs_chromium = pytest.mark.skipif(
    not shutil.which("chromium"), reason="no Chromium: scripts/test installs it"
)


class Site:
    """A server for web clients, with Bob on TCP, who answers the first message."""

    def __init__(self, start: Start, *options: object) -> None:
        self.server = start("--web", "127.0.0.1:0", "--websocket-ping", PING_AFTER, *options)
        self.url = f"ws://127.0.0.1:{self.server.web}/ws"
        self.bob = join(self.server, "Bob")
        self.heard: list[str] = []
        self.peers = ExitStack()
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def answer(self) -> None:
        """Have Bob wait for a message, and answer it."""
        self._thread.start()

    def _answer(self) -> None:
        message = self.bob.wait(msgid=6)
        self.heard.append(message["msg"])
        self.bob.done(6, toid=message["id"], msg="Hello, peer!")

    def parameters(self, name: str) -> str:
        """Return what ``talk.mjs`` has to know; Bob waits for its message."""
        self.answer()
        about = {"url": self.url, "name": name, "peer": self.bob.id, "text": TEXT, "silence": 1000 * SILENCE}
        return json.dumps(about)

    def check(self, seen: dict[str, Any]) -> None:
        """Check what ``talk.mjs`` has seen."""
        self._thread.join(DEADLINE)
        assert "error" not in seen or isinstance(seen["error"], list), seen
        assert self.heard == [TEXT]
        assert seen["heartbeat"] == TERMS
        assert (seen["ack"]["errno"], seen["ack"]["seq"], seen["answer"]) == (0, 1, "Hello, peer!")
        assert seen["echo"]["msgid"] == 12
        assert seen["extensions"] == ""
        assert seen["refused"]["code"] == 1003
        assert [frame["msgid"] for frame in seen["error"]] == [14, 24]
        assert seen["bye"]["reason"] == "replaced"
        assert (seen["replaced"]["code"], seen["replaced"]["clean"]) == (4001, True)
        assert (seen["closed"]["code"], seen["closed"]["clean"]) == (1000, True)


@needs_ws
def test_ws_of_npm(start: Start) -> None:
    site = Site(start)
    done = subprocess.run(
        ["node", "node.mjs", site.parameters("Node")],
        cwd=WS,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    site.check(json.loads(done.stdout))


@needs_chromium
def test_chromium(start: Start, tmp_path: Path) -> None:
    with a_page() as (port, seen):
        site = Site(start, "--web-origins", f"http://127.0.0.1:{port}")
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            f"--user-data-dir={tmp_path / 'profile'}",
        ]
        page = f"http://127.0.0.1:{port}/page.html#{quote(site.parameters('Browser'))}"
        with (tmp_path / "chromium.log").open("wb") as log:
            chromium = subprocess.Popen(["chromium", *options, page], stdout=log, stderr=log)
        try:
            site.check(seen.get(timeout=DEADLINE))
        finally:
            chromium.kill()
            chromium.wait(DEADLINE)


@contextmanager
def a_page() -> Iterator[tuple[int, Queue[dict[str, Any]]]]:
    """Serve the page of ``PEERS``; yields the port, and what the page reports."""
    seen: Queue[dict[str, Any]] = Queue()

    class Handler(SimpleHTTPRequestHandler):
        extensions_map = {".mjs": "text/javascript", ".html": "text/html"}

        def do_POST(self) -> None:
            seen.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), partial(Handler, directory=str(PEERS)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -- The library "websockets"


class Peer:
    """A client of that library."""

    def __init__(self, site: Site) -> None:
        opened = connect(site.url, open_timeout=DEADLINE, close_timeout=DEADLINE)
        self.socket: ClientConnection = site.peers.enter_context(opened)
        self._frames: list[dict[str, Any]] = []

    def ask(self, reply: int, **message: object) -> dict[str, Any]:
        """Send a request and return the next message with the msgid of its reply."""
        self.socket.send(json.dumps(message))
        return self.next(reply)

    def next(self, msgid: int) -> dict[str, Any]:
        while True:
            frame: dict[str, Any] = json.loads(self.socket.recv(timeout=DEADLINE))
            if frame["msgid"] == msgid:
                return frame

    def rest(self) -> tuple[list[dict[str, Any]], int]:
        """Read to the end; return the messages, and the code of the close."""
        frames = []
        try:
            while True:
                frames.append(json.loads(self.socket.recv(timeout=DEADLINE)))
        except ConnectionClosed as closed:
            return frames, closed.rcvd.code if closed.rcvd else 0


@pytest.fixture
def site(start: Start) -> Iterator[Site]:
    site = Site(start)
    with site.peers:
        yield site


def logged_in(site: Site, name: str = "Library") -> tuple[Peer, int]:
    peer = Peer(site)
    id = peer.ask(5, msgid=4, name=name, password="pw")["id"]
    assert peer.ask(2, msgid=1, id=id, password="pw")["heartbeat"] == TERMS
    return peer, id


def test_the_library_talks_in_fragments_pings_and_is_pinged(site: Site) -> None:
    site.answer()
    peer, _ = logged_in(site)
    assert peer.socket.protocol.extensions == []
    message = json.dumps({"msgid": 6, "toid": site.bob.id, "msg": TEXT}, ensure_ascii=False)
    peer.socket.send(message[at : at + 700] for at in range(0, len(message), 700))
    assert peer.next(11)["seq"] == 1
    assert peer.next(6)["msg"] == "Hello, peer!"
    assert peer.socket.ping("there?").wait(DEADLINE)
    threading.Event().wait(SILENCE)
    assert peer.ask(12, msgid=12)
    peer.socket.close(3000, "done")
    assert peer.socket.close_code == 3000
    assert site.heard == [TEXT]


def test_the_library_is_told_what_is_not_taken(site: Site) -> None:
    for sent, code, error in ((b"binary", 1003, "bad_request"), ("x" * 65_537, 1009, "too_large")):
        peer = Peer(site)
        peer.socket.send(sent)
        frames, closed = peer.rest()
        assert [frame["msgid"] for frame in frames] == [14, 24]
        assert (frames[0]["error"], frames[1]["reason"], closed) == (error, "protocol", code)
    peer = Peer(site)
    for _ in range(10):
        peer.socket.send("[]")
    frames, closed = peer.rest()
    assert [frame["msgid"] for frame in frames] == [14] * 10 + [24]
    assert closed == 1008, "ten messages that are no requests"


def test_a_client_that_is_logged_in_elsewhere_is_replaced_and_at_a_stop_told_to_come_back(site: Site) -> None:
    peer, id = logged_in(site)
    other = Peer(site)
    assert other.ask(2, msgid=1, id=id, password="pw")["errno"] == 2
    assert other.ask(2, msgid=1, id=id, password="pw", force=True)["errno"] == 0
    frames, code = peer.rest()
    assert (frames[-1]["reason"], code) == ("replaced", 4001)
    assert site.server.stop() == 0
    frames, code = other.rest()
    assert (frames[-1]["msgid"], frames[-1]["reason"], code) == (24, "shutdown", 1012)
    assert frames[-1]["retry_after"] >= 0


def test_a_client_without_pongs_is_evicted_after_five_pings(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.server.web), DEADLINE) as client:
        client.sendall(upgrade_request())
        login = [
            {"msgid": 4, "name": "Silent", "password": "pw"},
            {"msgid": 1, "name": "Silent", "password": "pw"},
        ]
        client.sendall(b"".join(masked(json.dumps(message).encode()) for message in login))
        said = b""
        while data := client.recv(65_536):
            said += data
    frames, rest = frames_in(said.partition(b"\r\n\r\n")[2])
    *_, bye, close = frames
    assert [opcode for opcode, _ in frames].count(PING) == 5
    assert json.loads(bye[1]) == {"msgid": 24, "reason": "evicted"}
    assert (close[0], close[1][:2], rest) == (CLOSE, (4002).to_bytes(2, "big"), b"")

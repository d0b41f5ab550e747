"""The wire of docs/architecture/add-a-wire.md, with the code of that page in a real server."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab import ROOT
from lab.servers.program import free_port
from tests.system.server import DEADLINE, Client, Server

PAGE = (ROOT / "docs/architecture/add-a-wire.md").read_text(encoding="utf-8")

CODE = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S))

ADDED = """
from greenchat.server import ports as table

before = table.ports
table.ports = lambda settings: [*before(settings), ROW._replace(address=("127.0.0.1", {port}))]
"""
"""Run by Python before the server: the table has the page's row too."""


class Nc:
    """Somebody with ``nc`` who types netstrings."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self._unread = b""

    def say(self, text: str) -> None:
        self.write(b"%d:%b," % (len(text), text.encode()))

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def hear(self) -> str:
        """Return the next text; "" at the end of the stream."""
        while True:
            size, colon, rest = self._unread.partition(b":")
            if colon and len(rest) > int(size):
                assert rest[int(size) :][:1] == b","
                self._unread = rest[int(size) + 1 :]
                return rest[: int(size)].decode()
            data = self._socket.recv(4_096)
            if not data:
                return ""
            self._unread += data

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def nc(tmp_path: Path, start: Callable[..., Server]) -> Iterator[tuple[Server, Callable[[], Nc]]]:
    """A server with the page's wire beside its own, and a way to reach that."""
    port = free_port()
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "sitecustomize.py").write_text(CODE + ADDED.format(port=port))
    server = start(env={"PYTHONPATH": f"{plugin}:{ROOT}"})
    people: list[Nc] = []

    def come() -> Nc:
        people.append(Nc(port))
        return people[-1]

    yield server, come
    for person in people:
        person.close()


def test_people_of_both_wires_talk_to_each_other(nc: tuple[Server, Callable[[], Nc]]) -> None:
    server, come = nc
    with Client(server) as ann:
        ids = [ann.ask(4, name=name, password="pw")["id"] for name in ("ann", "bob")]
        ann.ask(1, id=ids[0], password="pw")
        ann.ask(6, toid=ids[1], msg="while you were away")
        bob = come()
        bob.say("hello")
        assert bob.hear() == "no: login NAME PASSWORD, or USERID TEXT"
        bob.say("login bob wrong")
        assert bob.hear().startswith("no: ")
        bob.say("login bob pw")
        assert [bob.hear(), bob.hear()] == ["welcome", "ann: while you were away"]
        bob.say(f"{ids[0]} here I am")
        assert ann.wait(msgid=6)["msg"] == "here I am"
        ann.ask(6, toid=ids[1], msg="good")
        assert bob.hear() == "ann: good"
    bob.close()
    again = come()
    again.say("login bob pw")
    assert again.hear() == "welcome"  # what was written counts as received
    server.tell(signal.SIGINT)
    assert [again.hear(), again.hear()] == ["bye: shutdown", ""]


def test_what_is_no_netstring_ends_the_connection_without_a_word(nc: tuple[Server, Callable[[], Nc]]) -> None:
    _, come = nc
    for said in (b"GET / HTTP/1.1\r\n", b"12345678:"):
        with closing(come()) as person:
            person.write(said)
            assert person.hear() == ""


def test_a_frame_over_the_limit_is_told(nc: tuple[Server, Callable[[], Nc]]) -> None:
    _, come = nc
    person = come()
    person.write(b"100000:x")
    assert [person.hear(), person.hear()] == ["no: a frame may have 65536 bytes", "bye: protocol"]

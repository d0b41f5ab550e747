"""The server needs no client of ours: a session of two people with netcat."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from tests.system.server import DEADLINE, Server

pytestmark = pytest.mark.skipif(
    shutil.which("nc") is None and os.environ.get("CI") != "true", reason="no nc: scripts/test installs it"
)


class Netcat:
    """Somebody at ``nc HOST PORT``, typing lines and reading lines."""

    def __init__(self, server: Server) -> None:
        self._process = subprocess.Popen(
            ["nc", server.host, str(server.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._read = b""

    def types(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def sees(self) -> dict[str, Any]:
        """Return the next line; it does not hang."""
        assert self._process.stdout
        until = monotonic() + DEADLINE
        while b"\n" not in self._read:
            assert select.select([self._process.stdout], [], [], until - monotonic())[0], "no line came"
            data = os.read(self._process.stdout.fileno(), 65_536)
            assert data, "nc has ended"
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        seen: dict[str, Any] = json.loads(line)
        return seen

    def asks(self, line: str) -> dict[str, Any]:
        self.types(line)
        return self.sees()

    def hangs_up(self) -> None:
        """End as by Ctrl-C."""
        self._process.terminate()
        self._process.communicate(timeout=DEADLINE)


@pytest.fixture
def netcat(start: Callable[..., Server]) -> Iterator[Callable[[], Netcat]]:
    server, opened = start(), []

    def netcat() -> Netcat:
        opened.append(Netcat(server))
        return opened[-1]

    yield netcat
    for process in opened:
        process.hangs_up()


def told(frame: dict[str, Any], *fields: str) -> tuple[Any, ...]:
    return tuple(frame[field] for field in fields)


def test_a_session_of_two_people_with_nc(netcat: Callable[[], Netcat]) -> None:
    ann, bob = netcat(), netcat()
    assert ann.asks('{"msgid":4,"name":"ann","password":"secret"}') == {
        "msgid": 5, "errno": 0, "id": 1, "name": "ann",
    }  # fmt: skip
    assert bob.asks('{"msgid":4,"name":"bob","password":"hunter2"}')["id"] == 2
    welcome = ann.asks('{"msgid":1,"name":"ann","password":"secret"}')
    assert told(welcome, "msgid", "errno", "id", "friends", "groups", "offlinemsg", "more") == (
        2, 0, 1, [], [], [], False,
    )  # fmt: skip
    assert bob.asks('{"msgid":1,"id":2,"password":"hunter2"}')["errno"] == 0

    friend = ann.asks('{"msgid":7,"friendid":2}')
    assert told(friend, "msgid", "re", "errno", "friend") == (
        11, 7, 0, {"id": 2, "name": "bob", "state": "online"},
    )  # fmt: skip
    assert told(ann.asks('{"msgid":6,"toid":2,"msg":"hello bob","cid":"a1"}'), "re", "seq", "cid") == (
        6, 1, "a1",
    )  # fmt: skip
    chat = bob.sees()
    assert told(chat, "msgid", "id", "name", "toid", "msg", "seq") == (6, 1, "ann", 2, "hello bob", 1)
    bob.types('{"msgid":13,"seq":1,"peerid":1}')

    assert ann.asks('{"msgid":8,"groupname":"team","groupdesc":"the two of us"}')["groupid"] == 1
    joined = bob.asks('{"msgid":9,"groupid":1}')["group"]
    assert told(joined, "groupname", "groupdesc", "role", "count") == ("team", "the two of us", "normal", 2)
    assert bob.asks('{"msgid":10,"groupid":1,"msg":"hello team"}')["seq"] == 1
    assert told(ann.sees(), "msgid", "id", "name", "groupid", "msg") == (10, 2, "bob", 1, "hello team")

    assert bob.asks('{"msgid":3}').items() >= {"msgid": 11, "re": 3, "errno": 0}.items()
    assert ann.sees() == {"msgid": 23, "id": 2, "state": "offline"}
    assert ann.asks('{"msgid":6,"toid":2,"msg":"are you there?"}')["seq"] == 2
    back = bob.asks('{"msgid":1,"name":"bob","password":"hunter2"}')
    assert [told(missed, "id", "msg", "seq") for missed in back["offlinemsg"]] == [(1, "are you there?", 2)]
    assert ann.sees() == {"msgid": 23, "id": 2, "state": "online"}

    assert ann.asks('{"msgid":17,"peerid":2,"target":2}')["seq"] == 3
    assert told(bob.sees(), "msgid", "id", "target", "seq", "peerid") == (17, 1, 2, 3, 1)
    page = bob.asks('{"msgid":15,"peerid":1}')
    assert told(page, "msgid", "errno", "more") == (16, 0, False)
    one, two, recall = page["messages"]
    assert one == chat
    assert (two["recalled"], "msg" in two) == (True, False)
    assert told(recall, "msgid", "target") == (17, 2)


def test_a_line_that_is_no_request_is_explained_and_the_session_goes_on(
    netcat: Callable[[], Netcat],
) -> None:
    person = netcat()
    error = person.asks("help")
    assert told(error, "msgid", "errno", "error") == (14, 3, "bad_request")
    assert "JSON" in error["errmsg"]
    assert person.asks('{"msgid":12}') == {"msgid": 12}


def test_lines_from_a_pipe_are_all_answered(start: Callable[..., Server]) -> None:
    """As in ``printf … | nc -N HOST PORT``: the half-close does not cut off the replies."""
    server = start()
    lines = ['{"msgid":4,"name":"ann","password":"pw"}', '{"msgid":1,"name":"ann","password":"pw"}']
    lines += [f'{{"msgid":6,"toid":1,"msg":"note {number}"}}' for number in range(50)]
    piped = subprocess.run(
        ["nc", "-N", server.host, str(server.port)],
        input="\n".join([*lines, ""]).encode(),
        capture_output=True,
        timeout=DEADLINE,
        check=True,
    )
    replies = [json.loads(line) for line in piped.stdout.splitlines()]
    assert [reply["msgid"] for reply in replies] == [5, 2] + [11] * 50
    assert [reply["seq"] for reply in replies[2:]] == list(range(1, 51))

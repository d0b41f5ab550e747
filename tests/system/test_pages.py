"""The sessions and programs that the documents show, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.servers.node import environment
from tests.pages import blocks, lines, page
from tests.system.server import DEADLINE, Client, Frame, Server

OF_THE_RUN = {"time", "token", "server"}
"""Fields whose values differ from run to run."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An empty server with the heartbeats of the examples."""
    server = Server(tmp_path, "--heartbeat-interval", 60, "--login-timeout", 60)
    yield server
    server.close()


def comparable(value: Any) -> Any:
    """Return a frame without what differs from run to run."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {name: "…" if name in OF_THE_RUN else comparable(item) for name, item in value.items()}
    return value


def replay(server: Server, frames: Iterator[tuple[bool, str]]) -> None:
    """Send what the example sends on one connection, and hold what comes against what it shows."""
    shown: list[Frame] = []
    got: list[Frame] = []
    with Client(server) as client:
        for sent, text in frames:
            if sent:
                client.write(text.encode() + b"\n")
            else:
                shown.append(json.loads(text))
                got.append(client.read())
    assert shown
    assert comparable(got) == comparable(shown)


def register(server: Server, *names: str) -> None:
    with Client(server) as client:
        for name in names:
            client.done(4, name=name, password="secret")


def test_the_session_with_nc_is_a_real_one(server: Server) -> None:
    register(server, "ann", "bob")
    (session,) = [block for block in blocks(page("README.md")) if block.startswith("$ nc ")]
    replay(server, lines(session, "> ", "< "))


def test_the_first_session_of_the_protocol_page_is_a_real_one(server: Server) -> None:
    text = page("docs/protocol.md").partition("## Your first session")[2].partition("\n## ")[0]
    sessions = blocks(text)
    assert len(sessions) == 2
    for session in sessions:
        replay(server, lines(session, "C: ", "S: "))


def test_the_answering_machine_answers(server: Server) -> None:
    (program,) = blocks(page("README.md"), "python")
    assert "6000" in program
    machine = subprocess.Popen(
        [sys.executable, "-u", "-c", program.replace("6000", str(server.port))],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        server.wait_for_rows([(1,)], "SELECT id FROM User WHERE name = 'echo'")
        register(server, "ann")
        with Client(server) as ann:
            ann.login(name="ann", password="secret")
            ann.done(6, toid=1, msg="Are you there?")
            assert ann.wait(msgid=6, id=1)["msg"] == "You said: Are you there?"
    finally:
        machine.terminate()
        said, complaints = machine.communicate(timeout=DEADLINE)
    assert said.endswith("Z ann Are you there?\n")
    assert complaints == ""

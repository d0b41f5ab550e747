"""The terminal client against a real server: in a terminal, and fed by a script."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import IO

import pexpect
import pytest

from tests.system.server import DEADLINE, ROOT, Server

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "PROMPT_TOOLKIT_NO_CPR": "1",  # nobody answers where the cursor is
    "TERM": "xterm",
    "LANG": "C.UTF-8",
}


def read_until(stream: IO[str] | None, end: str) -> str:
    """Return what comes, up to this end."""
    assert stream
    said = ""
    while not said.endswith(end):
        assert select.select([stream], [], [], DEADLINE)[0], f"nothing came after {said!r}"
        data = os.read(stream.fileno(), 4096)
        assert data, f"it ended after {said!r}"
        said += data.decode()
    return said


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start(calm=False)


def command(server: Server, *options: str) -> list[str]:
    return ["-m", "greenchat.client", "127.0.0.1", str(server.port), *options]


def script(server: Server, *lines: str) -> list[str]:
    """Feed a client with lines until it ends; return what it printed."""
    ran = subprocess.run(
        [sys.executable, *command(server)],
        input="\n".join([*lines, ""]),
        env=ENVIRONMENT,
        timeout=DEADLINE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


class Person:
    """Somebody at a terminal."""

    def __init__(self, server: Server, *options: str) -> None:
        self._child = pexpect.spawn(
            sys.executable,
            command(server, *options),
            env=ENVIRONMENT,
            encoding="utf-8",
            timeout=DEADLINE,
            dimensions=(40, 200),
            cwd=str(ROOT),
        )

    def sees(self, text: str) -> None:
        """Wait for a text on the screen."""
        self._child.expect_exact(text)

    def types(self, line: str) -> None:
        """Type a line."""
        self._child.send(line + "\r")

    def keys(self, text: str) -> None:
        """Press keys."""
        self._child.send(text)

    def presses(self, key: str) -> None:
        """Press a key with Ctrl."""
        self._child.sendcontrol(key)

    def logs_in(self, name: str) -> None:
        """Go through the menu."""
        self.sees("choice:")
        self.types("1")
        self.sees("id or name:")
        self.types(name)
        self.sees("password:")
        self.types("secret")

    def is_gone(self) -> int | None:
        """Wait for the end of the program, and return its status."""
        self._child.expect(pexpect.EOF)
        self._child.wait()
        return self._child.exitstatus

    def leave(self) -> None:
        """Be gone in any case."""
        self._child.close(force=True)


@pytest.fixture
def people(server: Server) -> Iterator[tuple[Person, Person]]:
    """ann and bob, registered, each at a terminal."""
    script(server, "2", "ann", "secret", "register", "bob", "secret", "3")
    ann, bob = Person(server), Person(server)
    yield ann, bob
    ann.leave()
    bob.leave()


def test_two_people_chat_in_terminals(people: tuple[Person, Person]) -> None:
    ann, bob = people
    ann.logs_in("ann")
    ann.sees("Welcome, ann! Your id is 1.")
    bob.logs_in("2")
    bob.sees("Welcome, bob!")
    bob.types("addfriend:ann")
    bob.sees("ann is your friend now, and online.")
    bob.types("chat:ann:hello: ann")
    bob.sees("sent [1]")
    ann.sees("[1] bob: hello: ann")
    ann.types("creategroup:team:all of us")
    ann.sees("#team is created; its id is 1.")
    bob.types("addgroup:team")
    bob.sees("You are in the group #team now.")
    bob.types("groupchat:1:hi team")
    ann.sees("[1] bob in #team: hi team")
    ann.types("chat:bo\x1b[D\x1b[D")
    ann.presses("c")
    ann.types("loginout")
    ann.sees("1. login")
    bob.sees("ann is offline.")
    bob.types("chat:1:while you were away")
    bob.sees("sent [2]")
    bob.types("recall:#team")
    bob.sees("Message 1 is taken back.")
    ann.logs_in("ann")
    ann.sees("#team (id 1): all of us [ann (online, creator), bob (online)]")
    ann.sees("(took back message 1)")
    bob.sees("ann is online.")
    ann.types("history:bob:1")
    ann.sees("[2] bob: while you were away")
    ann.sees("(older messages exist)")
    ann.sees(">")
    ann.presses("d")
    assert ann.is_gone() == 0


def test_tab_completes_commands_and_names(people: tuple[Person, Person]) -> None:
    ann, _ = people
    ann.logs_in("ann")
    ann.sees("Try help.")
    ann.types("addfriend:bob")
    ann.sees("bob is your friend")
    ann.keys("cha\t")
    ann.sees("chat:")
    ann.keys("bo\t")
    ann.sees("bob:")
    ann.types("completed")
    ann.sees("sent [1]")


def test_a_lost_connection_is_shown_and_comes_back(server: Server, people: tuple[Person, Person]) -> None:
    ann, bob = people
    ann.logs_in("ann")
    bob.logs_in("bob")
    ann.sees("Try help.")
    bob.sees("Try help.")
    server.kill()
    ann.sees("The connection is lost")
    ann.types("chat:bob:sent while it was away")
    server.start()
    ann.sees("The connection is back.")
    ann.sees("sent [1]")
    bob.sees("[1] ann: sent while it was away")


def test_a_login_from_elsewhere_takes_over(server: Server, people: tuple[Person, Person]) -> None:
    here, there = people
    here.logs_in("ann")
    here.sees("Try help.")
    there.logs_in("ann")
    there.sees("already online")
    there.sees("(y/n)")
    there.types("y")
    there.sees("Welcome, ann!")
    here.sees("You have logged in from elsewhere")
    here.sees("choice:")
    other_device = Person(server, "--device", "phone")
    other_device.logs_in("ann")
    other_device.sees("Welcome, ann!")
    there.types("chat:2:from the first")
    other_device.sees("me to user 2: from the first")
    other_device.leave()


def test_passwords_are_not_shown(people: tuple[Person, Person]) -> None:
    ann, _ = people
    ann.logs_in("ann")
    ann.sees("Welcome")
    assert "secret" not in str(ann._child.before)


def test_a_script_may_drive_the_client(server: Server) -> None:
    said = script(
        server,
        "2",
        "bob",
        "secret",
        "2",
        "bob",
        "other",
        "1",
        "bob",
        "wrong",
        "login",
        "bob",
        "secret",
        "creategroup:team:x",
        "groupchat:team:one",
        "chat:9:nobody",
        "chat:bob:to myself",
        "groups",
        "loginout",
        "dance",
        "2",
        "ann",
        "secret",
        "1",
        "2",
        "secret",
        "addfriend:bob",
        "chat:bob:\x1b[2Jhi",
        "history:bob",
        "chat:bob:second",
        "recall:bob",
        "history:bob:9",
        "quit",
        "never read",
    )
    for line in (
        "You are registered; your id is 1. Log in now.",
        "This name is taken.",
        "The id, name, password or token is wrong.",
        "There is no such user.",
        "Choose 1, 2 or 3.",
        "  #team (id 1): x",
        "bob is your friend now, and offline.",
        "Message 2 is taken back.",
    ):
        assert line in said
    assert any(line.endswith("[1] me to bob: \\x1b[2Jhi") for line in said)
    assert any(line.endswith("[2] me to bob: (recalled)") for line in said)
    offline = script(server, "1", "bob", "secret", "block:ann")
    assert [line.split(" ", 1)[1] for line in offline if "] ann" in line] == [
        "[1] ann: \\x1b[2Jhi",
        "[2] ann: (recalled)",
        "[3] ann: (took back message 2)",
    ]
    assert offline[-1] == "You take no messages from ann any more."
    assert not [line for line in script(server, "1", "bob", "secret") if "] ann" in line]


def test_an_unused_menu_outlives_the_time_to_log_in(server: Server) -> None:
    """A connection has 10 s to log in, so there is none before the login."""
    client = subprocess.Popen(
        [sys.executable, *command(server)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        text=True,
    )
    read_until(client.stdout, "choice:\n")
    server.kill()
    server.start()
    said, _ = client.communicate("2\nann\nsecret\n", timeout=DEADLINE)
    assert "You are registered" in said


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        ([], 2, "greenchat.client: the following arguments are required: HOST, PORT; try --help\n"),
        (
            ["127.0.0.1", "many"],
            2,
            "greenchat.client: argument PORT: not a number from 1 to 65535: 'many'; try --help\n",
        ),
        (["127.0.0.1", "1"], 1, "greenchat.client: cannot reach 127.0.0.1:1: connection refused\n"),
    ],
)
def test_wrong_use_and_no_server_are_one_line(arguments: list[str], status: int, line: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "greenchat.client", *arguments],
        env=ENVIRONMENT,
        timeout=DEADLINE,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (ran.returncode, ran.stderr, ran.stdout) == (status, line, "")

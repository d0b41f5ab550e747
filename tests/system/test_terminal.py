"""The terminal client against a real server: in a terminal, and fed by a script."""

from __future__ import annotations

import io
import os
import re
import select
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import IO

import pexpect
import pytest

from greenchat.protocol.messages import MsgId
from lab import ROOT
from tests.client.fake_server import FakeServer, chat_from
from tests.system.server import DEADLINE, Server

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


def script(server: Server, *lines: str, status: int = 0) -> list[str]:
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
    assert (ran.returncode, ran.stderr) == (status, "")
    return ran.stdout.splitlines()


class Person:
    """Somebody at a terminal.

    Attributes:
        screen: all that was shown so far.
    """

    def __init__(self, server: Server, *options: str, term: str = "xterm", pipe: str = "") -> None:
        self.screen = io.StringIO()
        line = shlex.join([sys.executable, *command(server, *options)])
        self._child = pexpect.spawn(
            "/bin/sh",
            ["-c", f"{line} {pipe}"],
            env=ENVIRONMENT | {"TERM": term},
            encoding="utf-8",
            timeout=DEADLINE,
            dimensions=(40, 200),
            cwd=str(ROOT),
        )
        self._child.logfile_read = self.screen

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

    def is_welcomed(self, name: str) -> None:
        """Go through the menu, and wait for the prompt."""
        self.logs_in(name)
        self.sees("Try help.")

    def is_gone(self) -> int | None:
        """Wait for the end of the program, and return its status."""
        self._child.expect(pexpect.EOF)
        self._child.wait()
        status: int | None = self._child.exitstatus
        return status

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
    bob.sees("Message 1 is recalled.")
    ann.logs_in("ann")
    ann.sees("#team (id 1): all of us [ann (online, creator), bob (online)]")
    ann.sees("(recalled message 1)")
    bob.sees("ann is online.")
    ann.types("history:bob:1")
    ann.sees("[2] bob: while you were away")
    ann.sees("(older messages exist)")
    ann.sees(">")
    ann.presses("d")
    assert ann.is_gone() == 0


def test_tab_completes_commands_and_names(people: tuple[Person, Person]) -> None:
    ann, _ = people
    ann.is_welcomed("ann")
    ann.types("addfriend:bob")
    ann.sees("bob is your friend")
    ann.keys("cha\t")
    ann.sees("t:")  # the screen may have had "cha" before
    ann.keys("bo\t")
    ann.sees("b:")
    ann.types("completed")
    ann.sees("sent [1]")


def test_a_lost_connection_is_shown_and_comes_back(server: Server, people: tuple[Person, Person]) -> None:
    ann, bob = people
    ann.is_welcomed("ann")
    bob.is_welcomed("bob")
    server.kill()
    ann.sees("The connection is lost")
    ann.types("chat:bob:sent while it was away")
    server.start()
    ann.sees("The connection is back.")
    ann.sees("sent [1]")
    bob.sees("[1] ann: sent while it was away")


def test_a_login_from_elsewhere_takes_over(server: Server, people: tuple[Person, Person]) -> None:
    here, there = people
    here.is_welcomed("ann")
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


@pytest.mark.parametrize(("term", "pipe"), [("xterm", ""), ("dumb", ""), ("unknown", ""), ("xterm", "| cat")])
def test_passwords_are_not_shown(server: Server, people: tuple[Person, Person], term: str, pipe: str) -> None:
    ann = Person(server, term=term, pipe=pipe)
    ann.logs_in("ann")
    ann.sees("Welcome")
    ann.types("loginout")
    ann.sees("choice:")
    ann.types("2")
    ann.sees("name:")
    ann.types("cleo")
    ann.sees("password:")
    ann.types("secret")
    ann.sees("You are registered")
    ann.sees("choice:")
    ann.types("this is shown")
    ann.sees("Choose 1, 2 or 3.")
    assert "secret" not in ann.screen.getvalue()
    assert "this is shown" in ann.screen.getvalue()
    ann.leave()


def test_a_message_may_have_lines(server: Server, people: tuple[Person, Person]) -> None:
    ann, bob = people
    ann.is_welcomed("ann")
    bob.is_welcomed("bob")
    bob.keys("chat:ann:one")
    bob.keys("\x1b\r")
    bob.types("09:00 [7] eve: forged")
    ann.sees("[1] bob: one\r\n      | 09:00 [7] eve: forged")
    assert script(server, "1", "bob", "secret", "y", "chat:ann:one\\", "two\\\\", "quit")[-1] == "sent [2]"
    ann.sees("[2] bob: one\r\n      | two\\\r\n")


def test_a_name_of_digits_stands_in_quotes(server: Server) -> None:
    script(server, "2", "ann", "secret", "2", "1", "secret", "3")
    lines = script(server, "1", "1", "secret", 'chat:"1":hi', "quit")
    assert "Welcome, ann! Your id is 1. Try help." in lines
    lines = script(server, "1", '"1"', "secret", "history:ann", "quit")
    assert 'Welcome, "1"! Your id is 2. Try help.' in lines
    assert lines[-2].endswith("[1] ann: hi")
    lines = script(server, "1", "2", "wrong", "3", status=1)
    assert 'Digits alone are an id; the name is written in quotes: "2".' in lines


def test_groups_are_shown_as_they_are_now(people: tuple[Person, Person]) -> None:
    ann, bob = people
    ann.is_welcomed("ann")
    ann.types("creategroup:team")
    ann.sees("is created")
    bob.is_welcomed("bob")
    bob.types("addgroup：＃team")
    bob.sees("You are in the group #team now.")
    ann.types("groups")
    ann.sees("#team (id 1) [ann (online, creator), bob (online)]")
    bob.types("leave:team")
    bob.sees("You have left")
    ann.types("groups")
    ann.sees("#team (id 1) [ann (online, creator)]")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("1", "ann", "secret", "friends", "quit"), 0),
        (("1", "ann", "secret", "friends"), 0),
        (("1", "ann", "secret", "chat:nobody:hi", "friends", "quit"), 1),
        (("1", "ann", "secret", "dance"), 1),
        (("1", "ann", "wrong", "quit"), 1),
        (("4", "quit"), 1),
    ],
)
def test_a_pipe_learns_by_the_status_that_something_was_not_done(
    server: Server, lines: tuple[str, ...], status: int
) -> None:
    script(server, "2", "ann", "secret", "3")
    script(server, *lines, status=status)


def test_the_wire_s_names_are_not_shown(server: Server) -> None:
    script(server, "2", "ann", "secret", "3")
    said = script(
        server,
        "2",
        "x" * 51,
        "secret",
        "1",
        "ann",
        "secret",
        f"chat:ann:{'x' * 4097}",
        "chat:99999999999:hi",
        "addfriend:1",
        "history:ann:500",
        f"creategroup:{'x' * 51}",
        "creategroup:g:" + "x" * 201,
        "recall:ann:99999999999999999999",
        "block:0",
        "leave:0",
        "quit",
        status=1,
    )
    fields = (
        "msg",
        "toid",
        "friendid",
        "groupname",
        "groupdesc",
        "limit",
        "target",
        "userid",
        "groupid",
        "errno",
    )
    assert not [line for line in said if any(re.search(rf"\b{field}\b", line) for field in fields)]
    assert "The message is not accepted: at most 4096 characters, this has 4097." in said


def test_a_hostile_server_neither_steers_the_terminal_nor_stops_it() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\u200b\n09:00 [7] bob: forged"
    server = FakeServer()
    client = subprocess.Popen(
        [sys.executable, "-m", "greenchat.client", "127.0.0.1", str(server.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
        text=True,
    )
    assert client.stdin
    server.accept().at_end()
    client.stdin.write("1\nann\nsecret\n")
    client.stdin.flush()
    peer = server.accept()
    peer.welcome(
        name=evil,
        friends=[{"id": 2, "name": evil, "state": evil}],
        groups=[{"id": 5, "groupname": evil, "groupdesc": evil, "users": []}],
        offlinemsg=[chat_from(2, 1) | {"time": "noon"}, chat_from(2, 2, evil, name=evil)],
    )
    client.stdin.write("addfriend:9\n")
    client.stdin.flush()
    peer.refuse(peer.get(MsgId.ADD_FRIEND), 14, "not_allowed", errmsg=evil)
    peer.send({"msgid": 14, "errno": 3, "error": "bad_request", "errmsg": evil})
    peer.send(
        chat_from(2, 3) | {"time": "0000"}, chat_from(2, 4) | {"seq": evil}, chat_from(2, 5, "still shown")
    )
    said = read_until(client.stdout, "still shown\n")
    client.stdin.write("quit\n")
    client.stdin.flush()
    assert peer.at_end()
    peer.close()
    said += client.communicate(timeout=DEADLINE)[0]
    server.close()
    assert not [char for char in said if char != "\n" and unicodedata.category(char) in ("Cc", "Cf")]
    assert not [line for line in said.splitlines() if line.startswith("09:00")]
    assert "Traceback" not in said
    assert said.count("(skipped an invalid frame of the server: ") == 3


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
        status=1,
    )
    for line in (
        "You are registered; your id is 1. Log in now.",
        "This name is taken.",
        "The id, name, password or token is wrong.",
        "There is no such user.",
        "Choose 1, 2 or 3.",
        "  #team (id 1): x [bob (online, creator)]",
        "bob is your friend now, and offline.",
        "Message 2 is recalled.",
    ):
        assert line in said
    assert any(line.endswith("[1] me to bob: \\x1b[2Jhi") for line in said)
    assert any(line.endswith("[2] me to bob: (recalled)") for line in said)
    offline = script(server, "1", "bob", "secret", "block:ann")
    assert [line.split(" ", 1)[1] for line in offline if "] ann" in line] == [
        "[1] ann: \\x1b[2Jhi",
        "[2] ann: (recalled)",
        "[3] ann: (recalled message 2)",
    ]
    assert offline[-1] == "You have blocked ann."
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

"""The programs of examples/, each as a process of its own, with real servers."""

from __future__ import annotations

import ast
import base64
import http.client
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest
from standardwebhooks.webhooks import Webhook

from greenchat.client import Client, Conversation, Message, in_group, with_user
from lab import ROOT
from lab.servers.node import environment
from lab.servers.program import free_port
from tests.system.server import Server

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

PASSWORD = "a long password"

DEADLINE = 60.0
"""Seconds that anything may take: each program starts a Python of its own."""


class Program:
    """A process of an example."""

    def __init__(self, name: str, *arguments: object, **env: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, ROOT / "examples" / f"{name}.py", *map(str, arguments)],
            env=environment() | {"GREENCHAT_PASSWORD": PASSWORD} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._read = b""

    def line(self) -> str:
        """Wait for its next line."""
        assert self._process.stdout
        until = monotonic() + DEADLINE
        while b"\n" not in self._read:
            waiting, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - monotonic()))
            data = os.read(self._process.stdout.fileno(), 65_536) if waiting else b""
            assert data, f"no line: {self.kill()}"
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def kill(self) -> str:
        """End it as a power cut would; return what it has said on stderr."""
        self._process.kill()
        return self._process.communicate(timeout=DEADLINE)[1].decode()


Start = Callable[..., Program]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as programs:

        def start(name: str, *arguments: object, **env: str) -> Program:
            program = Program(name, *arguments, **env)
            programs.callback(program.kill)
            return program

        yield start


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    with ExitStack() as servers:

        def serve(name: str, *options: object, expected: tuple[str, ...] = ()) -> Server:
            (tmp_path / name).mkdir()
            server = Server(tmp_path / name, *options, expected=expected)
            servers.callback(server.close)
            return server

        yield serve


@pytest.fixture
def join() -> Iterator[Callable[[Server, str], Client]]:
    """Log in a new user."""
    with ExitStack() as clients:

        def join(server: Server, name: str) -> Client:
            client = clients.enter_context(Client("127.0.0.1", server.port, timeout=DEADLINE))
            client.register(name, PASSWORD)
            client.login(name, PASSWORD)
            return client

        yield join


Serve = Callable[..., Server]
Join = Callable[[Server, str], Client]


def hear(client: Client) -> str:
    """Wait for the next message; return its text."""
    return next(push.text or "" for push in client.pushes(DEADLINE) if isinstance(push, Message))


def said(client: Client, conversation: Conversation) -> list[str]:
    """Return the texts of a conversation."""
    return [entry.text or "" for entry in client.history(conversation).entries if isinstance(entry, Message)]


# -- The echo bot


def test_the_echo_bot_answers_users_and_groups_once_whatever_dies(
    serve: Serve, join: Join, start: Start
) -> None:
    server = serve("one")
    ann = join(server, "ann")
    team = ann.create_group("team")
    arguments = ("echo_bot", "127.0.0.1", server.port, "echo", "team")
    bot = start(*arguments)
    assert bot.line() == "online as echo"
    echo = ann.find_user("echo")["id"]
    ann.chat(echo, "one")
    ann.group_chat(team, "all")
    assert {hear(ann), hear(ann)} == {"You said: one", "You said: all"}
    server.kill()
    server.start()
    ann.chat(echo, "two", timeout=DEADLINE)
    assert hear(ann) == "You said: two"
    bot.kill()
    ann.chat(echo, "three")
    bot = start(*arguments)
    assert hear(ann) == "You said: three"
    words = [f"{prefix}{word}" for word in ("one", "two", "three") for prefix in ("", "You said: ")]
    assert said(ann, with_user(echo)) == words
    assert said(ann, in_group(team)) == ["all", "You said: all"]


# -- The notifier


def notify(port: int, *arguments: str, text: str = "", password: str = PASSWORD) -> tuple[int, str]:
    """Run the notifier; return its exit status and what it said on stderr."""
    ran = subprocess.run(
        [sys.executable, ROOT / "examples/notify.py", "127.0.0.1", str(port), "cron", "ops", *arguments],
        env=environment() | {"GREENCHAT_PASSWORD": password},
        input=text,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ran.stdout == ""
    return ran.returncode, ran.stderr


def test_the_notifier_posts_once_and_its_status_tells(serve: Serve, join: Join) -> None:
    server = serve("one")
    join(server, "cron").close()
    ann = join(server, "ann")
    ops = ann.create_group("ops")
    assert notify(server.port, text="the disk is full\n") == (0, "")
    for _ in range(2):
        assert notify(server.port, "--text", "backup done", "--key", "backup-1") == (0, "")
    assert notify(server.port, "--text", "backup done", "--key", "backup-2") == (0, "")
    assert said(ann, in_group(ops)) == ["the disk is full", "backup done", "backup done"]
    status, error = notify(server.port, "--text", "x", password="wrong")
    assert (status, error[:8]) == (1, "notify: ")
    status, error = notify(server.port, text=" \n")
    assert (status, error.splitlines()[-1]) == (2, "notify.py: error: the text is empty")
    server.kill()
    assert notify(server.port, "--text", "x", "--timeout", "5") == (
        1,
        "notify: disconnected: connection refused\n",
    )
    server.start()


# -- The bridge


def test_the_bridge_carries_each_message_once_and_none_back(serve: Serve, join: Join, start: Start) -> None:
    here, there = serve("here"), serve("there")
    ann, bob = join(here, "ann"), join(there, "bob")
    team, guests = ann.create_group("team"), bob.create_group("guests")
    for server in (here, there):
        join(server, "bridge").close()
    places = [f"127.0.0.1:{here.port}/team", f"127.0.0.1:{there.port}/guests"]
    bridge = start("bridge", "bridge", *places)
    assert bridge.line() == "carrying"
    ann.group_chat(team, "hello")
    assert hear(bob) == "ann: hello"
    bob.group_chat(guests, "hi")
    assert hear(ann) == "bob: hi"
    there.kill()
    ann.group_chat(team, "while bob's server is away")
    there.start()
    assert hear(bob) == "ann: while bob's server is away"
    bridge.kill()
    for number in range(3):
        ann.group_chat(team, f"while the bridge is away {number}")
    bridge = start("bridge", "bridge", *places)
    assert [hear(bob)[-1] for _ in range(3)] == ["0", "1", "2"]
    bob.group_chat(guests, "the end")
    assert hear(ann) == "bob: the end"
    theirs = ["hello", "while bob's server is away", *(f"while the bridge is away {n}" for n in range(3))]
    assert said(ann, in_group(team)) == ["hello", "bob: hi", *theirs[1:], "bob: the end"]
    assert said(bob, in_group(guests)) == [
        "ann: hello",
        "hi",
        *(f"ann: {text}" for text in theirs[1:]),
        "the end",
    ]


# -- The receiver of hooks

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def signed(id: str, body: bytes, secret: str = SECRET, late: float = 0.0) -> dict[str, str]:
    """Return the headers of a request, signed by another implementation."""
    now = datetime.now(UTC) - timedelta(seconds=late)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, now, body.decode()),
    }


def post(port: int, body: bytes, headers: dict[str, str]) -> int:
    """POST to the receiver; return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("POST", "/", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def receiver(start: Start) -> tuple[Program, int]:
    """A receiver, and its port."""
    program = start("webhook_receiver", 0, WEBHOOK_SECRET=SECRET)
    return program, int(program.line().rpartition(":")[2])


OLD_SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


def changed(**fields: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda headers: headers | {name.replace("_", "-"): value for name, value in fields.items()}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (changed(), 204),
        (lambda headers: signed("1", b"{}", late=600), 401),
        (lambda headers: signed("1", b"{}", late=-600), 401),
        (lambda headers: signed("1", b"{}", OLD_SECRET), 401),
        (lambda headers: signed("1", b"[]"), 401),
        (changed(webhook_id="2"), 401),
        (changed(webhook_timestamp="soon"), 401),
        (changed(webhook_signature=""), 401),
        (changed(webhook_signature="v1,é"), 401),
        (lambda headers: {}, 401),
        (
            lambda headers: (
                headers | {"webhook-signature": f"v1a,x v1,AAAA {headers['webhook-signature']} v1,BBBB"}
            ),
            204,
        ),
    ],
)
def test_the_receiver_takes_what_is_signed_and_new(
    receiver: tuple[Program, int],
    change: Callable[[dict[str, str]], dict[str, str]],
    status: int,
) -> None:
    assert post(receiver[1], b"{}", change(signed("1", b"{}"))) == status


def test_the_receiver_prints_each_message_once(receiver: tuple[Program, int]) -> None:
    program, port = receiver
    for number in (1, 1, 2):
        body = json.dumps({"n": number}).encode()
        assert post(port, body, signed(f"g5-{number}", body)) == 204
    assert [json.loads(program.line()) for _ in range(2)] == [{"n": 1}, {"n": 2}]


HOOKS = (
    r"INFO greenchat\.server\.hooks: hook 1 was made: .*",
    r"WARNING greenchat\.outgoing\.sender: hook 1: .*; it is tried again",
)
"""The lines that a server logs of a hook, and of its receiver that is away."""


def test_the_receiver_takes_what_our_server_sends_also_after_a_kill(
    serve: Serve, join: Join, start: Start, tmp_path: Path
) -> None:
    control, port = tmp_path / "c", free_port()
    options = ("--control-socket", control, "--hook-http", "--hook-private", "127.0.0.0/8")
    server = serve("one", *options, expected=HOOKS)
    ann = join(server, "ann")
    team = ann.create_group("team")
    add = ["hook", "add-out", "--bot", "watcher", "--group", "team", f"http://127.0.0.1:{port}/"]
    made = subprocess.run(
        [sys.executable, "-m", "greenchat.admin", "--socket", str(control), *add],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    env = {"WEBHOOK_SECRET": made.stdout.strip()}
    program = start("webhook_receiver", port, **env)
    program.line()
    ann.group_chat(team, "one")
    assert json.loads(program.line())["msg"] == "one"
    program.kill()
    ann.group_chat(team, "two")
    program = start("webhook_receiver", port, **env)
    program.line()
    while json.loads(program.line())["msg"] != "two":
        pass  # "one" comes again if its 204 was lost in the kill


# -- All of them


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_run_it(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 80
    assert f"examples/{path.name} " in (ast.get_docstring(ast.parse(source)) or "")
    assert os.access(path, os.X_OK)
    assert f"(../examples/{path.name})" in (ROOT / "docs/client.md").read_text(encoding="utf-8")

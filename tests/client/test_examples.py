"""The examples of docs/client.md and of the docstrings, against a real server."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest

import greenchat.client
from greenchat import client as library
from greenchat.client import Client, ConnectionEvent, Message, Push, aio, in_group, with_user
from lab import ROOT
from lab.servers.node import environment
from tests.system.server import DEADLINE, Server

PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
BOT, LOGIN, *EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.close()


def next_message(client: Client) -> Message:
    return next(push for push in client.pushes(DEADLINE) if isinstance(push, Message))


def test_the_bot_answers_users_and_groups_and_takes_over_from_its_last_run(server: Server) -> None:
    assert len(BOT.splitlines()) <= 20
    for _ in range(2):
        bot = subprocess.Popen(
            [sys.executable, "-u", "-c", BOT.replace("6000", str(server.port))],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert bot.stdout
        assert bot.stdout.readline() == "online as echo\n"
        with Client("127.0.0.1", server.port) as ann:
            name = f"ann{bot.pid}"
            ann.register(name, "secret")
            ann.login(name, "secret")
            ann.chat(ann.find_user("echo")["id"], "Hello")
            answer = next_message(ann)
            assert (answer.conversation, answer.text) == (with_user(answer.sender), "You said: Hello")
        bot.kill()
        said, errors = bot.communicate(timeout=DEADLINE)
        assert said.endswith(f"{name} Hello\n")
        assert errors == ""


def test_the_bot_answers_in_a_group(server: Server) -> None:
    with Client("127.0.0.1", server.port) as ann, Client("127.0.0.1", server.port) as echo:
        ann.register("ann", "secret")
        ann.login("ann", "secret")
        group = ann.create_group("team")
        echo.register("echo", "secret")
        echo.login("echo", "secret", device="bot")
        echo.join_group(group)
        ran = subprocess.Popen(
            [sys.executable, "-c", BOT.replace("6000", str(server.port))],
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        try:
            ann.group_chat(group, "Hello")
            answer = next_message(ann)
            assert (answer.conversation, answer.text) == (in_group(group), "You said: Hello")
        finally:
            ran.kill()
            ran.wait(DEADLINE)


def test_the_other_examples_run_one_after_the_other(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Client("127.0.0.1", server.port) as client:
        client.register("bob", "secret")
    names: dict[str, Any] = {"Client": Client}
    run(LOGIN, server, names)
    with Client("127.0.0.1", server.port) as client:
        names["client"] = client
        client.login("ann", token=names["token"], device="laptop")
        for example in EXAMPLES:
            run(example, server, names)
        assert client.online


def run(example: str, server: Server, names: dict[str, Any]) -> None:
    exec(compile(example.replace("6000", str(server.port)), "docs/client.md", "exec"), names)


def in_docstring(documented: object) -> list[str]:
    """Return the examples of a docstring that begin after ``::``."""
    text = inspect.getdoc(documented) or ""
    return [textwrap.dedent(example) for example in re.findall(r"::\n\n((?:    .*\n?|\n)+)", text)]


class Enough(Exception):
    """Raised to leave an example that would wait for ever."""


@pytest.fixture
def ann(server: Server) -> Iterator[Client]:
    """A client of user ann, who has three messages."""
    with Client("127.0.0.1", server.port) as client, Client("127.0.0.1", server.port) as bob:
        ann = client.register("ann", "secret")
        bob.register("bob", "secret")
        bob.login("bob", "secret")
        for text in ("one", "two", "three"):
            bob.chat(ann, text)
        yield client


def handle(got: list[str], until: str) -> Callable[[Push], None]:
    """Return a function that keeps the texts of messages, and raises Enough at one of them."""

    def keep(push: Push) -> None:
        if isinstance(push, Message):
            got.append(str(push.text))
            if push.text == until:
                raise Enough

    return keep


def test_the_example_of_the_package_answers(server: Server, ann: Client) -> None:
    (example,) = in_docstring(library)
    with Client("127.0.0.1", server.port) as echo:
        echo.register("echo", "secret")
    ran = subprocess.Popen(
        [sys.executable, "-c", example.replace("6000", str(server.port))], env=environment()
    )
    try:
        ann.login("ann", "secret")
        list(ann.pushes(0))
        ann.chat(ann.find_user("echo")["id"], "Hello")
        while next_message(ann).text != "Hello":
            pass
    finally:
        ran.kill()
        ran.wait(DEADLINE)


def test_the_examples_of_the_client_save_and_print(server: Server, ann: Client) -> None:
    loop, callback = in_docstring(Client)
    saved: list[str] = []
    database = SimpleNamespace(save=handle(saved, until="two"))
    printed: Queue[tuple[object, ...]] = Queue()
    names: dict[str, Any] = {"Client": Client, "Message": Message, "Push": Push, "database": database}
    names["print"] = lambda *words: printed.put(words)
    with pytest.raises(Enough):
        run(loop, server, names)
    assert saved == ["one", "two"]
    run(callback, server, names)
    assert [printed.get(timeout=DEADLINE) for _ in range(2)] == [("bob", "two"), ("bob", "three")]
    names["client"].close()


def test_the_examples_of_pushes_and_acknowledge_handle_each_message_once(server: Server, ann: Client) -> None:
    got: list[str] = []
    ann.login("ann", "secret")
    assert isinstance(next(ann.pushes(DEADLINE)), ConnectionEvent)
    (two_loops,) = in_docstring(Client.pushes)
    names: dict[str, Any] = {"client": ann, "handle": handle(got, until="two")}
    with pytest.raises(Enough):
        run(two_loops, server, names)
    (by_hand,) = in_docstring(Client.acknowledge)
    run(by_hand, server, names)
    assert got == ["one", "two", "three"]
    with Client("127.0.0.1", server.port) as again:
        again.login("ann", "secret")
        assert not [push for push in again.pushes(0) if isinstance(push, Message)]


def in_coroutine(example: str) -> str:
    """Return a program that runs an example of coroutines, with its names as globals."""
    return f"async def example():\n    global client\n{textwrap.indent(example, '    ')}"


def run_coroutine(example: str, server: Server, names: dict[str, Any]) -> None:
    run(in_coroutine(example), server, names)
    asyncio.run(names["example"]())


def test_the_example_of_the_asyncio_package_answers(server: Server, ann: Client) -> None:
    (example,) = in_docstring(aio)
    with Client("127.0.0.1", server.port) as echo:
        echo.register("echo", "secret")
    ran = subprocess.Popen(
        [sys.executable, "-c", example.replace("6000", str(server.port))], env=environment()
    )
    try:
        ann.login("ann", "secret")
        list(ann.pushes(0))
        ann.chat(ann.find_user("echo")["id"], "Hello")
        while next_message(ann).text != "Hello":
            pass
    finally:
        ran.kill()
        ran.wait(DEADLINE)


def test_the_examples_of_the_asyncio_client_save_and_print(server: Server, ann: Client) -> None:
    loop, callback = in_docstring(aio.Client)
    saved: list[str] = []
    printed: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
    save = handle(saved, until="two")

    async def save_soon(push: Push) -> None:
        save(push)

    database = SimpleNamespace(save=save_soon)
    names: dict[str, Any] = {"Client": aio.Client, "Message": Message, "Push": Push, "database": database}
    names["print"] = lambda *words: printed.put_nowait(words)
    with pytest.raises(Enough):
        run_coroutine(loop, server, names)
    assert saved == ["one", "two"]
    names["printed"] = printed
    wait_for_two = "\ntwo = [await printed.get() for _ in range(2)]\nawait client.close()\n"
    run_coroutine(f"{callback}{wait_for_two}assert two == [('bob', 'two'), ('bob', 'three')]", server, names)


def test_the_examples_of_asyncio_pushes_and_acknowledge_handle_each_message_once(
    server: Server, ann: Client
) -> None:
    got: list[str] = []
    keep = handle(got, until="two")

    async def keep_soon(push: Push) -> None:
        keep(push)

    (two_loops,) = in_docstring(aio.Client.pushes)
    (by_hand,) = in_docstring(aio.Client.acknowledge)
    names: dict[str, Any] = {"handle": keep_soon, "aio": aio, "Enough": Enough}
    log_in = 'client = aio.Client("127.0.0.1", 6000)\nawait client.login("ann", "secret")\n'
    first = "await anext(client.pushes())\nawait client.acknowledge()\n"
    until_enough = f"try:\n{textwrap.indent(two_loops, '    ')}\nexcept Enough:\n    pass\n"
    run_coroutine(log_in + first + until_enough + by_hand, server, names)
    assert got == ["one", "two", "three"]
    ann.login("ann", "secret")
    assert not [push for push in ann.pushes(0) if isinstance(push, Message)]


def rows(heading: str) -> dict[str, str]:
    """Return the first two cells of each row of the table that begins with this heading."""
    table = PAGE.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| (.+?) \| (.+?) \|", table, re.M))


def test_the_page_lists_every_push_with_its_fields() -> None:
    pushes = {kind.__name__: ", ".join(kind._fields) for kind in get_args(Push)}
    assert rows("push") == {f"`{name}`": f"`{fields}`" for name, fields in pushes.items()}


def test_the_page_lists_every_kind_of_event() -> None:
    named = set(re.findall(r"`(\w+)`", " ".join(rows("`kind`"))))
    assert named == set(get_args(get_type_hints(ConnectionEvent)["kind"]))


MODULES = [module.name for module in pkgutil.walk_packages(greenchat.client.__path__, "greenchat.client.")]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_of_the_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_public_name_is_documented() -> None:
    for name in library.__all__:
        assert getattr(library, name).__doc__, name
    public = {name: getattr(Client, name) for name in dir(Client) if not name.startswith("_")}
    assert [name for name, member in public.items() if not member.__doc__] == []


def test_the_library_needs_simplejson_and_no_other_package() -> None:
    program = """
import greenchat.client, sys
packages = {name.partition(".")[0] for name, module in sys.modules.items() if hasattr(module, "__file__")}
print(*sorted(packages - sys.stdlib_module_names - {"greenchat", "__main__"}))
"""
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env=environment() | {"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}"},
        capture_output=True,
        check=True,
    )
    assert ran.stdout == b"simplejson\n"

"""A short conversation across all servers of a cluster: ``scripts/cluster --check``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from itertools import permutations
from secrets import token_hex
from time import monotonic, sleep
from urllib.request import urlopen

from greenchat.client import Client, ConnectionEvent, LoginInfo, Message, Push
from greenchat.errors import GreenchatError
from lab.servers.program import LabError
from lab.servers.supervisord import Supervisord

DEADLINE = 30.0
"""Seconds that anything may take: generous, because nothing waits for it when all is well."""

LOOK_AGAIN = 0.2
"""Seconds between two tries to reach a server that was started again."""

PASSWORD = "correct horse"


class SmokeTestFailed(Exception):
    """Raised if a cluster fails a step; the text names it."""


class Person:
    """A user that comes through nginx, registered and logged in.

    Attributes:
        login: the last answer to a login.
    """

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.client = Client("127.0.0.1", port, timeout=DEADLINE)
        self._port = port
        self.client.register(name, PASSWORD)
        self.login = self.log_in()

    def log_in(self) -> LoginInfo:
        """Log in, and return the answer."""
        self.login = self.client.login(self.name, PASSWORD)
        return self.login

    def hear(self, text: str) -> None:
        """Wait for a message."""
        self._wait(lambda push: isinstance(push, Message) and push.text == text, f"did not hear {text!r}")

    def come_back(self) -> None:
        """Wait until the client, which has lost its server, has found one by itself."""
        back = self._wait(
            lambda push: isinstance(push, ConnectionEvent) and push.kind == "back", "did not come back"
        )
        assert isinstance(back, ConnectionEvent)
        assert back.login
        self.login = back.login

    def _wait(self, wanted: Callable[[Push], bool], complaint: str) -> Push:
        end = monotonic() + DEADLINE
        for push in self.client.pushes(DEADLINE):
            if wanted(push):
                return push
            if monotonic() > end:
                break
        raise SmokeTestFailed(f"{self.name}, on {self.login.server}, {complaint} within {DEADLINE:.0f} s")


def smoke_test(servers: Supervisord, port: int, web_port: int, say: Callable[[str], None]) -> None:
    """Hold a conversation across all servers, kill one of them, and see that nothing is missing.

    Args:
        servers: that nobody else uses.
        port: of nginx, for chat clients.
        web_port: the same, for web clients.
        say: told a line for each thing that went well.

    Raises:
        SmokeTestFailed: one did not.
    """
    run = token_hex(3)  # names of an earlier check may be taken
    with ExitStack() as closing:
        try:
            people = []
            for number in range(max(2, len(servers.ports))):
                people.append(Person(port, f"person{number + 1}-{run}"))
                closing.callback(people[-1].client.close)
            killed = people[0].login.server
            say(f"ok: {_web(web_port)}")
            for step in (_spread, _chat, _group, _offline, _kill):
                say(f"ok: {step(people, servers)}")
            say(f"ok: {_newcomer(port, killed)}")
        except (GreenchatError, LabError, OSError) as error:
            raise SmokeTestFailed(str(error) or type(error).__name__) from None


def _spread(people: list[Person], servers: Supervisord) -> str:
    used = sorted({person.login.server for person in people})
    if len(used) != len(servers.ports):
        raise SmokeTestFailed(f"all {len(people)} people are on {', '.join(used)}")
    return f"{len(people)} people are registered and logged in, on {', '.join(used)}"


def _chat(people: list[Person], servers: Supervisord) -> str:
    for number, person in enumerate(people):
        people[number - 1].client.chat(person.login.id, f"Hello {person.name}")
    for person in people:
        person.hear(f"Hello {person.name}")
    return "each wrote to the next, and was heard"


def _group(people: list[Person], servers: Supervisord) -> str:
    creator, *others = people
    group = creator.client.create_group(f"group of {creator.name}")
    for person in others:
        person.client.join_group(group)
    for person in people:
        person.client.group_chat(group, f"{person.name} is here")
    for speaker, listener in permutations(people, 2):
        listener.hear(f"{speaker.name} is here")
    return f"in a group of {len(people)} all have heard all"


def _offline(people: list[Person], servers: Supervisord) -> str:
    absent, other = people[-1], people[0]
    absent.client.logout()
    other.client.chat(absent.login.id, "You were away")
    absent.log_in()
    absent.hear("You were away")
    return "a user that was offline got the missed messages"


def _kill(people: list[Person], servers: Supervisord) -> str:
    """Kill the first one's server, and see that the client goes on elsewhere and the server comes again."""
    victim, other = people[0], people[1]
    killed = victim.login.server
    port = _port_of(killed)
    starts, began = servers.starts(port), monotonic()
    os.kill(servers.server(port)["pid"], signal.SIGKILL)
    other.client.chat(victim.login.id, "Are you there?")
    victim.come_back()
    victim.hear("Are you there?")
    heard = monotonic() - began
    servers.wait_for(port, starts + 1)
    again = monotonic() - began
    return (
        f"{killed} was killed: after {heard:.1f} s its client had gone on by itself on {victim.login.server}"
        f" and missed nothing, after {again:.1f} s supervisord had started it again"
    )


def _web(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/ready", timeout=DEADLINE) as answer:
        if answer.read() != b"ok\n":
            raise SmokeTestFailed("web clients find no server that is ready")
    return "web clients find a server that is ready"


def _newcomer(port: int, wanted: str) -> str:
    """Come again and again until nginx, too, has found the server that was started again."""
    end = monotonic() + DEADLINE
    while monotonic() < end:
        newcomer = Person(port, f"newcomer-{token_hex(3)}")
        newcomer.client.close()
        if newcomer.login.server == wanted:
            return f"newcomers come to {wanted} again"
        sleep(LOOK_AGAIN)
    raise SmokeTestFailed(f"nginx takes nobody to {wanted}, which was started again {DEADLINE:.0f} s ago")


def _port_of(server: str) -> int:
    """Return the port of a server by its name (``conf/supervisord.conf``)."""
    return int(server.rpartition("-")[2])

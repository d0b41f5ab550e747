"""People with original clients behind nginx, on two nodes with MariaDB and Redis, one of which is killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import pytest

from lab.background import background
from lab.fleet import Fleet
from lab.servers.mariadb import MariaDb
from lab.servers.nginx import Nginx
from lab.servers.node import Node
from lab.servers.program import free_port
from lab.servers.redis import Redis
from tests.servers import need, private
from tests.system.original import Person
from tests.system.server import DEADLINE, Address, Client

OPTIONS = ("--proxy-protocol", "--login-timeout", 0.5, "--heartbeat-interval", 60)
"""A modern client must log in at once; a person takes longer."""

THINKING = 1.5
"""Seconds that a person thinks at the menu: three login times."""

CLIENTS = 5
"""People with original clients, in both numberings; with a modern client they are on both nodes."""

AWAY = 40.0
"""Seconds after which somebody must be back: the node's lease ends, and the login is typed again."""


@dataclass
class Human:
    """Somebody who starts the client again when it has ended.

    Attributes:
        first: the number of the client's LOGIN.
        sessions: the clients that were started, the newest last.
    """

    port: int
    name: str
    first: int
    id: int = 0
    sessions: list[Person] = field(default_factory=list)

    @property
    def client(self) -> Person:
        return self.sessions[-1]

    def start(self) -> None:
        self.sessions.append(Person("127.0.0.1", self.port, self.first))

    def enter(self) -> None:
        """Log in, again and again while the server says that one is logged in already."""
        until = monotonic() + AWAY
        while (errno := self.client.login(self.id)["errno"]) != 0:
            assert errno == 2
            assert monotonic() < until
            sleep(0.5)

    def come_back(self) -> None:
        """Start the client again and think before logging in."""
        self.client.die()
        self.start()
        sleep(THINKING)
        self.enter()

    def shown(self, prefix: str) -> list[str]:
        """Return the texts with a prefix that all clients have shown, in order."""
        return [text for one in self.sessions for text in one.texts() if text.startswith(prefix)]

    def wait_for(self, text: str) -> None:
        until = monotonic() + AWAY
        while text not in self.client.texts():
            assert monotonic() < until, (self.name, text, self.client.texts()[-3:])
            assert not self.client.ended, (self.name, text)
            sleep(0.05)

    def check(self) -> None:
        for client in self.sessions:
            client.check()


@dataclass
class Town:
    """A fleet behind nginx, people with original clients, and one with a modern client."""

    fleet: Fleet
    port: int
    people: list[Human]
    modern: Client
    home: str  # the node of the modern client
    group: int = 0

    def node_of(self, human: Human) -> str:
        ((node,),) = self.fleet.rows(f"SELECT node FROM User WHERE id = {human.id}")
        return str(node)

    @property
    def other(self) -> Node:
        """The node that the modern client is not on."""
        (node,) = [node for node in self.fleet.nodes if node.node != self.home]
        return node


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    need("nginx")
    with ExitStack() as ends:
        aside = ends.enter_context(background())
        mariadb, redis = ends.enter_context(private(MariaDb)), ends.enter_context(private(Redis))
        fleet = ends.enter_context(closing(Fleet(tmp_path, aside, mariadb, redis, 2, OPTIONS, direct=True)))
        fleet.start()
        folder = tmp_path / "nginx"
        folder.mkdir()
        nginx = Nginx(folder, [node.port for node in fleet.nodes], free_port())
        nginx.start()
        ends.callback(nginx.stop)
        people = [Human(nginx.port, f"human{number}", (1, 1000)[number % 2]) for number in range(CLIENTS)]

        def die() -> None:
            for human in people:
                for client in human.sessions:
                    client.die()

        ends.callback(die)
        for human in people:
            human.start()
        modern = ends.enter_context(Client(Address(nginx.port)))
        modern.done(4, name="modern", password="pw")
        town = Town(fleet, nginx.port, people, modern, modern.login(name="modern", password="pw")["server"])
        sleep(THINKING)
        for human in people:
            human.id = human.client.register(human.name)["id"]
        sleep(THINKING)
        for human in people:
            human.enter()
        town.group = modern.done(8, groupname="all")["groupid"]
        yield town
        for node in fleet.nodes:
            assert "Traceback" not in node.log


def join_group(town: Town) -> None:
    for human in town.people:
        human.client.type(9, id=human.id, groupid=town.group)
    until = monotonic() + DEADLINE
    while town.modern.done(29, groupid=town.group)["group"]["count"] < 1 + CLIENTS:
        assert monotonic() < until
        sleep(0.05)


def everybody_talks_to_everybody(town: Town, words: str) -> None:
    """Have each person write to all others and to the modern client, who writes back; all of it is shown."""
    for human in town.people:
        for other in town.people:
            chat = {"id": human.id, "name": human.name, "toid": other.id, "time": ""}
            human.client.type(6, msg=f"{words} {human.name}", **chat)
        human.client.type(6, id=human.id, name=human.name, toid=town.modern.id, msg=words, time="")
        said = town.modern.wait(msgid=6, id=human.id, msg=words)
        town.modern.send(13, peerid=human.id, seq=said["seq"])
        town.modern.done(6, toid=human.id, msg=f"{words} modern")
    for human in town.people:
        for name in (*(other.name for other in town.people), "modern"):
            human.wait_for(f"{words} {name}")


def say(town: Town, number: int) -> None:
    """Have the modern client write to the group and to each person; all of it is acknowledged."""
    text = "中文" * 500 if number % 10 == 9 else "x"
    town.modern.done(10, groupid=town.group, msg=f"group {number:04} {text}")
    for human in town.people:
        town.modern.done(6, toid=human.id, msg=f"pair {number:04}")


def people_at(town: Town, node: Node) -> list[Human]:
    """Return the people at a node; if nobody is, have somebody come back until nginx has sent them there."""
    until = monotonic() + AWAY
    while not (found := [human for human in town.people if town.node_of(human) == node.node]):
        assert monotonic() < until
        town.people[0].come_back()
    return found


def chat_through_a_death(town: Town, rounds: int, messages: int) -> None:
    """Kill a node amid the chat, each round; who was there comes back, and everybody is shown everything."""
    said = 0
    for _ in range(rounds):
        victim = town.other
        bereft = people_at(town, victim)
        sleeper = next(human for human in town.people if human not in bereft)
        sleeper.client.type(3, id=sleeper.id)
        for number in range(messages):
            if number == messages // 2:
                victim.kill()
            say(town, said)
            said += 1
        for human in bereft:
            human.client.wait_for_end()
            human.come_back()
        sleeper.enter()
        say(town, said)
        said += 1
        for human in town.people:
            human.wait_for(f"pair {said - 1:04}")
            human.wait_for(f"group {said - 1:04} " + ("中文" * 500 if (said - 1) % 10 == 9 else "x"))
        victim.start()
        for human in town.people:
            check_shown(human, said, was_bereft=human in bereft)
        for human in bereft:  # some of them to the node that is back
            human.come_back()
    everybody_talks_to_everybody(town, "at last")


def check_shown(human: Human, said: int, was_bereft: bool) -> None:
    """Hold that all was shown, in order; twice only what a killed node had not written down as received."""
    for prefix in ("pair", "group"):
        shown = [text[: len(prefix) + 5] for text in human.shown(prefix)]
        assert list(dict.fromkeys(shown)) == [f"{prefix} {number:04}" for number in range(said)]
        twice = [text for text, times in Counter(shown).items() if times > 1]
        assert was_bereft or len(human.sessions) > 1 or twice == []


def test_people_with_original_clients_on_two_nodes_outlive_the_death_of_one(town: Town) -> None:
    assert {town.node_of(human) for human in town.people} == {"n1", "n2"}
    join_group(town)
    everybody_talks_to_everybody(town, "hello")
    chat_through_a_death(town, rounds=1, messages=20)
    for human in town.people:
        human.check()


@pytest.mark.long
def test_people_with_original_clients_outlive_one_death_after_another(town: Town) -> None:
    join_group(town)
    everybody_talks_to_everybody(town, "hello")
    chat_through_a_death(town, rounds=5, messages=100)
    for human in town.people:
        human.check()

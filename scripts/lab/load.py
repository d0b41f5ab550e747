"""A load on a cluster: users who chat in pairs and groups, across all nodes."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, sleep
from typing import NamedTuple

from scripts.lab.background import Background
from scripts.lab.device import LIMIT, LOGIN, PASSWORD, Device, Frame, Place
from scripts.lab.program import LOOK_AGAIN, LabError
from scripts.lab.record import Record, of_pair

REG, CREATE_GROUP, ADD_GROUP = 4, 8, 9


class Load:
    """Users in a ring who write to their neighbours, each at home on another node, and to a group.

    Every fourth has a second device, which is at home on yet another node.

    Args:
        aside: where it runs.
        places: the nodes.
        name: the beginning of all names, which no other load on this database has.
        users: how many; a multiple of ``GROUP``.
        rate: messages a second, of each device.
        seed: of the dice.

    Attributes:
        devices: all of them.
        groups: the members of each group, by its id.
    """

    GROUP = 8

    def __init__(
        self,
        aside: Background,
        places: Sequence[Place],
        name: str,
        *,
        users: int = 24,
        rate: float = 3.0,
        seed: int = 0,
    ) -> None:
        self.devices: list[Device] = []
        self._aside = aside
        self._places = places
        self._name = name
        self._users = users
        self._rate = rate
        self._chance = random.Random(seed)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def records(self) -> list[Record]:
        """Of all devices."""
        return [device.record for device in self.devices]

    @property
    def conversations(self) -> set[int]:
        """In which it writes."""
        return {one for record in self.records for one in record.conversations}

    def start(self) -> None:
        """Register everybody, log them in, and begin to write when all are there.

        Raises:
            TimeoutError: it took too long.
        """
        self._aside.run(self._start())
        wait(lambda: all(device.online for device in self.devices), "everybody is online")
        for device in self.devices:
            device.sending = True

    def pause(self) -> None:
        """Write nothing new."""
        for device in self.devices:
            device.sending = False

    def vanish(self, devices: Iterable[Device]) -> None:
        """Let some devices lose their connection; they come back elsewhere."""
        self._aside.run(_on_the_loop(device.vanish for device in devices))

    def close(self) -> None:
        """End all connections."""
        self._aside.run(_on_the_loop(device.end for device in self.devices))

    async def _start(self) -> None:
        people = await asyncio.gather(*map(self._register, range(self._users)))
        starts = range(0, self._users, self.GROUP)
        groups = await asyncio.gather(*[self._found(people[start : start + self.GROUP]) for start in starts])
        for number, person in enumerate(people):
            neighbours = people[number - 1], people[(number + 1) % self._users]
            pairs = {of_pair(person.id, other.id) for other in neighbours}
            record = Record(person.id, "", frozenset({-groups[number // self.GROUP], *pairs}))
            self._add(number, record, person.name, person.token)
            if number % 4 == 0:
                self._add(number + 1, Record(person.id, "phone", record.conversations), person.name)

    def _add(self, home: int, record: Record, name: str, token: str = "") -> None:
        chance = random.Random(self._chance.random())
        device = Device(self._places, home % len(self._places), record, name, token, self._rate, chance)
        self.devices.append(device)
        self._tasks.append(asyncio.create_task(device.run()))

    async def _register(self, number: int) -> _Person:
        """Add a user, who logs in for the first time and leaves again."""
        place, name = self._places[number % len(self._places)], f"{self._name}{number}"
        login = {"msgid": LOGIN, "name": name, "password": PASSWORD}
        reply = await _ask(place, {**login, "msgid": REG}, login)
        return _Person(reply["id"], name, reply["token"], place)

    async def _found(self, people: list[_Person]) -> int:
        """Make a group of some users, and return its id."""
        founder, *others = people
        create = {"msgid": CREATE_GROUP, "groupname": f"of {founder.name}"}
        groupid: int = (await _ask(founder.place, founder.login, create))["groupid"]
        for person in others:
            await _ask(person.place, person.login, {"msgid": ADD_GROUP, "groupid": groupid})
        return groupid


class _Person(NamedTuple):
    """A user and what it takes to log in again."""

    id: int
    name: str
    token: str
    place: Place

    @property
    def login(self) -> Frame:
        return {"msgid": LOGIN, "token": self.token, "force": True}


def wait(until: Callable[[], object], name: str, deadline: float = 30.0) -> float:
    """Wait until something is so, and return after how many seconds it was.

    Raises:
        TimeoutError: it never was; the text names it.
    """
    began = look = monotonic()
    while not until():
        if monotonic() - began > deadline:
            raise TimeoutError(f"not within {deadline:.0f} s: {name}")
        sleep(max(LOOK_AGAIN, monotonic() - look))  # half the time is for those who are waited for
        look = monotonic()
    return monotonic() - began


async def _ask(place: Place, *requests: Frame) -> Frame:
    """Send requests on a connection of their own, and return the last reply."""
    reader, writer = await asyncio.open_connection(place.host, place.port, limit=LIMIT)
    reply: Frame = {}
    try:
        for request in requests:
            writer.write(json.dumps({**request, "cid": "setup"}).encode() + b"\n")
            while reply.get("cid") != "setup":
                reply = json.loads(await reader.readline())
            if reply["errno"]:
                raise LabError(f"{request} got {reply}")
            done, reply = reply, {}
    finally:
        writer.close()
    return done


async def _on_the_loop(calls: Iterable[Callable[[], None]]) -> None:
    for call in calls:
        call()

"""A load on a cluster: users that chat in pairs and groups, across all nodes."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, sleep
from typing import NamedTuple

from lab.background import Background
from lab.people.device import PASSWORD, Device
from lab.people.person import Person, Weather
from lab.people.visit import LIMIT, LOGIN, Frame, Place
from lab.record import Record, of_pair
from lab.servers.program import LOOK_AGAIN, LabError

REG, ADD_FRIEND, CREATE_GROUP, ADD_GROUP = 4, 7, 8, 9
BUSY = 13

PATIENCE = 15.0
"""Seconds for which a request is sent again while the server is busy."""

FRIENDS = (-1, 1, 5, 11)
"""The friends of a user: those so many places further in the ring."""

LAG = 0.02
"""Seconds between two looks at the clock; a look that comes late tells how late the load itself is."""


class Load:
    """Users in a ring that write to their neighbours, each at home on another node, and to a group.

    Every fourth has a second device, which is at home on yet another node.  With ``acts`` there is a second
    group beside each, which all but its founder join and leave, and users have friends.

    Args:
        aside: where it runs.
        places: the nodes.
        name: the beginning of all names, which no other load on this database has.
        users: how many; a multiple of ``GROUP``.
        rate: messages a second, of each device.
        seed: of the dice.
        acts: a second, of each device, beside messages (see ``life``).

    Attributes:
        devices: all of them.
        weather: the faults, as the devices are told of them.
        lags: when the load was late, and by how many seconds.
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
        acts: float = 0.0,
    ) -> None:
        self.devices: list[Device] = []
        self.weather = Weather()
        self.lags: list[tuple[float, float]] = []
        self._acts = acts
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
        return {
            one
            for record in self.records
            for one in (*record.conversations, *(-group for group in record.groups))
        }

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
        for task in self._tasks:
            self._aside.loop.call_soon_threadsafe(task.cancel)

    async def _start(self) -> None:
        people = await asyncio.gather(*map(self._register, range(self._users)))
        starts = range(0, self._users, self.GROUP)
        groups = await asyncio.gather(*[self._found(people[start : start + self.GROUP]) for start in starts])
        lively = await asyncio.gather(
            *[self._found([people[start]], "more ") for start in starts if self._acts]
        )
        for number, person in enumerate(people):
            neighbours = people[number - 1], people[(number + 1) % self._users]
            own = {-groups[number // self.GROUP], *(of_pair(person.id, other.id) for other in neighbours)}
            visited: set[int] = set()
            friends: set[int] = set()
            if self._acts:
                friends = {people[(number + step) % self._users].id for step in FRIENDS}
                await self._befriend(person, friends)
                visited = {lively[number // self.GROUP]}
            if visited and number % self.GROUP == 0:
                own |= {-group for group in visited}
                visited = set()
            user = Person(person.id, person.name, [PASSWORD])
            names = ["", "phone"] if number % 4 == 0 else [""]
            added = [
                self._add(
                    number + step,
                    Record(
                        person.id,
                        name,
                        frozenset(own),
                        groups=frozenset(visited),
                        friends=frozenset(friends),
                    ),
                    user,
                    "" if name else person.token,
                )
                for step, name in enumerate(names)
            ]
            for device in added:
                device.life.know([other for other in added if other is not device])
        self._tasks.append(asyncio.create_task(self._watch_the_clock()))

    def _add(self, home: int, record: Record, user: Person, token: str) -> Device:
        chance = random.Random(self._chance.random())
        home %= len(self._places)
        device = Device(self._places, home, record, user, token, self._rate, chance, self.weather, self._acts)
        self.devices.append(device)
        self._tasks.append(asyncio.create_task(device.run()))
        return device

    async def _watch_the_clock(self) -> None:
        while True:
            due = monotonic() + LAG
            await asyncio.sleep(LAG)
            if (late := monotonic() - due) > LAG:
                self.lags.append((due, late))

    async def _befriend(self, person: _Person, friends: Iterable[int]) -> None:
        adds = [{"msgid": ADD_FRIEND, "friendid": friend} for friend in friends]
        await _ask(person.place, person.login, *adds)

    async def _register(self, number: int) -> _Person:
        """Add a user that logs in for the first time and leaves again."""
        place, name = self._places[number % len(self._places)], f"{self._name}{number}"
        login = {"msgid": LOGIN, "name": name, "password": PASSWORD}
        reply = await _ask(place, {**login, "msgid": REG}, login)
        return _Person(reply["id"], name, reply["token"], place)

    async def _found(self, people: list[_Person], kind: str = "") -> int:
        """Make a group of some users, and return its id."""
        founder, *others = people
        create = {"msgid": CREATE_GROUP, "groupname": f"{kind}of {founder.name}"}
        groupid: int = (await _ask(founder.place, founder.login, create))["groupid"]
        for person in others:
            await _ask(person.place, person.login, {"msgid": ADD_GROUP, "groupid": groupid})
        return groupid


class _Person(NamedTuple):
    """A user, with the proof for the next login."""

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
        sleep(max(LOOK_AGAIN, monotonic() - look))  # half the time is for the awaited processes
        look = monotonic()
    return monotonic() - began


async def _ask(place: Place, *requests: Frame) -> Frame:
    """Send requests on a connection of their own, each again while it is busy, and return the last reply."""
    reader, writer = await asyncio.open_connection(place.host, place.port, limit=LIMIT)
    patience = monotonic() + PATIENCE
    try:
        for request in requests:
            while (reply := await _reply(reader, writer, request))["errno"]:
                if reply["errno"] != BUSY or monotonic() > patience:
                    raise LabError(f"{request} got {reply}")
                await asyncio.sleep(LOOK_AGAIN)
    finally:
        writer.close()
    return reply


async def _reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Frame) -> Frame:
    writer.write(json.dumps({**request, "cid": "setup"}).encode() + b"\n")
    while True:
        reply: Frame = json.loads(await reader.readline())
        if reply.get("cid") == "setup":
            return reply


async def _on_the_loop(calls: Iterable[Callable[[], None]]) -> None:
    for call in calls:
        call()

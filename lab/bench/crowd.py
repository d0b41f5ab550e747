"""Logging many people in."""

from __future__ import annotations

from collections.abc import Sequence

from lab.bench import wire
from lab.bench.loop import Connection, LoadError, Loop
from lab.bench.site import Site
from lab.fill import PASSWORD, Person

AT_A_TIME = 50
"""Logins under way."""


class Crowd:
    """Users that log in, so many at a time, and stay.

    Args:
        loop: where they are.
        site: where they go.
        people: the users; the n-th goes to the n-th server, round and round.
        password: True to log in by password, not by token.

    Attributes:
        connections: of all that have begun to log in, in the order of ``people``.
        arrived: how many are there.
    """

    def __init__(self, loop: Loop, site: Site, people: Sequence[Person], *, password: bool = False) -> None:
        self._loop = loop
        self._site = site
        self._people = people
        self._password = password
        self.connections: list[Connection] = []
        self.arrived = 0

    def come(self, at_a_time: int = AT_A_TIME) -> None:
        """Log all of them in.

        Raises:
            LoadError: one is refused, or it takes too long.
        """
        for _ in range(at_a_time):
            self._next()
        everybody = len(self._people)
        # Enough for the slowest machine: a password takes 30 ms of one core.
        self._loop.until(lambda: self.arrived == everybody, "logins", 30 + everybody * 0.1)

    def _next(self) -> None:
        number = len(self.connections)
        if number < len(self._people):
            person = self._people[number]
            connection = self._loop.connect(self._site.address(number), self._heard)
            secret = {"password": PASSWORD} if self._password else {"token": person.token}
            connection.send(wire.request(1, id=person.id, **secret))
            self.connections.append(connection)

    def _heard(self, batch: wire.Batch) -> None:
        for frame in batch.frames:
            if frame.errno or frame.msgid == wire.BYE:
                raise LoadError(f"a login was refused: {frame.error or frame}")
            if frame.msgid == wire.LOGIN_ACK:  # else a friend comes, or a heartbeat comes back
                self.arrived += 1
                self._next()


def come(loop: Loop, site: Site, people: Sequence[Person]) -> list[Connection]:
    """Log users in by token and return their connections; later frames are ignored."""
    crowd = Crowd(loop, site, people)
    crowd.come()
    for connection in crowd.connections:
        connection.heard = ignore
    return crowd.connections


def ignore(batch: wire.Batch) -> None:
    """Hear nothing but a BYE.

    Raises:
        LoadError: there is one.
    """
    if any(frame.msgid == wire.BYE for frame in batch.frames):
        raise LoadError("the server said BYE")

"""Several greenchat servers on one MariaDB and one Redis, each with its own lines to them."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.background import Background
from lab.faults.proxy import FaultProxy
from lab.servers.mariadb import MariaDb
from lab.servers.node import Node
from lab.servers.program import LabError, Program
from lab.servers.redis import Redis


class Fleet:
    """Some nodes on one MariaDB and one Redis, each with its own lines to them.

    Args:
        folder: for the nodes' logs.
        aside: where the lines run.
        mariadb: their database, which is made anew.
        redis: their bus.
        count: how many nodes.
        options: more of their command line.
        direct: without the lines, which cost time.

    Attributes:
        aside, mariadb, redis: as given.
        nodes: named n1, n2 …
        to_mariadb, to_redis: the lines, in the order of the nodes.
        database: the name of the database.
    """

    database = "chat"

    def __init__(
        self,
        folder: Path,
        aside: Background,
        mariadb: MariaDb,
        redis: Redis,
        count: int = 3,
        options: tuple[object, ...] = (),
        direct: bool = False,
    ) -> None:
        self.aside = aside
        self.mariadb = mariadb
        self.redis = redis
        mariadb.fresh(self.database)
        lines = 0 if direct else count
        self.to_mariadb = [FaultProxy(aside, mariadb.port) for _ in range(lines)]
        self.to_redis = [FaultProxy(aside, redis.port) for _ in range(lines)]
        self.nodes = [self._node(folder, number, options) for number in range(count)]

    @property
    def lines(self) -> list[FaultProxy]:
        """All of them."""
        return [*self.to_mariadb, *self.to_redis]

    def start(self) -> None:
        """Start the nodes that do not run."""
        for node in self.nodes:
            if not node.running:
                node.start()

    def heal(self) -> None:
        """Continue stopped programs, make all lines good, and start the programs that were ended.

        Raises:
            LabError: a node died by itself.
        """
        for line in self.lines:
            line.heal()
        programs: list[Program] = [self.mariadb, self.redis, *self.nodes]
        for program in programs:
            if program.running:
                program.signal(signal.SIGCONT)
            elif isinstance(program, Node) and program.died:
                raise LabError(f"{program} died:\n{program.log[-4000:]}")
            else:
                program.start()

    def close(self) -> None:
        """End the nodes and the lines."""
        with ExitStack() as ends:
            for line in self.lines:
                ends.callback(line.close)
            for node in self.nodes:
                ends.callback(node.stop)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return self.mariadb.run(query, database=self.database)

    def _node(self, folder: Path, number: int, options: tuple[object, ...]) -> Node:
        name = f"n{number + 1}"
        place = folder / name
        place.mkdir()
        store = self.mariadb.url(self.database, _port(self.to_mariadb, number))
        bus = self.redis.url(_port(self.to_redis, number))
        return Node(place, name, store, bus, *options)


def _port(lines: list[FaultProxy], number: int) -> int | None:
    return lines[number].port if lines else None

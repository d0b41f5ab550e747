"""A greenchat server of a cluster, and a cluster of them on one MariaDB and one Redis."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.background import Background
from lab.faults import FaultProxy
from lab.mariadb import MariaDb
from lab.program import LabError, Program, free_port
from lab.redis import Redis

ROOT = Path(__file__).parents[1]

READY = re.compile(r"^greenchat \S+ listening on \S+ .*$", re.MULTILINE)


class Node(Program):
    """A ``python -m greenchat.server`` of a cluster.

    Args:
        folder: for its log.
        name: of the node.
        store, bus: URLs.
        options: more of its command line.

    Attributes:
        host, port: where clients come to, the same after a restart.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path, name: str, store: str, bus: str, *options: object) -> None:
        super().__init__(sys.executable, folder)
        self.node = name
        self.port = free_port()
        self._options = ["--node", name, "--store", store, "--bus", bus, *options]
        self._read = 0

    def start(self) -> None:
        """Start it, and return when clients can come."""
        self._read = len(self.log)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("GREENCHAT_")}
        self._start(
            ["-m", "greenchat.server", self.port, *self._options],
            self._is_ready,
            ours | {"PYTHONPATH": str(ROOT)},
        )

    def interrupt(self) -> None:
        """Let it end as Ctrl-C does.

        Raises:
            LabError: it did not end, or not with the exit status 0.
        """
        process = self._process
        assert process
        self._end(signal.SIGINT)
        if process.returncode:
            raise LabError(f"{self.node} ended with {process.returncode}:\n{self.log}")

    @property
    def died(self) -> bool:
        """Whether it ended and nobody here ended it."""
        return self._process is not None and self._process.poll() is not None

    def freeze(self) -> None:
        """Stop the process where it is; clients and backends see nobody."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def __repr__(self) -> str:
        return self.node

    def _is_ready(self) -> bool:
        return READY.search(self.log, self._read) is not None


class Fleet:
    """Some nodes on one MariaDB and one Redis, each with its own lines to them.

    Args:
        folder: for the nodes' logs.
        aside: where the lines run.
        mariadb: their database, which is made anew.
        redis: their bus; without one each node is alone, on the same database.
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
        redis: Redis | None,
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
        self.to_redis = [FaultProxy(aside, redis.port) for _ in range(lines)] if redis else []
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
        """Let all that runs go on, all lines be good, and start what was ended.

        Raises:
            LabError: a node died by itself.
        """
        for line in self.lines:
            line.heal()
        for program in (self.mariadb, self.redis, *self.nodes):
            if program and program.running:
                program.signal(signal.SIGCONT)
            elif isinstance(program, Node) and program.died:
                raise LabError(f"{program} died:\n{program.log[-4000:]}")
            elif program:
                program.start()

    def close(self) -> None:
        """End the nodes and the lines."""
        with ExitStack() as ends:
            for line in self.lines:
                ends.callback(line.close)
            for node in self.nodes:
                ends.callback(node.stop)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what is in the database."""
        return self.mariadb.run(query, database=self.database)

    def _node(self, folder: Path, number: int, options: tuple[object, ...]) -> Node:
        name = f"n{number + 1}"
        place = folder / name
        place.mkdir()
        store = self.mariadb.url(self.database, _port(self.to_mariadb, number))
        bus = self.redis.url(_port(self.to_redis, number)) if self.redis else "local://"
        return Node(place, name, store, bus, *options)


def _port(lines: list[FaultProxy], number: int) -> int | None:
    return lines[number].port if lines else None

"""The site of a measurement: a new database and the servers on it, pinned to their cores."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, process_time

from lab import machine
from lab.bench.figures import Reading
from lab.fill import Filling
from lab.servers.mariadb import MariaDb
from lab.servers.node import Node
from lab.servers.program import free_port, private
from lab.servers.redis import Redis

Member = tuple[str, str]
"""The name of a node, and the URL of its bus."""


TCP, WEBSOCKET = "tcp", "websocket"


class Site:
    """A database, and the servers on it once they are started.

    Args:
        folder: for the servers.
        store: URL of an empty database.
        nodes: which servers there are.
        options: of each server.
        database: the processes of the database and the bus.
        cores: those for servers and load.
        wire: what its clients speak.

    Attributes:
        wire: as given.
        fill: fills the database; until ``start``.
    """

    def __init__(
        self,
        folder: Path,
        store: str,
        nodes: Sequence[Member],
        options: Sequence[object],
        database: Sequence[int],
        cores: machine.Cores,
        wire: str = TCP,
    ) -> None:
        self.wire = wire
        self._folder = folder
        self._store = store
        self._nodes = nodes
        self._options = options
        self._database = database
        self._cores = cores
        self._servers: list[Node] = []
        self._addresses: list[tuple[str, int]] = []
        self.fill = Filling(store)

    def start(self, *options: object) -> None:
        """Start the servers with these options besides their own."""
        self.fill.close()
        for number, (name, bus) in enumerate(self._nodes):
            folder = self._folder / name
            folder.mkdir()
            web = free_port() if self.wire == WEBSOCKET else 0
            more = ("--web", f"{Node.host}:{web}") if web else ()
            server = Node(folder, name, self._store, bus, *self._options, *more, *options)
            core = self._cores.servers[number % len(self._cores.servers)]
            with machine.on_cores([core]):
                server.start()
            self._servers.append(server)
            self._addresses.append((server.host, web or server.port))

    def address(self, number: int) -> tuple[str, int]:
        """Return where the client of this number comes to: they are spread over the nodes."""
        return self._addresses[number % len(self._addresses)]

    @property
    def pids(self) -> list[int]:
        """The processes of the servers."""
        return [server.pid for server in self._servers]

    @property
    def complaints(self) -> list[str]:
        """The warnings and errors that the servers have logged."""
        return [line for server in self._servers for line in server.complaints]

    def reading(self) -> Reading:
        """Read the clocks."""
        return Reading(
            monotonic(),
            machine.cpu_seconds(self.pids),
            machine.cpu_seconds(self._database),
            process_time(),
            machine.busy_seconds(),
        )

    def close(self) -> None:
        """End the servers at once: nothing of theirs is needed any more."""
        self.fill.close()
        for server in self._servers:
            server.kill()


class Lab:
    """Makes sites: on SQLite, or as a cluster of two nodes on a private MariaDB and Redis.

    Args:
        options: of every server.

    Attributes:
        wire: what the clients of the next site speak.
    """

    wire = TCP
    kind = "one server, SQLite"

    def __init__(self, options: Sequence[str]) -> None:
        self.cores = machine.cores()
        self._options = options

    @contextmanager
    def site(self) -> Iterator[Site]:
        """Make a new site for the block."""
        with tempfile.TemporaryDirectory(prefix="greenchat-bench-") as name:
            folder = Path(name)
            site = self._site(folder)
            try:
                yield site
            finally:
                site.close()

    def _site(self, folder: Path) -> Site:
        return Site(
            folder,
            f"sqlite:///{folder / 'chat.db'}",
            [("one", "local://")],
            self._options,
            [],
            self.cores,
            self.wire,
        )


class ClusterLab(Lab):
    """See ``Lab``."""

    kind = "two nodes, MariaDB, Redis"

    def __init__(self, options: Sequence[str], mariadb: MariaDb, redis: Redis) -> None:
        super().__init__(options)
        self._mariadb = mariadb
        self._redis = redis

    def _site(self, folder: Path) -> Site:
        self._redis.connect().flushall()
        nodes = [(name, self._redis.url()) for name in ("one", "two")]
        pids = [self._mariadb.pid, self._redis.pid]
        store = self._mariadb.fresh("chat_bench")
        return Site(folder, store, nodes, self._options, pids, self.cores, self.wire)


@contextmanager
def a_lab(cluster: bool, options: Sequence[str]) -> Iterator[Lab]:
    """Provide for all sites of a run.

    Raises:
        LabError: a program is not installed.
    """
    if not cluster:
        yield Lab(options)
        return
    with ExitStack() as stack:
        with machine.on_cores(machine.cores().servers):
            mariadb = stack.enter_context(
                private(MariaDb, "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M")
            )
            redis = stack.enter_context(private(Redis))
        yield ClusterLab(options, mariadb, redis)

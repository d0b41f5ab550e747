"""Where it is measured: a new database and the servers on it, pinned to their cores."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, process_time

from lab.bench import machine
from lab.bench.figures import Reading
from lab.bench.fill import Filling
from lab.servers.mariadb import MariaDb
from lab.servers.program import Program, private
from lab.servers.redis import Redis

_READY = re.compile(r"^greenchat \S+ listening on (\S+):(\d+) ", re.MULTILINE)
_COMPLAINT = re.compile(r"^.* (?:WARNING|ERROR|CRITICAL) .*$|^Traceback.*$", re.MULTILINE)


class Server(Program):
    """A ``python -m greenchat.server`` on a free port.

    Args:
        folder: for its log.
        options: of its command line.

    Attributes:
        address: where clients come to.
    """

    def __init__(self, folder: Path, *options: object) -> None:
        super().__init__(sys.executable, folder)
        self._start(["-P", "-m", "greenchat.server", "0", *options], self._is_ready)

    def _is_ready(self) -> bool:
        ready = _READY.search(self.log)
        if ready:
            self.address = (ready[1], int(ready[2]))
        return ready is not None

    @property
    def complaints(self) -> list[str]:
        """The warnings, errors and beginnings of tracebacks that it has logged."""
        return _COMPLAINT.findall(self.log)


class Site:
    """A database, and the servers on it once they are started.

    Args:
        folder: for the servers.
        store: URL of an empty database.
        nodes: the options of each server.
        database: the processes of the database and the bus.
        cores: what runs where.

    Attributes:
        fill: fills the database; until ``start``.
    """

    def __init__(
        self,
        folder: Path,
        store: str,
        nodes: Sequence[Sequence[object]],
        database: Sequence[int],
        cores: machine.Cores,
    ) -> None:
        self._folder = folder
        self._store = store
        self._nodes = nodes
        self._database = database
        self._cores = cores
        self._servers: list[Server] = []
        self.fill = Filling(store)

    def start(self, *options: object) -> None:
        """Start the servers with these options besides their own."""
        self.fill.close()
        for number, own in enumerate(self._nodes):
            folder = self._folder / f"node{number}"
            folder.mkdir()
            core = self._cores.servers[number % len(self._cores.servers)]
            with machine.on_cores([core]):
                server = Server(folder, "--store", self._store, *own, *options)
            self._servers.append(server)

    def address(self, number: int) -> tuple[str, int]:
        """Return where the client of this number comes to: they are spread over the nodes."""
        return self._servers[number % len(self._servers)].address

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
    """

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
        return Site(folder, f"sqlite:///{folder / 'chat.db'}", [self._options], [], self.cores)


class ClusterLab(Lab):
    """See ``Lab``."""

    kind = "two nodes, MariaDB, Redis"

    def __init__(self, options: Sequence[str], mariadb: MariaDb, redis: Redis) -> None:
        super().__init__(options)
        self._mariadb = mariadb
        self._redis = redis

    def _site(self, folder: Path) -> Site:
        self._redis.connect().flushall()
        bus = ["--bus", self._redis.url()]
        nodes = [[*bus, "--node", name, *self._options] for name in ("one", "two")]
        pids = [self._mariadb.pid, self._redis.pid]
        return Site(folder, self._mariadb.fresh("chat_bench"), nodes, pids, self.cores)


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

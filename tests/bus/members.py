"""Nodes on a real Redis, for scenarios in a monkey-patched process: import it first."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import ExitStack, contextmanager  # noqa: E402
from time import monotonic  # noqa: E402
from typing import Any  # noqa: E402
from unittest.mock import patch  # noqa: E402

import gevent  # noqa: E402
import redis  # noqa: E402

from greenchat.bus import open_backend  # noqa: E402
from greenchat.bus.cluster import bus as cluster_bus  # noqa: E402
from greenchat.bus.cluster import failure_detector, nodes  # noqa: E402
from greenchat.bus.redis.connection import RedisServer, exchange  # noqa: E402
from greenchat.model.records import Node, Seat  # noqa: E402
from tests.bus.contract import Recorder  # noqa: E402

DEADLINE = 30.0
"""Seconds that anything may take: generous, because nothing waits for it when all is well."""

CLUSTER = "0123456789abcdef"
"""The id of the nodes' database."""

# A fifth of what they are, so that nobody waits long.
cluster_bus.LEASE, cluster_bus.TICK, cluster_bus.STEADY, cluster_bus.COMPARE = 1.0, 0.2, 0.2, 0.2
failure_detector.GRACE, nodes.RETURN, failure_detector.TRY_AGAIN = 0.8, 0.3, 0.2


def ask(request: str) -> None:
    """Ask the test to do something to the server, and wait until it is done."""
    print(request, flush=True)
    gevent.get_hub().threadpool.apply(sys.stdin.readline)


def until(ready: Callable[[], object]) -> None:
    """Wait for something."""
    end = monotonic() + DEADLINE
    while not ready():
        assert monotonic() < end, "it does not come"
        gevent.sleep(0.01)


class Line(RedisServer):
    """The way to Redis of one node, which its test can cut for good."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._url = url
        self._ids: list[int] = []
        self._is_cut = False

    def connect(self, timeout: float) -> Any:
        if self._is_cut:
            raise ConnectionResetError
        connection = super().connect(timeout)
        self._ids += exchange(connection, ("CLIENT", "ID"))
        return connection

    def cut(self) -> None:
        """End all connections and make no more."""
        self._is_cut = True
        admin = redis.Redis.from_url(self._url)
        for number in self._ids:
            admin.client_kill_filter(_id=str(number))


class Member:
    """A node of the cluster.

    Args:
        url: of Redis.
        name, incarnation: of the node.
        others: nodes that the database shows.
        cluster: the id that the database has.
    """

    def __init__(
        self,
        url: str,
        name: str,
        incarnation: int = 1,
        others: tuple[Node, ...] = (),
        cluster: str = CLUSTER,
    ) -> None:
        self.node = Node(name, incarnation)
        self.listener = Recorder()
        self.line = Line(url)
        with patch("greenchat.bus.RedisServer", lambda url: self.line):
            self.backend = open_backend(url)
        self.bus, self.counters, self.friends = self.backend
        self.bus.open(cluster, name)
        self.bus.start(self.node, self.listener, others)

    def login(self, userid: int, *devices: str) -> list[Seat]:
        """Have a user online here with these devices (none: offline), and return where else."""
        if devices:
            self.listener.here[userid] = list(devices)
        else:
            self.listener.here.pop(userid, None)
        return self.bus.refresh(userid)

    def sees(self, userid: int) -> bool:
        return self.bus.online([userid]) == {userid}

    def tell(self, event: bytes) -> None:
        self.bus.send(self.bus.nodes(), event)

    def die(self) -> None:
        """Be cut off for good: for the others it is as if a SIGKILL had ended it."""
        self.line.cut()


@contextmanager
def cluster(url: str, *names: str, id: str = CLUSTER) -> Iterator[list[Member]]:
    """Run nodes that know each other."""
    with ExitStack() as ends:
        members = []
        for name in names:
            members.append(Member(url, name, cluster=id))
            ends.callback(members[-1].bus.close)
        until(lambda: all(len(member.bus.nodes()) == len(names) - 1 for member in members))
        for member in members:
            member.bus.wait_acknowledged()
        for _ in range(2):  # the second answer says that the first has been read
            hear_each_other(members)
        yield members


def hear_each_other(members: list[Member]) -> None:
    """Have each node send an event to all others, and wait until it is there."""
    for member in members:
        member.tell(b"hello")
    until(lambda: all(len(member.listener.events) == len(members) - 1 for member in members))
    for member in members:
        member.listener.events.clear()

"""A login storm: a server has come back, and all its clients with it, at the same moment.

``python -m lab.storm [CLIENTS] [--online N] [SERVER OPTION …]`` prints as JSON when all were served,
how many were told to wait and for how long, the latency of heartbeats of those online meanwhile, and the
CPU and memory that it cost.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
import select
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

from lab import machine
from lab.fill import Filling, Person
from lab.percentiles import spread
from lab.servers.node import Node
from lab.servers.program import LabError

HEARTBEAT = 1.0
"""Seconds between two heartbeats of a client: the server's default."""

PATIENCE = 120.0
"""Seconds after which a storm is given up."""

JITTER = 0.5
"""Seconds of jitter on top of the server's ``retry_after``, as in the client library."""

AFTERWARDS = 3.0
"""Seconds that all stay after the last is served: nobody is to be lost right after it."""


@dataclass
class Met:
    """The experience of some clients.

    Attributes:
        served: seconds until each was logged in.
        waits: seconds that each which was refused was told to wait.
        broken: why connections ended that were logged in, or could not be made.
        beats: seconds until each heartbeat was answered.
    """

    served: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)


class Client:
    """A client that logs in by token until it works, and then stays.

    Attributes:
        frames: bytes of a frame that is not complete yet.
        served: True if the login is done.
        wait: seconds that the server has asked to wait.
        sent: when the heartbeat was sent that is not answered yet; None if there is none.
    """

    __slots__ = ("frames", "login", "sent", "served", "sock", "wait")

    def __init__(self, person: Person) -> None:
        request = {"msgid": 1, "id": person.id, "token": person.token, "force": True}
        self.login = json.dumps(request).encode() + b"\n"
        self.come()

    def come(self) -> None:
        """Begin anew."""
        self.sock: socket.socket | None = None
        self.frames = b""
        self.served = False
        self.wait = 0.0
        self.sent: float | None = None


class Crowd:
    """Clients that come all at once, in one loop and without gevent: they must not be slower than the server.

    Args:
        address: of the server.
        everybody: the users.

    Attributes:
        met: their experience.
    """

    def __init__(self, address: tuple[str, int], everybody: list[Person]) -> None:
        self.met = Met()
        self._address = address
        self._missing = len(everybody)
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._due: list[tuple[float, int, Client]] = []
        self._order = itertools.count()
        self._began = monotonic()
        for person in everybody:
            self._later(0.0, Client(person))

    def run(self, over: Callable[[], bool]) -> None:
        """Let them be there until ``over()``.

        Raises:
            LabError: that took too long.
        """
        end = monotonic() + PATIENCE
        while not over():
            now = monotonic()
            if now > end:
                raise LabError(f"{self._missing} were not served within {PATIENCE:.0f} s")
            while self._due and self._due[0][0] <= now:
                self._act(heapq.heappop(self._due)[2], now)
            for fd, _ in self._epoll.poll(0.02, 1000):
                if (client := self._clients.get(fd)) is not None:
                    self._look(client)

    @property
    def served(self) -> bool:
        """True if all are logged in."""
        return not self._missing

    def close(self) -> None:
        """Go, all of them."""
        for client in self._clients.values():
            assert client.sock
            client.sock.close()
        self._epoll.close()

    def _later(self, seconds: float, client: Client) -> None:
        heapq.heappush(self._due, (monotonic() + seconds, next(self._order), client))

    def _act(self, client: Client, now: float) -> None:
        """Connect, or send a heartbeat."""
        if client.sock is None:
            self._connect(client)
        elif client.sent is None:
            client.sent = now
            self._send(client, b'{"msgid":12}\n')
            self._later(HEARTBEAT, client)
        else:
            self._later(0.01, client)  # the last one is not answered: one at a time

    def _connect(self, client: Client) -> None:
        client.come()
        client.sock = socket.socket()
        client.sock.setblocking(False)
        client.sock.connect_ex(self._address)
        self._clients[client.sock.fileno()] = client
        self._epoll.register(client.sock.fileno(), select.EPOLLOUT)

    def _send(self, client: Client, data: bytes) -> None:
        assert client.sock
        try:
            client.sock.send(data)
        except OSError:
            pass  # the reader will see why

    def _look(self, client: Client) -> None:
        assert client.sock
        try:
            data = client.sock.recv(65_536)
        except BlockingIOError:  # it is connected
            self._send(client, client.login)
            self._epoll.modify(client.sock.fileno(), select.EPOLLIN)
            return
        except OSError as error:
            self._lose(client, error.strerror or str(error))
            return
        *frames, client.frames = (client.frames + data).split(b"\n")
        for frame in frames:
            self._take(client, frame)
            if client.sock is None:
                return
        if not data:
            self._lose(client, "closed")

    def _take(self, client: Client, data: bytes) -> None:
        if data.startswith(b'{"msgid":12') and client.sent is not None:
            self.met.beats.append(monotonic() - client.sent)
            client.sent = None
            return
        frame = json.loads(data)
        client.wait = max(client.wait, frame.get("retry_after", 0.0))
        if frame["msgid"] == 2 and not frame["errno"]:
            client.served = True
            self._missing -= 1
            self.met.served.append(monotonic() - self._began)
            self._later(random.uniform(0, HEARTBEAT), client)
        elif frame["msgid"] in {2, 24}:
            self._lose(client, frame.get("reason") or frame["error"])

    def _lose(self, client: Client, reason: str) -> None:
        """Close, and come back unless it was logged in."""
        assert client.sock
        del self._clients[client.sock.fileno()]
        client.sock.close()
        client.sock = None
        if client.served:
            self.met.broken.append(reason)
            return
        if client.wait:
            self.met.waits.append(client.wait)
        else:
            self.met.broken.append(reason)
        self._later(max(client.wait, 0.1) + random.uniform(0, JITTER), client)


def storm(server: Node, everybody: list[Person], online: int) -> dict[str, Any]:
    """Start a server, let some people log in, and then all others at once; return the figures.

    Args:
        server: not started; its database has the people.
        everybody: they.
        online: how many of them log in first.

    Raises:
        LabError: not all were served in time.
    """
    server.start()
    address = (server.host, server.port)
    there = Crowd(address, everybody[:online])
    there.run(lambda: there.served)
    there.met.beats.clear()
    before = machine.cpu_seconds([server.pid])
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        coming = other.submit(come, address, everybody[online:])
        there.run(coming.done)
    crowd, cost = coming.result(), machine.cpu_seconds([server.pid]) - before
    figures = {
        "clients": len(everybody) - online,
        "served_seconds": spread(crowd.served),
        "told_to_wait": len(crowd.waits),
        "wait_seconds": spread(crowd.waits),
        "broken": dict(Counter(crowd.broken)),
        "online": online,
        "online_broken": dict(Counter(there.met.broken)),
        "online_heartbeats_ms": spread([beat * 1000 for beat in there.met.beats]),
        "server_cpu_seconds": round(cost, 2),
        "server_peak_mib": round(machine.peak_mib(server.pid), 1),
    }
    there.close()
    return figures


def come(address: tuple[str, int], everybody: list[Person]) -> Met:
    """Let them come, in a process of their own: the heartbeats of the others are measured in ours."""
    machine.raise_file_limit()
    crowd = Crowd(address, everybody)
    crowd.run(lambda: crowd.served)
    end = monotonic() + AFTERWARDS
    crowd.run(lambda: monotonic() > end)
    crowd.close()
    return crowd.met


def main() -> None:
    """Run one storm and print its figures."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.storm", description="Let everybody come back at once after a restart."
    )
    parser.add_argument("clients", nargs="?", type=int, default=1_000)
    parser.add_argument("--online", type=int, default=50, help="users that are online before (default: 50)")
    ours, options = parser.parse_known_args()
    machine.raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="greenchat-storm-") as folder:
        store = f"sqlite:///{folder}/chat.db"
        with closing(Filling(store)) as filling:
            everybody = filling.people(ours.clients + ours.online)
        server = Node(Path(folder), "storm", store, "local://", *options)
        try:
            print(json.dumps(storm(server, everybody, ours.online), indent=2))
        finally:
            server.stop()


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"storm: {error}")

"""A broker in memory: the two ports that the cluster's algorithm needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import gevent

from greenchat.errors import Busy
from greenchat.model.records import Node, Seat
from greenchat.ports.cluster import Registry, Transport, TransportListener


class Broker:
    """The state that all nodes share.

    Attributes:
        nodes: the registered nodes.
        leases: by the name of the node, its incarnation and the devices of its users.
        channels: by the name of the node, its listener.
        lossy: frames to these nodes are lost.
        dead: nodes that do nothing any more.
        asked: the calls of nodes in order: ``enter NAME`` and ``frame NAME``.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, int] = {}
        self.leases: dict[str, tuple[int, dict[int, list[str]]]] = {}
        self.channels: dict[str, TransportListener] = {}
        self.cleaners: set[Node] = set()
        self.lossy: set[str] = set()
        self.dead: set[str] = set()
        self.asked: list[str] = []


class MemoryTransport(Transport):
    """Frames from one node to the listeners of others, in turns of the loop."""

    broker = "Memory"
    where = "memory"

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._queue: list[tuple[str, bytes]] = []
        self._is_connected = False
        self._is_due = False

    def start(self, cluster: str, name: str, listener: TransportListener) -> None:
        self._name, self._listener = name, listener
        self._broker.channels[name] = listener
        gevent.spawn(listener.subscribed)

    def wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            gevent.spawn(self._turn)

    def publish(self, name: str, frame: bytes) -> None:
        self._queue.append((name, frame))

    def close(self) -> None:
        self._deliver()
        self._broker.channels.pop(self._name, None)

    def lose(self) -> None:
        """Lose the connection; the next turn makes another one."""
        self._is_connected = False
        self._listener.failed("it was cut")

    def _turn(self) -> None:
        self._is_due = False
        if self._name in self._broker.dead:
            return
        if not self._is_connected:
            self._is_connected = True
            self._listener.connected()
        self._listener.ready()
        self._deliver()

    def _deliver(self) -> None:
        queue, self._queue = self._queue, []
        for name, frame in queue:
            self._broker.asked.append(f"frame {self._name}")
            if name in self._broker.channels and name not in self._broker.lossy:
                self._broker.channels[name].received(frame)


class MemoryRegistry(Registry):
    """The leases of the nodes; they do not run out."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def open(self, cluster: str, name: str) -> int:
        return self._broker.nodes.get(name, 0)

    def start(self, me: Node, lease: float) -> None:
        self._me = me

    def enter(self, users: Iterable[tuple[int, list[str]]]) -> int:
        self._broker.asked.append(f"enter {self._me.name}")
        self._broker.nodes[self._me.name] = self._me.incarnation
        self._broker.leases[self._me.name] = self._me.incarnation, dict(users)
        return self._me.incarnation

    def renew(self) -> tuple[int | None, dict[str, int]]:
        if self._me.name in self._broker.dead:
            raise Busy
        return self.incarnations([self._me.name])[0], dict(self._broker.nodes)

    def claim(self, userid: int, devices: list[str], names: Sequence[str]) -> list[Seat]:
        self._broker.leases[self._me.name][1][userid] = devices
        leases = self._broker.leases
        return [
            Seat(name, device)
            for name in names
            if name in leases
            for device in leases[name][1].get(userid, ())
        ]

    def leave(self) -> None:
        self._broker.leases.pop(self._me.name, None)
        self.forget(self._me)

    def incarnations(self, names: Iterable[str]) -> list[int | None]:
        leases = self._broker.leases
        return [leases[name][0] if name in leases else None for name in names]

    def users(self, node: Node) -> set[int] | None:
        incarnation, users = self._broker.leases.get(node.name, (0, {}))
        if incarnation != node.incarnation:
            return None
        return {userid for userid, devices in users.items() if devices}

    def may_clean_up(self, node: Node) -> bool:
        is_first = node not in self._broker.cleaners
        self._broker.cleaners.add(node)
        return is_first

    def forget(self, node: Node) -> None:
        self._broker.nodes.pop(node.name, None)

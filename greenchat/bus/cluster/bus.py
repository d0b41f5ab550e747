"""The bus of a cluster: leases in a registry, and one channel for each node.

The broker may be stopped, restarted, emptied, restored from an old dump, demoted, full, or another server
that has taken the address over.  All of these are one case: after each new connection a node first writes its
whole lease, then has the others read it, and reads theirs; and a refusal ends the connection
(see ``health``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Set
from time import monotonic

import gevent

from greenchat.bus.cluster import frames
from greenchat.bus.cluster.failure_detector import FailureDetector
from greenchat.bus.cluster.health import BusHealth
from greenchat.bus.cluster.nodes import RETURN, OtherNodes
from greenchat.errors import BusAway, Busy
from greenchat.model.records import Node, Seat
from greenchat.ports.bus import Bus, BusListener
from greenchat.ports.cluster import Registry, Transport, TransportListener

logger = logging.getLogger(__name__)

LEASE = 5.0
"""Seconds that a node counts as alive after it has renewed its lease."""

TICK = 1.0
"""Seconds between two renewals of the lease; also between two reads of the database without a broker."""

PULSE = 0.25
"""Seconds between two positions, to the other nodes and to this one."""

LOOK = 0.1
"""Seconds between two checks of whether the broker is away."""

STEADY = 1.0
"""Seconds that the broker has to work before the log says so: it may come and go."""

COMPARE = 30.0
"""Seconds between two comparisons of the nodes in the database with those in the registry: each reads the
rows of all devices."""

START = 5.0
"""Seconds that the first position may take to come back."""


class ClusterBus(Bus, TransportListener):
    """The bus of a node in a cluster.

    Args:
        transport: carries frames between the nodes.
        registry: holds the nodes' leases, at the same broker.
    """

    alone = False
    former: Set[str] = frozenset()

    def __init__(self, transport: Transport, registry: Registry) -> None:
        self._transport = transport
        self._registry = registry
        self._health = BusHealth()
        self._open = False
        self._was_away = True
        self._due = False
        self._unclaimed: set[int] = set()
        self._keepers: list[gevent.Greenlet] = []

    # docs of the public methods: ports.Bus

    @property
    def away(self) -> bool:
        return self._health.away or bool(self._failure_detector.separated)

    @property
    def lag(self) -> float:
        return self._health.age

    @property
    def trouble(self) -> str:
        if self._health.away:
            return f"{self._transport.broker} is away: {self._health.cause}"
        if self._failure_detector.separated:
            names = ", ".join(sorted(node.name for node in self._failure_detector.separated))
            return f"other nodes are on another {self._transport.broker}: {names}"
        return ""

    def open(self, cluster: str, name: str) -> int:
        self._cluster = cluster
        return self._registry.open(cluster, name)

    def start(self, node: Node, listener: BusListener, others: Iterable[Node]) -> None:
        self._me = node
        self._listener = listener
        self._health = BusHealth()
        self._registry.start(node, LEASE)
        self._others = OtherNodes(
            node, listener, self._registry.users, self._send_positions, self._clean_up_later
        )
        self.former = self._others.former
        self._failure_detector = FailureDetector(
            node, self._registry, self._others, listener, lambda: self._health.away
        )
        self._failure_detector.suspect(others)
        self._open = True
        # Last: it calls back as soon as it is connected.
        self._transport.start(self._cluster, node.name, self)
        try:
            self._wait_for_position()
            self._tick()
        except Busy:
            cause = self._health.cause
            self.close()
            raise BusAway(f"the bus at {self._transport.where} does not serve: {cause}") from None
        self._keepers = [
            gevent.spawn(self._for_ever, TICK, self._tick),
            gevent.spawn(self._for_ever, PULSE, self._send_positions),
            gevent.spawn(self._for_ever, COMPARE, self._failure_detector.compare),
            gevent.spawn(self._watch),
        ]

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._failure_detector.close()
        gevent.killall(self._keepers)
        try:
            if not self._health.away:
                # The lease goes after the frame: until then, a node that reads it finds this one there.
                self._publish(leaving=True)
                self._registry.leave()
        except Busy:
            logger.info("the bus is away: this node's lease will run out")
        self._transport.close()

    def refresh(self, userid: int) -> list[Seat]:
        if not self._open:
            return []
        try:
            return self._claim(userid)
        except Busy:
            # The lease differs from the sessions here now; ``_tick`` repeats it once the broker is there.
            self._unclaimed.add(userid)
            raise

    def _claim(self, userid: int) -> list[Seat]:
        if self.away:
            raise Busy("the servers cannot reach each other")
        devices = self._listener.devices(userid)
        # Taken before the claim: a node that comes later reads this one's lease, and finds the claim in it.
        names = self._others.names()
        for other in self._others:
            # Queued before the claim is written: the frame goes out right behind it, on the same connection.
            other.out.tell(userid, bool(devices))
        return self._registry.claim(userid, devices, names)

    def online(self, users: Iterable[int]) -> set[int]:
        return self._others.directory.online(users)

    def nodes(self, users: Iterable[int] | None = None) -> Collection[str]:
        if users is None:
            return self._others.names()
        return self._others.directory.nodes_of(users)

    def send(self, nodes: Collection[str], event: bytes) -> None:
        for name in nodes:
            other = self._others.get(name)
            if other is not None:
                other.out.add(event)
        if nodes:
            self._transport.wake()

    def wait_acknowledged(self) -> None:
        self._transport.wake()
        self._others.wait_acknowledged(lambda: self.away or not self._open)

    # docs of the callbacks: ports.cluster.TransportListener

    def connected(self) -> None:
        # The whole lease at once: this broker may have an old one, or none.
        self._enter()
        self._health.written()
        # The lease may have run out: then others are about to mark the users here offline.
        gevent.spawn_later(LEASE, self._listener.catch_up)
        for other in self._others:
            # Race: the other node may have read the old lease just before, and nothing was published to it
            # meanwhile.  A number left out makes it read the new one.
            other.out.skip()
        self._send_positions()

    def ready(self) -> None:
        if self._open:
            self._publish()

    def failed(self, cause: str) -> None:
        self._health.refused(cause)
        for other in self._others:
            other.out.lose()

    def subscribed(self) -> None:
        for other in self._others:
            self._others.recover(other)
        self._send_positions()
        gevent.spawn(self._listener.catch_up)

    def received(self, frame: bytes) -> None:
        try:
            decoded = frames.decode(frame, self._me.name)
        except ValueError as error:
            logger.warning("on this node's channel: %s", error)
            return
        # A position to itself carries the turn as its number: see ``health``.
        if decoded.source == self._me:
            self._health.heard(decoded.number)
        elif decoded.source.name != self._me.name:
            other = self._others.take(decoded)
            if other is not None and decoded.leaving:
                self._others.drop(other.node.name, RETURN)
                self._clean_up_later(other.node)

    def unsubscribed(self, cause: str) -> None:
        self._health.lost(cause)

    # -- The lease

    def _enter(self) -> None:
        """Take the lease, and write the users here.  May switch."""
        listener = self._listener
        devices = ((userid, listener.devices(userid)) for userid in listener.users())
        lease_of = self._registry.enter([seats for seats in devices if seats[1]])
        if lease_of != self._me.incarnation:
            listener.superseded()

    def _tick(self) -> None:
        """Renew the lease, and check the leases of the other nodes.  May switch."""
        there, nodes = self._registry.renew()
        # An older one: the broker has come back with former data.
        if there is None or there < self._me.incarnation:
            self._recover_lease()
        elif there > self._me.incarnation:
            self._listener.superseded()
        self._failure_detector.check(nodes)
        if self._unclaimed and not self.away:
            gevent.spawn(self._claim_again)

    def _recover_lease(self) -> None:
        """Take a lease again that has run out, or was lost with the broker's data.  May switch.

        If it ran out, others may have marked the users here offline, or be about to.
        """
        logger.warning("the lease of this node was gone; taking it again")
        self._enter()
        gevent.spawn(self._failure_detector.compare)
        gevent.spawn(self._listener.catch_up)
        gevent.spawn_later(LEASE, self._listener.catch_up)

    def _claim_again(self) -> None:
        """Repeat the claims that failed while the bus was away, and catch up with the other nodes."""
        try:
            # One by one: if the broker goes meanwhile, ``refresh`` has put the failed one back.
            while self._unclaimed:
                self.refresh(self._unclaimed.pop())
        except Busy:
            return  # the next tick tries again
        self.wait_acknowledged()
        self._listener.catch_up()

    def _clean_up_later(self, node: Node) -> None:
        self._failure_detector.clean_up_later(node)

    # -- Frames

    def _publish(self, leaving: bool = False) -> None:
        """Publish the frames that have gathered; positions too, if they are due.  Does not switch."""
        due, self._due = self._due or leaving, False
        for other in self._others:
            if due or other.out.waits:
                # Incarnation 0 is nobody's: before its first frame nothing of it is acknowledged.
                taken = Node(other.node.name, other.node.incarnation if other.taken is not None else 0)
                frame = other.out.next(self._me, taken, other.taken or 0, leaving)
                self._transport.publish(other.node.name, frames.encode(frame))
        if due:
            own = frames.Outgoing().next(self._me, self._me, 0)._replace(number=self._health.turn)
            self._transport.publish(self._me.name, frames.encode(own))

    def _send_positions(self) -> None:
        """Have positions sent soon, to the other nodes and to this one."""
        self._due = True
        self._transport.wake()

    # -- The state of the broker

    def _watch(self) -> None:
        """Notice when the broker goes and comes back; while it is away, read the database each second."""
        looked = well = now = monotonic()
        while True:
            before = now
            gevent.sleep(LOOK)
            now = monotonic()
            if now - before > 2 * LOOK:
                # This process was stopped: its own position may have come, but has not been read yet.
                gevent.sleep(LOOK)
                now = monotonic()
            if self.away:
                well = now
                if not self._was_away:
                    self._turned(True)
            elif self._was_away and now - well >= STEADY:
                self._turned(False)
            if self._was_away and now - looked >= TICK:
                looked = now
                gevent.spawn(self._listener.catch_up)

    def _turned(self, away: bool) -> None:
        self._was_away = away
        self._failure_detector.forget_absences()
        if away:
            logger.error("%s; the database is looked into each second", self.trouble)
        else:
            logger.warning("the bus works again")
            gevent.spawn(self._failure_detector.compare)
        gevent.spawn(self._listener.catch_up)

    def _wait_for_position(self) -> None:
        self._send_positions()
        with gevent.Timeout(START, Busy):
            while self._health.away:
                gevent.sleep(0.01)
        self._was_away = False

    def _for_ever(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something each so many seconds.  No bug in it ends the loop: the lease would run out."""
        while True:
            gevent.sleep(seconds)
            try:
                call()
            except Busy:
                pass  # seen by _watch
            except Exception:
                logger.exception("a bug in the bus")

"""The bus over Redis: who is where (see ``registry``), and one channel for each node.

Redis does not part channels by database, so that of a node is ``greenchat:CLUSTER:DB:NAME``.

Redis may be stopped, restarted, emptied, restored from an old dump, demoted, full, or another server that
has taken the address over.  All of these are one case: after each new connection a node first writes its
whole lease, then has the others read it, and reads theirs; and a refusal ends the connection
(see ``health``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Set
from functools import partial
from time import monotonic

import gevent
import redis

from greenchat.bus.cluster import frames
from greenchat.bus.cluster.failure_detector import FailureDetector
from greenchat.bus.cluster.health import BusHealth
from greenchat.bus.cluster.nodes import RETURN, OtherNodes
from greenchat.bus.redis.connection import (
    ANSWER,
    TROUBLE,
    Ask,
    Command,
    Commands,
    RedisServer,
    Subscription,
    exchange,
)
from greenchat.bus.redis.counters import RedisCounters
from greenchat.bus.redis.registry import Registry, newest_incarnation, prefix
from greenchat.errors import BusAway, Busy, StartupError
from greenchat.model.records import Node, Seat
from greenchat.ports.bus import BusListener

logger = logging.getLogger(__name__)

LEASE = 5.0
"""Seconds that a node counts as alive after it has renewed its lease."""

TICK = 1.0
"""Seconds between two renewals of the lease, and between two looks into the database while Redis is away."""

PULSE = 0.25
"""Seconds between two positions, to the other nodes and to this one."""

LOOK = 0.1
"""Seconds between two looks whether Redis is away."""

STEADY = 1.0
"""Seconds that Redis has to work before the log says so: it may come and go."""

COMPARE = 30.0
"""Seconds between two comparisons of the nodes in the database with those in Redis: each reads the rows of
all devices."""

START = 5.0
"""Seconds that the first position may take to come back."""


class RedisBus(RedisCounters):
    """The bus of a cluster (see ``ports.Bus``).

    Args:
        url: ``redis://[user:password@]host[:port][/database]``, or ``rediss://`` for TLS.

    Raises:
        ConfigError: the URL cannot be read.
    """

    alone = False
    former: Set[str] = frozenset()

    def __init__(self, url: str) -> None:
        super().__init__()
        self._link = RedisServer(url)
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
            return f"Redis is away: {self._health.cause}"
        if self._failure_detector.separated:
            names = ", ".join(sorted(node.name for node in self._failure_detector.separated))
            return f"other nodes are on another Redis: {names}"
        return ""

    def open(self, cluster: str, name: str) -> int:
        self._cluster, self._prefix = cluster, prefix(cluster)
        try:
            connection = self._link.connect(ANSWER)
            try:
                return newest_incarnation(partial(exchange, connection), cluster, name)
            finally:
                connection.disconnect()
        except (redis.AuthenticationError, redis.ResponseError) as error:
            raise StartupError(f"the bus at {self._link.where} refuses: {error}") from None
        except TROUBLE as error:
            raise BusAway(f"cannot reach the bus at {self._link.where}: {error}") from None

    def start(self, node: Node, listener: BusListener, others: Iterable[Node]) -> None:
        self._me = node
        self._listener = listener
        self._health = BusHealth()
        self._commands = Commands(self._link, self._first, self._posts, self._failed)
        self._registry = Registry(self._commands, self._cluster, node, LEASE)
        self._peers = OtherNodes(node, listener, self._registry.users, self._greet, self._has_left)
        self.former = self._peers.former
        self._failure_detector = FailureDetector(
            node, self._registry, self._peers, listener, lambda: self._health.away
        )
        self._failure_detector.suspect(others)
        self._subscription = Subscription(
            self._link, self._channel(node.name), self._subscribed, self._received, self._lost
        )
        self._open = True
        try:
            self._wait_for_position()
            self._tick()
        except Busy:
            cause = self._health.cause
            self.close()
            raise BusAway(f"the bus at {self._link.where} does not serve: {cause}") from None
        self._keepers = [
            gevent.spawn(self._for_ever, TICK, self._tick),
            gevent.spawn(self._for_ever, PULSE, self._greet),
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
                self._registry.leave(*self._frames(leaving=True))
        except Busy:
            logger.info("the bus is away: this node's lease will run out")
        self._subscription.close()
        self._commands.close()

    def refresh(self, userid: int) -> list[Seat]:
        if not self._open:
            return []
        try:
            return self._claim(userid)
        except Busy:
            self._unclaimed.add(userid)
            raise

    def _claim(self, userid: int) -> list[Seat]:
        if self.away:
            raise Busy("the servers cannot reach each other")
        devices = self._listener.devices(userid)
        names = self._peers.names()
        for peer in self._peers:
            peer.out.tell(userid, bool(devices))
        return self._registry.claim(userid, devices, names)

    def online(self, users: Iterable[int]) -> set[int]:
        return self._peers.directory.online(users)

    def nodes(self, users: Iterable[int] | None = None) -> Collection[str]:
        if users is None:
            return self._peers.names()
        return self._peers.directory.nodes_of(users)

    def send(self, nodes: Collection[str], event: bytes) -> None:
        for name in nodes:
            peer = self._peers.get(name)
            if peer is not None:
                peer.out.add(event)
        if nodes:
            self._commands.wake()

    def settle(self) -> None:
        self._commands.wake()
        self._peers.settle(lambda: self.away or not self._open)

    # -- The lease

    def _first(self, ask: Ask) -> None:
        """Write the whole lease on a new connection: this Redis may have an old one, or none.  May switch."""
        self._enter(ask)
        self._health.written()
        # The lease may have run out: then others are about to mark the users here offline.
        gevent.spawn_later(LEASE, self._listener.catch_up)
        for peer in self._peers:
            # The other node may have read what stood there before; and it was told nothing meanwhile.
            peer.out.skip()
        self._greet()

    def _enter(self, ask: Ask) -> None:
        """Take the lease, and write down the users here.  May switch."""
        listener = self._listener
        devices = ((userid, listener.devices(userid)) for userid in listener.users())
        lease_of = self._registry.enter(ask, [seats for seats in devices if seats[1]])
        if lease_of != self._me.incarnation:
            listener.superseded()

    def _tick(self) -> None:
        """Renew the lease, and look which nodes are alive.  May switch."""
        there, nodes = self._registry.renew()
        if there is None or there < self._me.incarnation:
            self._recover_lease()
        elif there > self._me.incarnation:
            self._listener.superseded()
        self._failure_detector.look_around(nodes)
        if self._unclaimed and not self.away:
            gevent.spawn(self._claim_again)

    def _recover_lease(self) -> None:
        """Take a lease again that has run out, or was lost with Redis's data.

        If it ran out, others may have marked the users here offline, or be about to.
        """
        logger.warning("the lease of this node was gone; taking it again")
        self._enter(self._commands.ask)
        gevent.spawn(self._failure_detector.compare)
        gevent.spawn(self._listener.catch_up)
        gevent.spawn_later(LEASE, self._listener.catch_up)

    def _claim_again(self) -> None:
        """Tell the other nodes of users that they could not be told of, and look for what these missed."""
        try:
            while self._unclaimed:
                self.refresh(self._unclaimed.pop())
        except Busy:
            return  # the next tick tries again
        self.settle()
        self._listener.catch_up()

    def _has_left(self, node: Node) -> None:
        self._failure_detector.has_left(node)

    # -- What goes out

    def _posts(self) -> list[Command]:
        return list(self._frames()) if self._open else []

    def _frames(self, leaving: bool = False) -> Iterable[Command]:
        """Yield the frames that are to be published; positions too, if they are due."""
        due, self._due = self._due or leaving, False
        for peer in self._peers:
            if due or peer.out.waits:
                taken = Node(peer.node.name, peer.node.incarnation if peer.taken is not None else 0)
                frame = peer.out.next(self._me, taken, peer.taken or 0, leaving)
                yield "PUBLISH", self._channel(peer.node.name), frames.encode(frame)
        if due:
            own = frames.Outgoing().next(self._me, self._me, 0)._replace(number=self._health.turn)
            yield "PUBLISH", self._channel(self._me.name), frames.encode(own)

    def _greet(self) -> None:
        """Send positions without waiting for the next tick."""
        self._due = True
        self._commands.wake()

    def _failed(self, error: Exception) -> None:
        """Note that the command connection has ended, and end the other: they belong to one server."""
        self._health.refused(str(error))
        for peer in self._peers:
            peer.out.lose()
        if self._open:
            self._subscription.renew()

    # -- What comes in

    def _subscribed(self) -> None:
        for peer in self._peers:
            self._peers.recover(peer)
        self._greet()
        gevent.spawn(self._listener.catch_up)

    def _received(self, content: bytes) -> None:
        try:
            frame = frames.decode(content, self._me.name)
        except ValueError as error:
            logger.warning("on this node's channel: %s", error)
            return
        if frame.source == self._me:
            self._health.heard(frame.number)
        elif frame.source.name != self._me.name:
            peer = self._peers.take(frame)
            if peer is not None and frame.leaving:
                self._peers.drop(peer.node.name, RETURN)
                self._has_left(peer.node)

    def _lost(self, error: Exception) -> None:
        self._health.lost(str(error))

    # -- Whether Redis is away

    def _watch(self) -> None:
        """Notice when Redis goes and comes back; while it is away, have the database looked into."""
        looked = well = now = monotonic()
        while True:
            before = now
            gevent.sleep(LOOK)
            now = monotonic()
            if now - before > 2 * LOOK:
                # This process stood still: its own position may have come, and is still to be read.
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
        self._failure_detector.begin_anew()
        if away:
            logger.error("%s; the database is looked into each second", self.trouble)
        else:
            logger.warning("the bus works again")
            gevent.spawn(self._failure_detector.compare)
        gevent.spawn(self._listener.catch_up)

    def _wait_for_position(self) -> None:
        self._greet()
        with gevent.Timeout(START, Busy):
            while self._health.away:
                gevent.sleep(0.01)
        self._was_away = False

    def _for_ever(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something each so many seconds.  It must not end: the lease would."""
        while True:
            gevent.sleep(seconds)
            try:
                call()
            except Busy:
                pass  # seen by _watch
            except Exception:
                logger.exception("a bug in the bus")

    def _channel(self, name: str) -> str:
        return f"{self._prefix}{self._link.database}:{name}"

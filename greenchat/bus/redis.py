"""The bus over Redis: who is where (see ``registry``), and one channel for each node.

Redis does not part channels by database, so that of a node is ``greenchat:DB:NAME``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from time import monotonic

import gevent
import redis

from greenchat.bus import stream
from greenchat.bus.link import TROUBLE, Command, Commands, Link, Subscription
from greenchat.bus.peers import Absences, Peers
from greenchat.bus.registry import Registry
from greenchat.bus.shared import Shared
from greenchat.errors import BusAway, Busy, StartupError
from greenchat.ports import BusListener, Node, Seat

logger = logging.getLogger(__name__)

LEASE = 5.0
"""Seconds that a node counts as alive after it has renewed its lease."""

TICK = 1.0
"""Seconds between two renewals, and between two positions."""

AWAY = 3.0
"""Seconds without our own position coming back, after which Redis counts as away: it may be stopped."""

HICCUP = 0.5
"""Seconds that a lost subscription may take to be made anew, before Redis counts as away."""

GRACE = 4.0
"""Seconds without a lease after which a node is dead.  Redis may have lost its data: then each node
takes its lease again within two ticks."""

RETURN = 3.0
"""Seconds in which users of a node that has left may come back elsewhere, before they count as gone."""


class RedisBus(Shared):
    """The bus of a cluster (see ``ports.Bus``).

    Args:
        url: ``redis://[user:password@]host[:port][/database]``, or ``rediss://`` for TLS.

    Raises:
        ConfigError: the URL cannot be read.
    """

    alone = False

    def __init__(self, url: str) -> None:
        super().__init__()
        self._link = Link(url)
        self._open = False
        self._heard = float("-inf")
        self._was_away = True
        self._due = False
        self._trouble = "it does not answer"
        self._unclaimed: set[int] = set()

    # docs of the public methods: ports.Bus

    @property
    def away(self) -> bool:
        return monotonic() - self._heard > AWAY

    def start(self, node: Node, listener: BusListener, others: Iterable[Node]) -> None:
        self._me = node
        self._listener = listener
        self._suspects = {other.name: other for other in others if other.name != node.name}
        self._absences = Absences(GRACE)
        self._check()
        self._commands = Commands(self._link, self._posts, self._failed)
        self._registry = Registry(self._commands, node, LEASE)
        self._peers = Peers(node, listener, self._registry.users, self._greet, self._has_left)
        self._subscription = Subscription(
            self._link, self._channel(node.name), self._subscribed, self._received, self._lost
        )
        self._open = True
        self._keepers: list[gevent.Greenlet] = []
        try:
            self._take_lease()
            self._tick()
            self._wait_for_position()
        except Busy:
            self.close()
            raise BusAway(f"the bus at {self._link.where} does not answer") from None
        self._keepers = [gevent.spawn(self._for_ever, TICK, self._tick), gevent.spawn(self._watch)]

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        gevent.killall(self._keepers)
        try:
            if not self.away:
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

    def _take_lease(self) -> None:
        """Say anew that this node is alive, and who is here.  May switch."""
        listener = self._listener
        self._registry.enter((userid, listener.devices(userid)) for userid in listener.users())

    def _tick(self) -> None:
        """Renew the lease, send positions, and look who is alive.  May switch."""
        self._due = True
        there, nodes = self._registry.renew()
        number = self._me.incarnation
        if there is not None and there > number:
            self._listener.superseded()
        elif there != number:
            self._recover_lease()
        self._look_around(nodes)
        if not self.away:
            self.forget_unforgotten()
        if self._unclaimed and not self.away:
            gevent.spawn(self._claim_again)

    def _recover_lease(self) -> None:
        """Take a lease again that has run out, or was lost with Redis's data.

        If it ran out, others may have marked the users here offline, or be about to.
        """
        logger.warning("the lease of this node was gone; taking it again")
        self._take_lease()
        gevent.spawn(self._listener.catch_up)
        gevent.spawn_later(LEASE, self._listener.catch_up)

    def _claim_again(self) -> None:
        """Tell the other nodes of those whom they could not be told of, and look for what these missed."""
        try:
            while self._unclaimed:
                self.refresh(self._unclaimed.pop())
        except Busy:
            return  # the next tick tries again
        self.settle()
        self._listener.catch_up()

    def _look_around(self, registered: dict[str, int]) -> None:
        """Meet who has come, and bury who is dead."""
        known = dict(self._suspects)
        known.update((name, Node(name, number)) for name, number in registered.items())
        known.update((peer.node.name, peer.node) for peer in self._peers)
        known.pop(self._me.name, None)
        for node, there in zip(known.values(), self._registry.incarnations(known), strict=True):
            if there is None:
                if self._absences.is_dead(node) and not self.away:
                    self._bury(node)
            else:
                self._absences.forget(node)
                self._suspects.pop(node.name, None)
                peer = self._peers.get(node.name)
                if peer is None or peer.node.incarnation < there:
                    self._peers.meet(Node(node.name, there))

    def _bury(self, node: Node) -> None:
        logger.warning("node %s is gone: its lease has run out", node.name)
        self._absences.forget(node)
        self._suspects.pop(node.name, None)
        users = self._peers.drop(node.name)
        gevent.spawn(self._clean_up, node, users)
        gevent.spawn(self._listener.catch_up)

    def _has_left(self, node: Node, users: set[int]) -> None:
        """Let the users of a node come back elsewhere, or where it is started anew; then clean up."""
        gevent.spawn_later(RETURN, self._clean_up, node, users)

    def _clean_up(self, node: Node, users: set[int]) -> None:
        """Mark a node's users offline, if no other node does.  May switch."""
        try:
            if self._registry.may_clean_up(node):
                self._mark_offline(node, users)
        except Busy:
            logger.warning("cannot clean up after node %s now; somebody will", node.name)

    def _mark_offline(self, node: Node, users: set[int]) -> None:
        """Do so, however long the database is away: who the users were, nobody else knows.  May switch."""
        while True:
            try:
                self._listener.gone(node, users)
                self._registry.forget(node)
                return
            except Busy:
                gevent.sleep(TICK)
                if not self._open or self._peers.is_there(node):
                    return

    # -- What goes out

    def _posts(self) -> list[Command]:
        if not self._open:
            return []
        if self.away:
            for peer in self._peers:
                peer.out.lose()
        return list(self._frames())

    def _frames(self, leaving: bool = False) -> Iterable[Command]:
        """Yield the frames that are to be published; positions too, if they are due."""
        due, self._due = self._due or leaving, False
        for peer in self._peers:
            if due or peer.out.waits:
                taken = Node(peer.node.name, peer.node.incarnation if peer.taken is not None else 0)
                frame = peer.out.next(self._me, taken, peer.taken or 0, leaving)
                yield "PUBLISH", self._channel(peer.node.name), stream.encode(frame)
        if due:
            own = stream.Outgoing().next(self._me, self._me, 0)
            yield "PUBLISH", self._channel(self._me.name), stream.encode(own)

    def _greet(self) -> None:
        """Send positions without waiting for the next tick."""
        self._due = True
        self._commands.wake()

    def _failed(self, error: Exception) -> None:
        self._trouble = str(error)

    # -- What comes in

    def _subscribed(self) -> None:
        for peer in self._peers:
            self._peers.recover(peer)
        self._greet()
        gevent.spawn(self._listener.catch_up)

    def _received(self, content: bytes) -> None:
        try:
            frame = stream.decode(content, self._me.name)
        except ValueError as error:
            logger.warning("on this node's channel: %s", error)
            return
        if frame.source == self._me:
            self._heard = monotonic()
        elif frame.source.name != self._me.name:
            peer = self._peers.take(frame)
            if peer is not None and frame.leaving:
                self._has_left(peer.node, self._peers.drop(peer.node.name))

    def _lost(self, error: Exception) -> None:
        self._trouble = str(error)
        self._heard = min(self._heard, monotonic() - AWAY + HICCUP)

    # -- Whether Redis is away

    def _watch(self) -> None:
        """Notice when Redis goes and comes back; while it is away, have the database looked into."""
        looked = 0.0
        while True:
            gevent.sleep(TICK / 4)
            away = self.away
            if away != self._was_away:
                self._was_away = away
                self._turned(away)
            if away and monotonic() - looked >= TICK:
                looked = monotonic()
                gevent.spawn(self._listener.catch_up)

    def _turned(self, away: bool) -> None:
        self._absences.clear()
        if away:
            logger.error("the bus is away (%s): the database is looked into each second", self._trouble)
            self._trouble = "it does not answer"
        else:
            logger.warning("the bus works again")
            for peer in self._peers:
                self._peers.recover(peer)
            gevent.spawn(self._listener.catch_up)

    # -- Starting

    def _check(self) -> None:
        """Raise what keeps this node from joining at all."""
        try:
            connection = self._link.connect(2.0)
            connection.send_command("PING")
            connection.read_response()
            connection.disconnect()
        except (redis.AuthenticationError, redis.ResponseError) as error:
            raise StartupError(f"the bus at {self._link.where} refuses: {error}") from None
        except TROUBLE as error:
            raise BusAway(f"cannot reach the bus at {self._link.where}: {error}") from None

    def _wait_for_position(self) -> None:
        with gevent.Timeout(AWAY, Busy):
            while self.away:
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
        return f"greenchat:{self._link.database}:{name}"

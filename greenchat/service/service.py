"""The state and the parts that all sessions of a node share."""

from __future__ import annotations

from collections.abc import Callable

from greenchat.model.instants import to_instant
from greenchat.model.records import Contact, Node
from greenchat.ports.bus import Bus
from greenchat.ports.counters import Counters
from greenchat.ports.friends import FriendsCache
from greenchat.ports.limits import Limits
from greenchat.ports.store import Store
from greenchat.ports.timer import Later
from greenchat.protocol.messages import HeartbeatTerms
from greenchat.service.delivery.cache import Cache
from greenchat.service.delivery.hub import Hub
from greenchat.service.delivery.memberships import Memberships
from greenchat.service.delivery.recovery import Recovery
from greenchat.service.delivery.router import Router
from greenchat.service.delivery.sequencer import Sequencer
from greenchat.service.delivery.setback import Setback
from greenchat.service.identity.doubted_names import DoubtedNames
from greenchat.service.identity.guesses import Guesses
from greenchat.service.identity.passwords import Offload, Passwords
from greenchat.service.identity.throttle import Throttle
from greenchat.service.identity.tokens import Tokens, new_secret
from greenchat.service.presence import Presence

TOKEN_SECRET = "token_secret"


class Service:
    """The parts of a node that serve its clients.

    Args:
        store: the database, started.
        bus: the cluster.
        counters: shared by the nodes.
        friends: the cache of friends, shared by the nodes.
        node: this server.
        limits: the limits of the protocol.
        heartbeat: the terms of heartbeats in LOGIN_ACK.
        clock: Unix seconds.
        monotonic: seconds, on a clock that never goes back.
        offload: runs a slow computation off the loop.
        later: runs something so many seconds from now, where it may switch.
        pause: waits for some seconds; may switch.

    Attributes:
        hub: the sessions of this node.
        sequencer: keeps the order of each conversation here.
        setback: notices that the database was set back.
        router: the way to everybody.
        recovery: finds entries that events did not bring.
        contacts: for (sender, receiver), the permission of the sender to write to the receiver.
        blockers: the users that have blocked a user.
        heads: the last seq of conversations, at least (a later one may have been given out).
        memberships: the members of groups.
        read_marks: for (user, conversation), the user's read mark, at least.
        presence: tells the sessions here of their friends' coming and going.
        doubted_names: names of users that may have been registered just now.
        draining: True once this node stops: its clients come back elsewhere.
        forgotten: how often all was dropped that other nodes may have changed.
        under_way: requests that are being handled.
        when_set_back: called with each conversation that the database was set back in.
    """

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        counters: Counters,
        friends: FriendsCache,
        node: Node,
        limits: Limits,
        heartbeat: HeartbeatTerms,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        offload: Offload,
        later: Later,
        pause: Callable[[float], object],
    ) -> None:
        self.store = store
        self.bus = bus
        self.friends = friends
        self.node = node
        self.limits = limits
        self.heartbeat = heartbeat
        self.clock = clock
        self.monotonic = monotonic
        self.later = later
        self.hub = Hub(lambda userid: self.presence.moved_here(userid))  # noqa: PLW0108 - it is built on this
        self.throttle = Throttle(counters, limits)
        self.guesses = Guesses(counters, limits, pause)
        self.passwords = Passwords(offload)
        self.tokens = Tokens(store.setting(TOKEN_SECRET, new_secret()), limits.token_days, clock)
        self.contacts: Cache[tuple[int, int], Contact] = Cache(
            lambda pair: store.contact(*pair), unkept=Contact.NO_RECEIVER
        )
        self.blockers: Cache[int, set[int]] = Cache(store.blockers)
        self.heads: Cache[int, int] = Cache(store.head)
        self.read_marks: Cache[tuple[int, int], int] = Cache(lambda key: store.read_mark(*key))
        self.memberships = Memberships(
            self.hub,
            store.membership,
            store.joined,
            bus,
            lambda conversation: self.sequencer.last(conversation),  # noqa: PLW0108 - it is built on this
        )
        self.sequencer = Sequencer(self.hub, store, self.memberships, bus.alone, later)
        self.setback = Setback(self.hub, store, self.sequencer, self.memberships.load, self._set_back, later)
        self.router = Router(self.hub, bus, self.sequencer)
        self.recovery = Recovery(self.hub, store, bus, self.sequencer, node, later)
        self.presence = Presence(self.hub, self.router, store, node, later, lambda: self.draining)
        self.doubted_names = DoubtedNames(monotonic)
        self.draining = False
        self.under_way = 0
        self.when_set_back: list[Callable[[int], None]] = [self.heads.forget]
        self.forgotten = 0
        self._millisecond = -1
        self._instant = ""

    @property
    def has_to_tell(self) -> bool:
        """True while the other nodes may have to be told of changes by requests here.

        A node that stops leaves the cluster afterwards.
        """
        return self.under_way > 0 or self.recovery.waiting > 0

    def now(self) -> str:
        """Return this instant, in the wire's form."""
        seconds = self.clock()
        millisecond = int(seconds * 1000)
        if millisecond != self._millisecond:  # many messages of a batch are of one millisecond
            self._millisecond, self._instant = millisecond, to_instant(seconds)
        return self._instant

    def advance_mark(self, userid: int, conversation: int, seq: int) -> bool:
        """Note a read mark, and return False if it is below the one that is known.  Does not switch."""
        if seq < self.read_marks.get((userid, conversation), 0):
            return False
        self.read_marks.put((userid, conversation), seq)
        return True

    def forget_block(self, sender: int, receiver: int) -> None:
        """Drop the cached answer to whether a receiver blocks a sender."""
        self.contacts.forget((sender, receiver))
        self.blockers.forget(sender)

    def _set_back(self, conversation: int) -> None:
        for forget in self.when_set_back:
            forget(conversation)

    def forget_all(self) -> None:
        """Drop all caches of data that other nodes may have changed."""
        for cache in (self.contacts, self.blockers, self.memberships, self.read_marks):
            cache.clear()
        self.forgotten += 1
        for session in self.hub.sessions():
            session.stream.check_groups()

"""What all sessions of a node share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenchat.ports import Bus, Later, Limits, Membership, Node, Store
from greenchat.protocol.instants import to_instant
from greenchat.protocol.messages import HeartbeatTerms
from greenchat.service.cache import Cache
from greenchat.service.conversations import of_group
from greenchat.service.hub import Hub
from greenchat.service.passwords import Offload, Passwords
from greenchat.service.recovery import Recovery
from greenchat.service.router import Router
from greenchat.service.sequencer import Sequencer
from greenchat.service.throttle import Throttle
from greenchat.service.tokens import Tokens, new_secret

TOKEN_SECRET = "token_secret"

GROUPS = 10_000
"""Groups of which is remembered who is in them."""


class Service:
    """What a node does for the people connected to it.

    Args:
        store: the database, started.
        bus: the cluster.
        node: this server.
        limits: the limits of the protocol.
        heartbeat: what LOGIN_ACK says of heartbeats.
        clock: Unix seconds.
        monotonic: seconds, on a clock that never goes back.
        offload: runs a slow computation off the loop.
        later: runs something so many seconds from now, where it may switch.

    Attributes:
        hub: who is connected here.
        sequencer: keeps the order of each conversation here.
        router: the way to everybody.
        recovery: finds what did not come that way.
        blocked: for (sender, receiver), whether the receiver takes nothing from the sender.
        blockers: who has blocked a user.
        memberships: who is in a group; changed in place when somebody joins or leaves, if this node is alone.
        heads: the last seq of conversations, at least (a later one may have been given out).
        announced: who was last said to have come here.
        untold: whose coming or going other nodes could not be told.
        draining: this node stops, so nobody needs to be told who leaves it.
    """

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        node: Node,
        limits: Limits,
        heartbeat: HeartbeatTerms,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        offload: Offload,
        later: Later,
    ) -> None:
        self.store = store
        self.bus = bus
        self.node = node
        self.limits = limits
        self.heartbeat = heartbeat
        self.clock = clock
        self.monotonic = monotonic
        self.later = later
        self.hub: Hub[Any] = Hub(limits.max_devices_online)  # of Callers, which are built on this
        self.throttle = Throttle(bus, limits)
        self.passwords = Passwords(offload)
        self.tokens = Tokens(store.setting(TOKEN_SECRET, new_secret()), limits.token_days, clock)
        self.blocked: Cache[tuple[int, int], bool] = Cache(lambda pair: store.is_blocked(*pair))
        self.blockers: Cache[int, set[int]] = Cache(store.blockers)
        self.memberships: Cache[int, Membership] = Cache(store.membership, GROUPS, self._note_members)
        self._last_members: dict[int, Membership] = {}  # as read last, though it may be forgotten since
        self.heads: Cache[int, int] = Cache(store.head)
        self.sequencer = Sequencer(self.hub, store, self.memberships, bus.alone, later)
        self.router = Router(self.hub, bus, self.sequencer)
        self.recovery = Recovery(self.hub, store, bus, self.sequencer, node, later)
        self.announced: set[int] = set()
        self.untold: set[int] = set()
        self.draining = False

    def now(self) -> str:
        """Return this instant, in the wire's form."""
        return to_instant(self.clock())

    # -- What the caches must know

    def joined(self, userid: int, groupid: int, joined: int) -> None:
        """Let a group's messages come to a user's sessions here, from the first after joining.

        What is committed after the joining but announced before the membership is known here comes
        from the log: the gate of each session keeps back what would overtake it.  Does not switch.
        """
        self._follow(groupid, {userid: joined})
        membership = self._known_membership(groupid)
        if membership is not None:
            membership[userid] = joined
            self.memberships.put(groupid, membership)

    def left(self, userid: int, groupid: int) -> None:
        """Let a group's messages come no more to a user's sessions here.  Does not switch.

        They may have joined again at another node: then the next look into the database tells.
        """
        membership = self._known_membership(groupid)
        if membership is not None:
            membership.pop(userid, None)
            self.memberships.put(groupid, membership)
        for caller in self.hub.of(userid):
            caller.has_left(groupid)

    def _known_membership(self, groupid: int) -> Membership | None:
        """Return a membership if it is known, and changes at this node only; else it is read anew."""
        membership = self.memberships.get(groupid)
        if membership is not None and self.bus.alone:
            return membership
        self.memberships.forget(groupid)  # it may be being read
        return None

    def _note_members(self, groupid: int, members: Membership) -> None:
        """Take note of who is in a group: its messages are handed out by that from now on."""
        self._follow(groupid, members)
        self._last_members.pop(groupid, None)
        self._last_members[groupid] = members
        if len(self._last_members) > GROUPS:
            del self._last_members[next(iter(self._last_members))]

    def _follow(self, groupid: int, members: Membership) -> None:
        """Have the sessions here of a group's members follow it, if they do not.  Does not switch.

        Messages are handed out by the membership that was read last, so who is in it has them all.
        Who is not in it begins anew, though they may have been told of the same joining before: they
        may have left meanwhile, and joined again before anything was said.
        """
        before = self._last_members.get(groupid)
        last = 0 if before is None else self.sequencer.last(of_group(groupid))
        for userid, joined in members.items():
            came = last if before is None or userid in before else None
            for caller in self.hub.of(userid):
                caller.follow(groupid, joined, came)

    def forget_block(self, sender: int, receiver: int) -> None:
        """Drop what is remembered of whether a receiver blocks a sender."""
        self.blocked.forget((sender, receiver))
        self.blockers.forget(sender)

    def forget_all(self) -> None:
        """Drop what other nodes may have changed."""
        for cache in (self.blocked, self.blockers, self.memberships):
            cache.clear()

"""What all sessions of a node share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenchat.ports import Bus, Limits, Membership, Node, Store
from greenchat.protocol.instants import to_instant
from greenchat.protocol.messages import HeartbeatTerms
from greenchat.service.cache import Cache
from greenchat.service.hub import Hub
from greenchat.service.passwords import Offload, Passwords
from greenchat.service.router import Router
from greenchat.service.tokens import Tokens, new_secret

Later = Callable[[float, Callable[[], object]], object]

TOKEN_SECRET = "token_secret"


class Service:
    """What a node does for the people connected to it.

    Args:
        store: the database, started.
        bus: the cluster, started.
        node: this server.
        limits: the limits of the protocol.
        heartbeat: what LOGIN_ACK says of heartbeats.
        clock: Unix seconds.
        offload: runs a slow computation off the loop.
        later: runs something so many seconds from now, where it may switch.

    Attributes:
        hub: who is connected here.
        router: the way to everybody.
        blocked: for (sender, receiver), whether the receiver takes nothing from the sender.
        memberships: who is in a group; changed in place when somebody joins or leaves.
        heads: the last seq of conversations, at least (a later one may have been given out).
        announced: who was last said to be online.
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
        offload: Offload,
        later: Later,
    ) -> None:
        self.store = store
        self.bus = bus
        self.node = node
        self.limits = limits
        self.heartbeat = heartbeat
        self.clock = clock
        self.later = later
        self.hub: Hub[Any] = Hub(limits.max_devices_online)  # of Callers, which are built on this
        self.router = Router(self.hub, bus)
        self.passwords = Passwords(offload)
        self.tokens = Tokens(store.setting(TOKEN_SECRET, new_secret()), limits.token_days, clock)
        self.blocked: Cache[tuple[int, int], bool] = Cache(lambda pair: store.is_blocked(*pair))
        self.memberships: Cache[int, Membership] = Cache(store.membership, size=10_000)
        self.heads: Cache[int, int] = Cache(store.head)
        self.announced: set[int] = set()
        self.draining = False

    def now(self) -> str:
        """Return this instant, in the wire's form."""
        return to_instant(self.clock())

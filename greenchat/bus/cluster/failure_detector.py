"""Detect dead nodes by their leases, and have one of the others mark their users offline.

==========  ===========================================  ==================================================
state       reached when                                 left by
==========  ===========================================  ==================================================
alive       its lease is there                           no lease at a check: absent
absent      a check finds no lease                       lease: alive; ``GRACE`` seconds: dead
dead        absent for ``GRACE``, and the broker works   cleaned up by one node (``may_clean_up``): cleaned
left        its last frame says so                       ``RETURN`` seconds: cleaned up like a dead one
cleaned     its users are marked offline                 lease: alive; shown by the database: separated
separated   the database shows it, but no lease          lease, or no longer shown
==========  ===========================================  ==================================================
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic

import gevent

from greenchat.bus.cluster import nodes
from greenchat.bus.cluster.nodes import Absences, OtherNodes
from greenchat.errors import Busy
from greenchat.model.records import Node
from greenchat.ports.bus import BusListener
from greenchat.ports.cluster import Registry

logger = logging.getLogger(__name__)

GRACE = 2.5
"""Seconds without a lease after which a node is dead.  The broker may have lost its data: then each node
takes its lease again within a second."""

TRY_AGAIN = 1.0
"""Seconds after which a database that was away is asked again."""

SEPARATED = 600.0
"""Seconds after its clean-up in which a node that the database shows again counts as separated."""


class FailureDetector:
    """Watches the leases of the other nodes.

    The database shows nodes, too.  A node that it shows without a lease is dead, as a rule: the broker has
    lost its data, or no other node was there when it died.  It is cleaned up after like any other.  If it is
    shown again afterwards, in the same incarnation, it is alive and connected to another broker.

    Args:
        me: this node.
        registry: the leases of the nodes.
        others: the nodes, as this one knows them.
        listener: the service.
        away: returns True while the broker is away: then no node is taken for dead.

    Attributes:
        separated: the nodes that are alive, but connected to another broker.
    """

    def __init__(
        self,
        me: Node,
        registry: Registry,
        others: OtherNodes,
        listener: BusListener,
        away: Callable[[], bool],
    ) -> None:
        self._me = me
        self._registry = registry
        self._others = others
        self._listener = listener
        self._away = away
        self._suspects: dict[str, Node] = {}
        self._absences = Absences(GRACE)
        self._cleaned: dict[Node, float] = {}
        self._open = True
        self.separated: set[Node] = set()

    def close(self) -> None:
        """End the clean-ups that are still tried."""
        self._open = False

    def suspect(self, nodes: Iterable[Node]) -> None:
        """Take note of the nodes that the database shows; those without a lease are dead, or separated."""
        # Not those of this node's name: rows of its former start, which it cleans up by itself.
        shown = [node for node in nodes if node.name != self._me.name and not self._others.is_there(node)]
        # Bounded: each restart of each node leaves an incarnation here.
        ago = monotonic() - SEPARATED
        self._cleaned = {node: when for node, when in self._cleaned.items() if when > ago}
        self.separated = {node for node in shown if node in self._cleaned}
        self._suspects.update((node.name, node) for node in shown if node not in self.separated)

    def compare(self) -> None:
        """Compare the nodes that the database shows with those that have leases.  May switch."""
        try:
            self.suspect(self._listener.nodes())
        except Busy:
            pass  # the next comparison tells

    def forget_absences(self) -> None:
        """Start all absences anew: leases could not be read for a while."""
        self._absences.clear()

    def check(self, registered: dict[str, int]) -> None:
        """Add the nodes that have come, and drop those that are dead.  May switch."""
        # The later ones win: the registry is newer than the rows of the database, and frames than both.
        known = dict(self._suspects)
        known.update((name, Node(name, number)) for name, number in registered.items())
        known.update((other.node.name, other.node) for other in self._others)
        known.pop(self._me.name, None)
        for node, there in zip(known.values(), self._registry.incarnations(known), strict=True):
            if there is None:
                # Noted also while the broker is away, but ``forget_absences`` starts anew when it is back.
                if self._absences.is_dead(node) and not self._away():
                    self._drop(node)
            else:
                self._absences.forget(node)
                self._suspects.pop(node.name, None)
                self.separated.discard(node)
                other = self._others.get(node.name)
                if other is None or other.node.incarnation < there:
                    self._others.add(Node(node.name, there))

    def clean_up_later(self, node: Node) -> None:
        """Clean up after a node that has left, once its users had time to come back elsewhere."""
        gevent.spawn_later(nodes.RETURN, self._clean_up, node)

    def _drop(self, node: Node) -> None:
        if self._others.is_there(node) or node.name in self._suspects:  # else it waits for its clean-up
            logger.warning("node %s is gone: its lease has run out", node.name)
        self._absences.forget(node)
        self._suspects.pop(node.name, None)
        self._others.drop(node.name, 0)
        # Each in its greenlet: the next renewal of the lease must not wait for the database.
        gevent.spawn(self._clean_up, node)
        gevent.spawn(self._listener.catch_up)

    def _clean_up(self, node: Node) -> None:
        """Mark a node's users offline, unless another node does.  May switch."""
        try:
            # All nodes notice within a second; one writes.  The permission ends by itself if that one dies.
            if self._registry.may_clean_up(node):
                self._mark_offline(node)
        except Busy:
            logger.warning("cannot clean up after node %s now; a later check will", node.name)

    def _mark_offline(self, node: Node) -> None:
        """Mark a node's users offline once the database is there, unless the node is back.  May switch."""
        while self._open and not self._others.is_there(node):
            try:
                self._listener.gone(node)
                self._cleaned[node] = monotonic()
                self._registry.forget(node)
                return
            except Busy:
                gevent.sleep(TRY_AGAIN)

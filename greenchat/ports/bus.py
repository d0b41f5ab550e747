"""The port to the other nodes of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence, Set
from typing import Protocol

from greenchat.model.guards import Guard
from greenchat.model.records import Node, Seat


class BusListener(Protocol):
    """What a node does when its bus calls."""

    def devices(self, userid: int) -> list[str]:
        """Return which devices of a user are online here.  Does not switch.

        Without those that are logging in and have not called ``Bus.refresh`` yet.
        """

    def users(self) -> Iterable[int]:
        """Return who is online here.  Does not switch."""

    def receive(self, event: bytes) -> None:
        """Take an event that another node has sent.  MUST NOT switch or raise."""

    def catch_up(self) -> None:
        """Look into the database: events may have been lost, and sessions taken over.  May switch."""

    def moved(self, users: Iterable[int], seconds: float) -> None:
        """Take note that users have come to other nodes, or gone.  Does not switch.

        Args:
            users: those users; what ``Bus.online`` returns of them may have changed.
            seconds: the time in which they may come back elsewhere, since their node has left.
        """

    def gone(self, node: Node) -> None:
        """Mark a node's users offline: it has left or died.  Called at one of the others.  May switch.

        Raises:
            Busy: the database is away; it will be called again.
        """

    def nodes(self) -> list[Node]:
        """Return the nodes that the database shows users at.  May switch.

        Raises:
            Busy: the database is away.
        """

    def superseded(self) -> None:
        """End this server: another one has been started with the same name."""


class Bus(Protocol):
    """What connects the nodes: who is online where, and a fast path between them.

    Never the truth about messages: what it loses is caught up from the store.  Events of one node
    reach another in the order sent, or not at all; then the other is told to catch up.

    Attributes:
        alone: there is no other node, ever: nothing comes from elsewhere, and nothing is missed.
    """

    alone: bool

    @property
    def away(self) -> bool:
        """True while the nodes may not reach each other: then all is to be looked up in the database.

        It becomes true within 0.7 s of the bus's going, and may be so without reason for a moment.
        """

    @property
    def lag(self) -> float:
        """Seconds since this node last heard itself by the bus; infinite if it never has."""

    @property
    def trouble(self) -> str:
        """The cause of being away, a sentence for people; empty while the bus is not away."""

    def open(self, cluster: str, name: str) -> int:
        """Reach the bus; return the newest incarnation of a node that it remembers, 0 if none.  May switch.

        Args:
            cluster: an id that the nodes of one database share, and no others: clusters do not meet.
            name: of the node that is to be started.

        Raises:
            BusAway: it cannot be reached; ``open`` may be called again.
            StartupError: it can be reached, and does not take us.
        """

    def start(self, node: Node, listener: BusListener, others: Iterable[Node]) -> None:
        """Join the cluster that was opened.

        Args:
            node: this server.
            listener: is called from now on.
            others: nodes that somebody was last seen at; those that are dead are cleaned up after.

        Raises:
            BusAway: it cannot be reached; ``start`` may be called again.
        """

    def close(self) -> None:
        """Send what waits to be sent, and leave the cluster.  May switch."""

    def refresh(self, userid: int) -> list[Seat]:
        """Tell all nodes which devices of a user are online here, and return those elsewhere.  May switch.

        Of two nodes that do so at a time, one at least is told of the other.

        Raises:
            Busy: the bus is away.
        """

    def online(self, users: Iterable[int]) -> set[int]:
        """Return who of these is online at another node."""

    def nodes(self, users: Iterable[int] | None = None) -> Collection[str]:
        """Return the other nodes, or those of them where any of these users is online."""

    @property
    def former(self) -> Set[str]:
        """The other nodes that run the former version, or have not said yet that they run this one.

        They are to be sent the events of the former version, which nodes of this one understand too.
        """

    def send(self, nodes: Collection[str], event: bytes) -> None:
        """Send an event to some of the other nodes.  Returns at once, never raises."""

    def settle(self) -> None:
        """Wait until each other node has taken all that was sent to it, or is gone.  May switch.

        What such a node sends from then on, it sends knowing that.  Returns early if the bus is away.
        """

    def are_friends(self, userid: int, ids: Sequence[int], load: Callable[[], Iterable[int]]) -> set[int]:
        """Return which of some users are a user's friends, from a cache that the nodes share.  May switch.

        Args:
            userid: whose friends.
            ids: who may be one.
            load: reads all friends from the store, for the cache.
        """

    def forget_friends(self, userid: int) -> None:
        """Drop what the cache has of a user whose friends have just changed.  May switch."""

    def count(self, key: str, seconds: float) -> int:
        """Add one to a counter that the nodes share, and return it.  May switch.

        It starts anew ``seconds`` after its first count.  While the bus is away, each node counts for
        itself; this holds for attempts too.
        """

    def begin_attempt(self, guards: Sequence[Guard], attempt: str) -> float | None:
        """Take a place for an attempt under some guards, on all nodes.  May switch.

        There is one where no other attempt is under way, or where their number and that of the failures
        together are not above ``allowed``.

        Returns:
            0 if the place is taken; the seconds that a lock will last; None if there is no place now.
        """

    def end_attempt(self, guards: Sequence[Guard], attempt: str, right: bool | None) -> list[float]:
        """Give the place of an attempt back, and count a failure.  May switch.

        Args:
            guards: as for ``begin_attempt``.
            attempt: which.
            right: True for a right password, False for a wrong one, None if that was not found out.

        Returns:
            For each guard the seconds that it has been locked for now, 0 if it has not.
        """

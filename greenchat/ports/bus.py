"""The port to the other nodes of the cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set
from typing import Protocol

from greenchat.model.records import Node, Seat


class BusListener(Protocol):
    """The callbacks of a bus, handled by its node."""

    __slots__ = ()

    def devices(self, userid: int) -> list[str]:
        """Return the devices of a user that are online here.  Does not switch.

        Without those that are logging in and have not called ``Bus.refresh`` yet.
        """

    def users(self) -> Iterable[int]:
        """Return the users that are online here.  Does not switch."""

    def receive(self, event: bytes) -> None:
        """Take an event that another node has sent.  MUST NOT switch or raise."""

    def catch_up(self) -> None:
        """Read the database: events may have been lost, and sessions taken over.  May switch."""

    def moved(self, users: Iterable[int], seconds: float) -> None:
        """Take note that users have come online at other nodes, or gone offline there.  Does not switch.

        Args:
            users: those users; the answer of ``Bus.online`` for them may have changed.
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
    """Connect the nodes: the directory of online users, and a fast path for events.

    Never the truth about messages: events that it loses are caught up from the store.  Events of one node
    reach another in the order sent, or not at all; then the other is told to catch up.

    Attributes:
        alone: there is no other node, ever: nothing comes from elsewhere, and nothing is missed.
    """

    alone: bool

    @property
    def away(self) -> bool:
        """True while the nodes may not reach each other: then only the database can tell.

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
            cluster: an id that the nodes of one database share; nodes of different clusters are separate.
            name: the name of the node that is to be started.

        Raises:
            BusAway: it cannot be reached; ``open`` may be called again.
            StartupError: it refuses this server; the operator's fault.
        """

    def start(self, node: Node, listener: BusListener, others: Iterable[Node]) -> None:
        """Join the cluster that was opened.  May switch.

        Args:
            node: this server.
            listener: is called from now on.
            others: nodes that the database shows; those that are dead are cleaned up after.

        Raises:
            BusAway: it cannot be reached; ``start`` may be called again.
        """

    def close(self) -> None:
        """Send the queued events, and leave the cluster.  May switch."""

    def refresh(self, userid: int) -> list[Seat]:
        """Publish the devices of a user that are online here, and return those elsewhere.  May switch.

        Guarantee: if two nodes do so for one user at the same time, at least one of them sees the other's
        devices.

        Raises:
            Busy: the bus is away.
        """

    def online(self, users: Iterable[int]) -> set[int]:
        """Return those of some users that are online at another node."""

    def nodes(self, users: Iterable[int] | None = None) -> Collection[str]:
        """Return the other nodes, or those of them where any of these users is online."""

    @property
    def former(self) -> Set[str]:
        """The other nodes that run the former version, or have not said yet that they run this one.

        They are to be sent the events of the former version, which nodes of this one understand too.
        """

    def send(self, nodes: Collection[str], event: bytes) -> None:
        """Send an event to some of the other nodes.  Returns at once, never raises."""

    def wait_acknowledged(self) -> None:
        """Wait until each other node has taken all events sent to it so far, or is gone.  May switch.

        Whatever such a node sends from then on, it sends knowing these.  Returns early if the bus is away.
        """

"""The ports of the cluster's algorithm to its broker: frames between nodes, and a registry of leases.

``bus/cluster`` is the algorithm; it needs of a broker only these two ports.  They MUST go by one connection,
or keep its order: a frame is published after all that was asked of the registry before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from greenchat.model.records import Node, Seat


class TransportListener(Protocol):
    """The callbacks of a transport."""

    __slots__ = ()

    def connected(self) -> None:
        """Prepare a new connection: the broker may be another one, or have lost its data.  May switch.

        Requests to the registry from in here go out ahead of all others and of all frames.  If they fail,
        the connection is ended.

        Raises:
            Busy: the broker refuses.
        """

    def ready(self) -> None:
        """Publish the frames that have gathered: the connection is free.  Does not switch."""

    def failed(self, cause: str) -> None:
        """Note that the connection has ended: frames may be lost that were published.  Does not switch.

        Args:
            cause: the reason, for people.
        """

    def subscribed(self) -> None:
        """Note that the subscription is confirmed: frames may be lost that came before.  Does not switch."""

    def received(self, frame: bytes) -> None:
        """Take a frame that was published to this node's channel.  MUST NOT switch or raise."""

    def unsubscribed(self, cause: str) -> None:
        """Note that the subscription has ended; it is made anew.  Does not switch.

        Args:
            cause: the reason, for people.
        """


class Transport(Protocol):
    """Carry frames between nodes: one channel for each node, each subscribed to by that node.

    Frames of one node reach another in order.  They may be lost silently, and together with the connection.

    Attributes:
        broker: the name of the broker's program, for people.
        where: the address of the broker, for people.
    """

    __slots__ = ()

    broker: str
    where: str

    def start(self, cluster: str, name: str, listener: TransportListener) -> None:
        """Connect, and subscribe to a node's channel, for as long as it takes.  Does not switch.

        Args:
            cluster: the id of the cluster; nodes of different clusters do not hear each other.
            name: the name of the node.
            listener: is called from now on.
        """

    def wake(self) -> None:
        """Have ``TransportListener.ready`` called soon.  Does not switch."""

    def publish(self, name: str, frame: bytes) -> None:
        """Queue a frame for the channel of a node.  Does not switch or raise.

        Args:
            name: the node's name; one that does not listen loses the frame.
            frame: the bytes.
        """

    def close(self) -> None:
        """Send the queue, and disconnect.  May switch.  ``start`` may be called again."""


class Registry(Protocol):
    """The leases of the nodes, and the devices of the users at each, read and written by one node.

    A node is alive while it has a lease.  Each method may switch, and raises ``Busy`` if the broker is away
    or refuses; the request may have been done nevertheless.
    """

    __slots__ = ()

    def open(self, cluster: str, name: str) -> int:
        """Reach the broker; return the newest incarnation of a node that it remembers, 0 if none.

        Args:
            cluster: the id of the cluster, on which all that follows is done.
            name: the name of the node that is to be started.

        Raises:
            BusAway: the broker cannot be reached.
            StartupError: the broker refuses this server; the operator's fault.
        """

    def start(self, me: Node, lease: float) -> None:
        """Set the node that this registry speaks for.  Does not switch or raise.

        Args:
            me: the node.
            lease: seconds that a node counts as alive after it has renewed its lease.
        """

    # -- This node

    def enter(self, users: Iterable[tuple[int, list[str]]]) -> int:
        """Take a lease, and write the users here, in place of those of an earlier lease.

        Args:
            users: each user with the devices that are online here.

        Returns:
            The incarnation that has the lease now: that of a later start of this node is not overwritten.
        """

    def renew(self) -> tuple[int | None, dict[str, int]]:
        """Renew the lease of this node.

        Returns:
            The incarnation that has the lease, None if it has run out; and all registered nodes, with their
            incarnations.
        """

    def claim(self, userid: int, devices: list[str], names: Sequence[str]) -> list[Seat]:
        """Write the devices of a user here, and return those at some other nodes.

        Guarantee: if two nodes claim a user at the same time, at least one sees the other's devices.
        """

    def leave(self) -> None:
        """End the lease, and strike this node out."""

    # -- The others

    def incarnations(self, names: Iterable[str]) -> list[int | None]:
        """Return the incarnation of each node that has its lease, None where no lease is left."""

    def users(self, node: Node) -> set[int] | None:
        """Return the users that are online at a node; None if this incarnation of it has no lease."""

    def may_clean_up(self, node: Node) -> bool:
        """Return True if this node is the one to clean up after another, for a while."""

    def forget(self, node: Node) -> None:
        """Strike out a node that has been cleaned up after."""

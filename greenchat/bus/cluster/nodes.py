"""The other nodes: the frames to and from each, and the users that are online there.

Events are a fast path that may lose some at any time.  So each loss that is detected (see ``frames``) is
followed by one read of the other node's users in the registry, and by ``BusListener.catch_up``, which reads
the database.  The node's frames are taken meanwhile, in order.

An ``OtherNode`` is in one of these states:

=========  ============  =========================================================================
state      attributes    meaning
=========  ============  =========================================================================
current    not reading   every frame up to ``taken`` has been acted on, with nothing lost between
reading    ``reading``   a greenlet reads the registry; ``since`` has the users of frames meanwhile
outdated   and ``lost``  another loss was detected meanwhile, or the read failed: it is read again
=========  ============  =========================================================================

====================  ======================  ======================  =====================================
event                 current                 reading                 outdated
====================  ======================  ======================  =====================================
frame                 act on it; ``taken``    act on it; ``since``    act on it; ``since``
frame after a loss    act on it; -> reading   act on it; -> outdated  act on it
subscribed anew       -> reading              -> outdated             unchanged
registry has read     impossible              users replaced, then    users replaced, then ``since``;
                                              ``since``; catch up;    catch up; read again: -> reading
                                              -> current
no lease, or Busy     impossible              -> outdated, after      -> outdated, after ``TRY_AGAIN``
                                              ``TRY_AGAIN``
``drop``              removed                 removed; catch up       removed; catch up
====================  ======================  ======================  =====================================

``taken`` goes to the other node with each frame and position (``seen``): it is the acknowledgement for which
``wait_acknowledged`` waits.  It stays unchanged while reading, since the lost events are not caught up yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

import gevent
from gevent.event import Event

from greenchat.bus.cluster.directory import Directory
from greenchat.bus.cluster.frames import VERSION, Frame, Incoming, Outgoing
from greenchat.errors import Busy
from greenchat.model.records import Node
from greenchat.ports.bus import BusListener

RETURN = 3.0
"""Seconds in which users of a node that has left may come back elsewhere, before they count as offline."""

TRY_AGAIN = 0.5
"""Seconds after which a node's users are read again, if the read failed."""


class OtherNode:
    """Another node.

    Attributes:
        node: its name and incarnation.
        out: the state of the frames to it.
        incoming: the state of the frames from it.
        taken: the number of its last frame before which nothing is lacking here; None before the first.
        acked: the number of the last frame from here that it has acknowledged; None before the first.
        reading: a greenlet reads its users.
        lost: a loss was detected that the read under way may not cover.
        since: users of frames that came during the read, each with True if online there.
    """

    def __init__(self, node: Node, out: Outgoing) -> None:
        self.node = node
        self.out = out
        self.incoming = Incoming()
        self.taken: int | None = None
        self.acked: int | None = None
        self.reading = False
        self.lost = False
        self.since: dict[int, bool] = {}


class OtherNodes:
    """All other nodes that are alive, as far as this one knows.

    Args:
        me: this node.
        listener: the service.
        read_users: returns the users that are online at a node by the registry; None if it has no lease.
        send_positions: has positions sent soon.
        replaced: called with the former incarnation of a node that has been started anew.

    Attributes:
        directory: the users that are online at each of them.
        former: the names of those that run the former version, as far as is known (see ``ports.Bus``).
    """

    def __init__(
        self,
        me: Node,
        listener: BusListener,
        read_users: Callable[[Node], set[int] | None],
        send_positions: Callable[[], None],
        replaced: Callable[[Node], None],
    ) -> None:
        self._me = me
        self._listener = listener
        self._read_users = read_users
        self._send_positions = send_positions
        self._replaced = replaced
        self._others: dict[str, OtherNode] = {}
        self._outs: dict[str, Outgoing] = {}
        self._progress = Event()
        self.directory = Directory()
        self.former: set[str] = set()

    def __iter__(self) -> Iterator[OtherNode]:
        return iter(list(self._others.values()))

    def get(self, name: str) -> OtherNode | None:
        """Return the node of a name."""
        return self._others.get(name)

    def is_there(self, node: Node) -> bool:
        """Return True if a node is one of them, in this incarnation."""
        other = self._others.get(node.name)
        return other is not None and other.node == node

    def names(self) -> list[str]:
        """Return the names of all other nodes."""
        return list(self._others)

    def add(self, node: Node) -> OtherNode:
        """Add a node that has come, or has been started anew."""
        # Race: the node may have known this one all the time, and was sent nothing meanwhile.  So the numbers
        # go on from its former entry, and one is left out: it detects a loss.
        out = self._outs.setdefault(node.name, Outgoing())
        out.skip()
        before = self._others.get(node.name)
        if before is not None:
            self.drop(node.name, RETURN)
            self._replaced(before.node)
        other = self._others[node.name] = OtherNode(node, out)
        self.former.add(node.name)  # until its first frame says otherwise
        self._send_positions()
        return other

    def drop(self, name: str, seconds: float) -> None:
        """Remove a node; its users may come back elsewhere in some seconds."""
        other = self._others.pop(name, None)
        self.former.discard(name)
        if other is not None:
            other.out.lose()  # stale by the time a node has this name again
            if other.lost or other.reading:  # too late to read its lease, but the database can tell
                gevent.spawn(self._listener.catch_up)
        self._listener.moved(self.directory.drop(name), seconds)
        self._progress.set()

    def take(self, frame: Frame) -> OtherNode | None:
        """Act on a frame, if it is new; return its sender then.  Does not switch."""
        other = self._others.get(frame.source.name)
        if other is None or other.node.incarnation < frame.source.incarnation:
            other = self.add(frame.source)
        if frame.source != other.node or not other.incoming.fresh(frame):
            return None
        lost = other.incoming.take(frame)
        (self.former.add if frame.version < VERSION else self.former.discard)(other.node.name)
        self._take_users(other, frame)
        if frame.seen == self._me:
            self._acknowledged(other, frame.seen_number)
        for event in frame.events:
            self._listener.receive(event)
        if lost:
            self.recover(other)
        elif not other.reading:
            other.taken = frame.number
        return other

    def _take_users(self, other: OtherNode, frame: Frame) -> None:
        moved = []
        for users, here in ((frame.here, True), (frame.left, False)):
            for userid in users:
                if self.directory.put(other.node.name, userid, here):
                    moved.append(userid)
                if other.reading:  # race: the registry may have been read before this change
                    other.since[userid] = here
        if moved:
            self._listener.moved(moved, 0)

    def recover(self, other: OtherNode) -> None:
        """Begin to read all that lost frames would have told.  Does not switch."""
        other.lost = True
        if not other.reading:
            other.reading = True
            gevent.spawn(self._read, other)

    def wait_acknowledged(self, stop: Callable[[], bool]) -> None:
        """Wait until each node has acknowledged all that was sent to it so far, or is gone.  May switch.

        A node that has never acknowledged is not waited for: its first acknowledgement causes a
        ``BusListener.catch_up``.

        Args:
            stop: ends the wait once it returns True.
        """
        waiting = {
            other: other.out.number + other.out.waits
            for other in self._others.values()
            if other.acked is not None
        }
        while waiting and not stop():
            # A second at most: ``stop`` has no event of its own.
            self._progress.wait(1.0)
            self._progress.clear()
            waiting = {
                other: number
                for other, number in waiting.items()
                if self._others.get(other.node.name) is other and (other.acked or 0) < number
            }

    def _acknowledged(self, other: OtherNode, number: int) -> None:
        is_first = other.acked is None
        other.acked = number
        self._progress.set()
        if is_first:
            # Before, that node did not know the users here, and may have logged in their devices.
            gevent.spawn(self._listener.catch_up)

    def _read(self, other: OtherNode) -> None:
        """Read the users that are online at a node, and all that may have been lost.  May switch."""
        try:
            while other.lost and self._others.get(other.node.name) is other:
                other.lost, other.since = False, {}
                try:
                    users = self._read_users(other.node)
                except Busy:
                    other.lost = True
                    gevent.sleep(TRY_AGAIN)
                    continue
                # Race: the node may have left, or been started anew, during the read.
                if self._others.get(other.node.name) is not other:
                    return
                if users is None:
                    # Its lease has run out, or was lost with the broker's data.  It takes another one, or is
                    # dropped.
                    other.lost = True
                    self._listener.catch_up()
                    gevent.sleep(TRY_AGAIN)
                    continue
                for userid, here in other.since.items():  # newer than the registry's answer, or in it
                    (users.add if here else users.discard)(userid)
                self._listener.moved(self.directory.replace(other.node.name, users), 0)
                if not other.lost:
                    other.taken = other.incoming.number
                self._listener.catch_up()
        finally:
            other.reading = False


class Absences:
    """The time for which nodes have had no lease.

    Args:
        grace: seconds after which one counts as dead.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._since: dict[Node, float] = {}

    def is_dead(self, node: Node) -> bool:
        """Note that a node has no lease; return True if it has had none for the grace."""
        return monotonic() - self._since.setdefault(node, monotonic()) >= self._grace

    def forget(self, node: Node) -> None:
        """Note that a node has a lease, or has been removed."""
        self._since.pop(node, None)

    def clear(self) -> None:
        """Start all times anew: leases could not be read for a while."""
        self._since.clear()

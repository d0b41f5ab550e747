"""The other nodes: what was sent to each, what came from it, and who is online there."""

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
"""Seconds in which users of a node that has left may come back elsewhere, before they count as gone."""

TRY_AGAIN = 0.5
"""Seconds after which a node's users are read again, if that failed."""


class OtherNode:
    """Another node.

    Attributes:
        node: its name and incarnation.
        out: what is to be sent to it.
        incoming: what has come from it.
        taken: the last of its frames that all has been made of; it is told so.
        acked: the last of our frames that it has made all of; None before any.
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
        read_users: returns who is online at a node, as Redis knows it; None if it is not alive.
        send_positions: has positions sent soon.
        replaced: is told of a node that has been started anew.

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
        self._peers: dict[str, OtherNode] = {}
        self._outs: dict[str, Outgoing] = {}
        self._progress = Event()
        self.directory = Directory()
        self.former: set[str] = set()

    def __iter__(self) -> Iterator[OtherNode]:
        return iter(list(self._peers.values()))

    def get(self, name: str) -> OtherNode | None:
        """Return a peer by its name."""
        return self._peers.get(name)

    def is_there(self, node: Node) -> bool:
        """Return whether a node is one of them, in this incarnation."""
        peer = self._peers.get(node.name)
        return peer is not None and peer.node == node

    def names(self) -> list[str]:
        """Return the names of all."""
        return list(self._peers)

    def add(self, node: Node) -> OtherNode:
        """Take up a node that has come, or has been started anew."""
        # The numbers go on: it may have taken frames already that it found by its name.  One is left
        # out: it may have known us all the time, and it was told nothing while we did not know it.
        out = self._outs.setdefault(node.name, Outgoing())
        out.skip()
        before = self._peers.get(node.name)
        if before is not None:
            self.drop(node.name, RETURN)
            self._replaced(before.node)
        peer = self._peers[node.name] = OtherNode(node, out)
        self.former.add(node.name)  # until its first frame says otherwise
        self._send_positions()
        return peer

    def drop(self, name: str, seconds: float) -> None:
        """Forget a node, whose users may come back elsewhere in some seconds."""
        peer = self._peers.pop(name, None)
        self.former.discard(name)
        if peer is not None:
            peer.out.lose()  # by the time there is a node of this name again, it may be wrong
            if peer.lost or peer.reading:  # its hash tells nothing any more, but the database does
                gevent.spawn(self._listener.catch_up)
        self._listener.moved(self.directory.drop(name), seconds)
        self._progress.set()

    def take(self, frame: Frame) -> OtherNode | None:
        """Make all of a frame, if it is a new one; return who sent it.  Does not switch."""
        peer = self._peers.get(frame.source.name)
        if peer is None or peer.node.incarnation < frame.source.incarnation:
            peer = self.add(frame.source)
        if frame.source != peer.node or not peer.incoming.fresh(frame):
            return None
        lost = peer.incoming.take(frame)
        (self.former.add if frame.version < VERSION else self.former.discard)(peer.node.name)
        self._take_users(peer, frame)
        if frame.seen == self._me:
            self._acknowledged(peer, frame.seen_number)
        for event in frame.events:
            self._listener.receive(event)
        if lost:
            self.recover(peer)
        elif not peer.reading:
            peer.taken = frame.number
        return peer

    def _take_users(self, peer: OtherNode, frame: Frame) -> None:
        moved = []
        for users, here in ((frame.here, True), (frame.left, False)):
            for userid in users:
                if self.directory.put(peer.node.name, userid, here):
                    moved.append(userid)
                if peer.reading:
                    peer.since[userid] = here
        if moved:
            self._listener.moved(moved, 0)

    def recover(self, peer: OtherNode) -> None:
        """Find out what frames that were lost would have told.  Does not switch."""
        peer.lost = True
        if not peer.reading:
            peer.reading = True
            gevent.spawn(self._read, peer)

    def wait_acknowledged(self, stop: Callable[[], bool]) -> None:
        """Wait until each node has made all of what was sent to it so far, or is gone.  May switch.

        One that has not greeted us yet is not waited for: the sessions are looked at when it has.
        """
        waiting = {
            peer: peer.out.number + peer.out.waits for peer in self._peers.values() if peer.acked is not None
        }
        while waiting and not stop():
            self._progress.wait(1.0)
            self._progress.clear()
            waiting = {
                peer: number
                for peer, number in waiting.items()
                if self._peers.get(peer.node.name) is peer and (peer.acked or 0) < number
            }

    def _acknowledged(self, peer: OtherNode, number: int) -> None:
        greeted = peer.acked is None
        peer.acked = number
        self._progress.set()
        if greeted:
            # Before, it did not know who is here.
            gevent.spawn(self._listener.catch_up)

    def _read(self, peer: OtherNode) -> None:
        """Read who is online at a node, and all that may have been lost."""
        try:
            while peer.lost and self._peers.get(peer.node.name) is peer:
                peer.lost, peer.since = False, {}
                try:
                    users = self._read_users(peer.node)
                except Busy:
                    peer.lost = True
                    gevent.sleep(TRY_AGAIN)
                    continue
                if self._peers.get(peer.node.name) is not peer:
                    return
                if users is None:
                    # Its lease has run out, or was lost with Redis's data: it takes another, or is dropped.
                    peer.lost = True
                    self._listener.catch_up()
                    gevent.sleep(TRY_AGAIN)
                    continue
                for userid, here in peer.since.items():
                    (users.add if here else users.discard)(userid)
                self._listener.moved(self.directory.replace(peer.node.name, users), 0)
                if not peer.lost:
                    peer.taken = peer.incoming.number
                self._listener.catch_up()
        finally:
            peer.reading = False


class Absences:
    """Since when nodes have not been seen alive.

    Args:
        grace: seconds after which one counts as dead.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._since: dict[Node, float] = {}

    def is_dead(self, node: Node) -> bool:
        """Note that a node is not alive, and return whether it has not been for long enough."""
        return monotonic() - self._since.setdefault(node, monotonic()) >= self._grace

    def forget(self, node: Node) -> None:
        """Note that a node is alive, or has been buried."""
        self._since.pop(node, None)

    def clear(self) -> None:
        """Begin anew: nobody could be seen for a while."""
        self._since.clear()

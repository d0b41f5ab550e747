"""Brings entries and pushes to users: to their sessions here, and over the bus to the other nodes."""

from __future__ import annotations

from collections.abc import Collection

from greenchat.model.conversations import pair_of
from greenchat.model.records import Entry, Membership
from greenchat.ports.bus import Bus
from greenchat.protocol.messages import Push, ReadPush, TypingPush
from greenchat.protocol.wire import SharedPush
from greenchat.service.delivery.announce import announce
from greenchat.service.delivery.hub import Hub, Online
from greenchat.service.delivery.node_events import Mark, Stored, Told, committed
from greenchat.service.delivery.sequencer import Sequencer


class Router:
    """Deliver to users wherever they are online.  Never switches.

    Args:
        hub: the sessions of this node.
        bus: the connection to the other nodes.
        sequencer: keeps the order of entries at this node.
    """

    def __init__(self, hub: Hub, bus: Bus, sequencer: Sequencer) -> None:
        self._hub = hub
        self._bus = bus
        # Bound once: ``post`` runs for each message.
        self._take = sequencer.take
        self._expect = sequencer.expect
        self._alone = bus.alone

    def post(self, entry: Entry, members: Membership | None, origin: Online) -> None:
        """Deliver an entry that was committed at this node to all participants.

        Args:
            entry: the committed entry.
            members: the members of a group, ``{}`` for a pair; None if they are not cached: then all nodes
                get the entry.
            origin: the session that sent the entry; it has been sent the ACK.
        """
        self._take(entry, members, origin)
        if self._alone:
            return
        # Without members: all nodes, and each looks up which of its users get the entry.
        nodes = self._bus.nodes(members if entry.conversation < 0 else pair_of(entry.conversation))
        if nodes:
            announce(self._bus, committed(entry), nodes)

    def remind(self, conversation: int, seq: int) -> None:
        """Have all nodes look into the log for an entry that was stored earlier.

        The node that stored it may have died, or left the cluster, before it announced the entry.
        """
        self._expect(conversation, seq)
        # The members of a group would have to be read first, for an event that is rare.
        nodes = None if conversation < 0 else self._bus.nodes(pair_of(conversation))
        announce(self._bus, Stored(conversation, seq), nodes)

    def tell(
        self,
        users: Collection[int],
        push: TypingPush | ReadPush,
        *,
        without: int = 0,
        but: Online | None = None,
        mark: Mark | None = None,
    ) -> None:
        """Deliver a push (typing, read marks) to those of some users that are online.

        Args:
            users: the receivers.
            push: the push.
            without: a user among them that does not get it; 0 for none.
            but: a session that does not get it.
            mark: the read mark that the push carries.
        """
        self.tell_here(users, push, without, but)
        nodes = self._bus.nodes(users)
        if nodes:
            told = Told([userid for userid in users if userid != without], push, mark)
            announce(self._bus, told, nodes)

    def tell_here(
        self, users: Collection[int], push: Push, without: int = 0, but: Online | None = None
    ) -> None:
        """Deliver a push to those of some users that are online at this node."""
        # Encoded once for each wire, by the first session that has it.
        of, shared = self._hub.of, SharedPush(push)
        for userid in users:
            if userid != without:
                for session in of(userid):
                    if session is not but:
                        session.stream.notify(shared)

    def online(self, users: Collection[int]) -> set[int]:
        """Return those of some users that are online at any node."""
        return self._hub.online(users) | self._bus.online(users)

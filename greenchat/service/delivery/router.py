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
from greenchat.service.delivery.node_events import Committed, Mark, Stored, Told
from greenchat.service.delivery.sequencer import Sequencer


class Router:
    """Deliver to users wherever they are online.  Never switches.

    Args:
        hub: who is here.
        bus: the way to the others.
        sequencer: keeps the order of entries here.
    """

    def __init__(self, hub: Hub, bus: Bus, sequencer: Sequencer) -> None:
        self._hub = hub
        self._bus = bus
        self._take = sequencer.take
        self._expect = sequencer.expect
        self._alone = bus.alone

    def post(self, entry: Entry, members: Membership | None, origin: Online) -> None:
        """Give an entry that was committed here to all who take part.

        Args:
            entry: what is committed.
            members: of a group, who is in it, ``{}`` of a pair; None if that is to be looked up first: all
                nodes get it then.
            origin: the session that sent it, and has it.
        """
        self._take(entry, members, origin)
        if self._alone:
            return
        nodes = self._bus.nodes(members if entry.conversation < 0 else pair_of(entry.conversation))
        if nodes:
            announce(self._bus, Committed(*entry), nodes)

    def remind(self, conversation: int, seq: int) -> None:
        """Have all nodes look for an entry that was stored before, and may have been told to nobody.

        The node that stored it may have died of it, or left the cluster before.
        """
        self._expect(conversation, seq)
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
        """Give a push of the moment to users who are online.

        Args:
            users: whom it is for.
            push: what they get.
            without: one of them whom it is not for.
            but: one session that is not to have it.
            mark: the read mark that the push tells.
        """
        self.tell_here(users, push, without, but)
        nodes = self._bus.nodes(users)
        if nodes:
            told = Told([userid for userid in users if userid != without], push, mark)
            announce(self._bus, told, nodes)

    def tell_here(
        self, users: Collection[int], push: Push, without: int = 0, but: Online | None = None
    ) -> None:
        """Give a push of the moment to those who are online here."""
        of, shared = self._hub.of, SharedPush(push)
        for userid in users:
            if userid != without:
                for session in of(userid):
                    if session is not but:
                        session.stream.notify(shared)

    def online(self, users: Collection[int]) -> set[int]:
        """Return who of these is online anywhere."""
        return self._hub.online(users) | self._bus.online(users)

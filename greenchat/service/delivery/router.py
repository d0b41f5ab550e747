"""Brings frames to users: to their sessions here, and over the bus to the other nodes."""

from __future__ import annotations

from collections.abc import Collection

from greenchat.model.conversations import pair_of
from greenchat.model.records import Membership
from greenchat.ports.bus import Bus
from greenchat.service.delivery.hub import MOMENT, Hub, Online
from greenchat.service.delivery.node_events import Mark, Posted, Stored, Told, encode_event
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

    def post(self, entry: Posted, members: Membership | None, origin: Online) -> None:
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
            self._bus.send(nodes, encode_event(entry))

    def remind(self, conversation: int, seq: int) -> None:
        """Have all nodes look for an entry that was stored before, and may have been told to nobody.

        The node that stored it may have died of it, or left the cluster before.
        """
        self._expect(conversation, seq)
        nodes = self._bus.nodes(None if conversation < 0 else pair_of(conversation))
        if nodes:
            self._bus.send(nodes, encode_event(Stored(conversation, seq)))

    def tell(
        self,
        users: Collection[int],
        frame: bytes,
        *,
        without: int = 0,
        but: Online | None = None,
        mark: Mark | None = None,
    ) -> None:
        """Give a frame that is of the moment to users who are online.

        Args:
            users: whom it is for.
            frame: what they get.
            without: one of them whom it is not for.
            but: one session that is not to have it.
            mark: the read mark that the frame tells.
        """
        self.tell_here(users, frame, without, but)
        nodes = self._bus.nodes(users)
        if nodes:
            told = Told([userid for userid in users if userid != without], frame, mark)
            self._bus.send(nodes, encode_event(told))

    def tell_here(
        self, users: Collection[int], frame: bytes, without: int = 0, but: Online | None = None
    ) -> None:
        """Give a frame that is of the moment to those who are online here."""
        of = self._hub.of
        for userid in users:
            if userid != without:
                for session in of(userid):
                    if session is not but:
                        session.deliver(MOMENT, MOMENT, frame)

    def has_others(self, userid: int, session: Online) -> bool:
        """Return whether a user is online anywhere besides this session."""
        for other in self._hub.get(userid, ()):
            if other is not session:
                return True
        return not self._alone and bool(self._bus.online((userid,)))

    def online(self, users: Collection[int]) -> set[int]:
        """Return who of these is online anywhere."""
        return self._hub.online(users) | self._bus.online(users)

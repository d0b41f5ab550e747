"""Compares the sessions of this node with the database, and makes up for events that were lost."""

from __future__ import annotations

import random
from collections.abc import Collection
from functools import partial

from greenchat.errors import Busy
from greenchat.model.records import Node
from greenchat.ports.bus import Bus
from greenchat.ports.store import Store
from greenchat.ports.timer import Later
from greenchat.service.delivery.announce import announce
from greenchat.service.delivery.hub import Hub, Online
from greenchat.service.delivery.node_events import Missed
from greenchat.service.delivery.sequencer import Sequencer

TRY_AGAIN = 0.5
"""Seconds after which a database that is away is asked again."""

AT_A_TIME = 500
"""Sessions in one question to the database, so that each answer comes soon."""

SPREAD = 2.0
"""Seconds over which clients come back whose sessions this node has lost."""


class Recovery:
    """Compares sessions with the database: entries that they lack, and logins at other nodes.

    A node that was cut off from the bus may have missed entries.  Its sessions may have been taken over, or
    marked offline by nodes that took it for dead.

    Race: while a user logs in or joins a group, an entry may commit at a node that does not know of it yet,
    and that sends nothing here.  So the user's sessions are compared again once all nodes know.

    Args:
        hub: the sessions of this node.
        store: the database, which decides.
        bus: waits until all nodes have taken the events sent so far.
        sequencer: fills the gaps that are found.
        node: this server.
        later: runs a function so many seconds from now, where it may switch.

    Attributes:
        waiting: the number of waits for the other nodes under way, after which these will be told.
    """

    def __init__(
        self,
        hub: Hub,
        store: Store,
        bus: Bus,
        sequencer: Sequencer,
        node: Node,
        later: Later,
    ) -> None:
        self._hub = hub
        self._store = store
        self._bus = bus
        self._sequencer = sequencer
        self._node = node
        self._later = later
        self._newcomers: list[Online] = []
        self._joiners: set[int] = set()
        self.waiting = 0

    def check_soon(self, session: Online) -> None:
        """Compare a session that has just logged in, once all nodes know of it.  Does not switch."""
        if not self._bus.alone:
            self._wait()
            # After ``_wait``, which starts a wait only for the first of those that gather.
            self._newcomers.append(session)

    def check_user_soon(self, userid: int) -> None:
        """Have all nodes compare a user's sessions, once they know of the change.  Does not switch."""
        if not self._bus.alone:
            self._wait()
            self._joiners.add(userid)

    def check_user(self, userid: int) -> None:
        """Compare a user's sessions here.  May switch."""
        self._try(list(self._hub.of(userid)))

    def check_all(self) -> None:
        """Compare all sessions of this node.  May switch.

        Raises:
            Busy: the database is away.
        """
        self._check(self._hub.sessions())

    def _wait(self) -> None:
        if not self._newcomers and not self._joiners:
            self.waiting += 1
            # One wait for all that come before it begins: after a restart, thousands log in within a second.
            self._later(0, self._check_waiting)

    def _check_waiting(self) -> None:
        """Compare the sessions that wait.

        One that comes meanwhile is left for the next time: the other nodes may not know of it yet.
        """
        sessions, self._newcomers = self._newcomers, []
        joiners, self._joiners = self._joiners, set()
        # Until then any node may commit an entry without telling this one; from then on none does.
        self._bus.wait_acknowledged()
        for userid in joiners:
            announce(self._bus, Missed(userid), self._bus.nodes((userid,)))
            sessions.extend(self._hub.of(userid))
        # Not earlier: a node that stops waits for this, so that the others are told of each joining.
        self.waiting -= 1
        self._try(sessions)

    def _try(self, sessions: Collection[Online], *, again: bool = False) -> None:
        try:
            self._check(sessions, again=again)
        except Busy:
            self._later(TRY_AGAIN, partial(self._try, sessions, again=again))

    def _check(self, sessions: Collection[Online], *, again: bool = False) -> None:
        """Read which sessions are lost, and which conversations go on after their cursors.

        Race: a login elsewhere that is void may have the device for a moment, until its ``Reopen`` arrives.
        So a session that seems to be taken over ends only if it still does some time later (``again``), or
        while the bus is away and brings no events.
        """
        doubtful: list[Online] = []
        # A login that is being answered may not be in the database yet; its live entries are held.
        seats = {(session.id, session.device): session for session in sessions if session.is_answered}
        devices = list(seats)
        for start in range(0, len(devices), AT_A_TIME):
            found = self._store.check_devices(devices[start : start + AT_A_TIME], self._node)
            for (userid, device), elsewhere in found.lost.items():
                session = seats[userid, device]
                # Race: the user may have logged out, or in as somebody else, while the database answered.
                if session.user != userid:
                    continue
                if elsewhere is not None and not again and not self._bus.away:
                    doubtful.append(session)
                else:
                    _end(session, elsewhere is not None)
            for conversation, head in found.heads.items():
                self._sequencer.expect(conversation, head)
        if doubtful:
            self._later(TRY_AGAIN, partial(self._try, doubtful, again=True))


def _end(session: Online, is_elsewhere: bool) -> None:
    """End a session that another node has taken over or, taking this one for dead, marked offline."""
    if is_elsewhere:
        # Without ``retry_after``: the newer login has the device, and would be replaced in turn.
        session.peer.close("replaced")
    else:
        # Spread, since all clients of a node that was taken for dead end in the same moment.
        session.peer.close("shutdown", round(random.uniform(0, SPREAD), 2))

"""The door of the other nodes: handles the events that they send to this one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from greenchat.errors import Busy
from greenchat.metrics import HANDLER_ERRORS
from greenchat.model.conversations import group_of
from greenchat.model.records import Node
from greenchat.ports.bus import BusListener
from greenchat.service.delivery import node_events
from greenchat.service.device.sign_off import give_up
from greenchat.service.device.takeover import open_again
from greenchat.service.service import Service

TRY_AGAIN = 0.5
"""Seconds after which a database that was away is looked into again."""

TRUSTED = 0.5
"""Seconds that memberships and blocks are remembered while the bus is away, and no other node can tell of a
change.  With the 0.7 s until it counts as away, this keeps to the second that docs/protocol.md promises."""

_log = logging.getLogger(__name__)


class NodeSession(BusListener):
    """The service's side of the bus.

    Args:
        service: of this node.
        superseded: ends this server.
    """

    def __init__(self, service: Service, superseded: Callable[[], None]) -> None:
        self._service = service
        self._superseded = superseded
        self._catching_up = False
        self._again = False
        self._due = False
        self._handlers: dict[type[node_events.NodeEvent], Callable[[Any], None]] = {
            node_events.Committed: self._committed,
            node_events.Told: self._told,
            node_events.Ended: self._ended,
            node_events.Reopen: self._reopen,
            node_events.Joined: self._joined,
            node_events.Left: self._left,
            node_events.BlockChanged: self._block_changed,
            node_events.Missed: self._missed,
            node_events.Stored: self._stored,
            node_events.NameDoubted: self._name_doubted,
        }

    # docs of the public methods: ports.BusListener

    def devices(self, userid: int) -> list[str]:
        return [session.device for session in self._service.hub.of(userid) if session.claim.is_public]

    def users(self) -> Iterable[int]:
        return self._service.hub.users()

    def receive(self, event: bytes) -> None:
        decoded = node_events.decode_event(event)
        if decoded is None:
            _log.debug("an event of %d bytes is not known to this version", len(event))
            return
        try:
            self._handlers[type(decoded)](decoded)
        except Exception:
            HANDLER_ERRORS.value += 1
            _log.exception("a bug in the handler of %s", type(decoded).__name__)

    def catch_up(self) -> None:
        """Look into the database; if that is being done, once more afterwards."""
        # At once: once this returns, the others may act on it that all is known here.
        self._service.forget_all()
        if self._service.bus.away:  # then this is called each second
            self._service.later(TRUSTED, self._service.forget_all)
        self._again = True
        if self._catching_up:
            return
        self._catching_up = True
        try:
            while self._again:
                self._again = False
                self._catch_up()
        finally:
            self._catching_up = False

    def moved(self, users: Iterable[int], seconds: float) -> None:
        self._service.presence.moved(users, seconds)

    def gone(self, node: Node) -> None:
        self._service.store.close_node(node, self._service.now())

    def nodes(self) -> list[Node]:
        return self._service.store.nodes()

    def superseded(self) -> None:
        self._superseded()

    def _catch_up(self) -> None:
        service = self._service
        try:
            service.recovery.check_all()
            service.presence.check_blocks()
        except Busy:
            if not self._due:
                self._due = True
                service.later(TRY_AGAIN, self._try_again)

    def _try_again(self) -> None:
        self._due = False
        self.catch_up()

    # -- Events

    def _committed(self, event: node_events.Committed) -> None:
        groupid = group_of(event.conversation)
        members = {} if groupid is None else self._service.memberships.get(groupid)
        self._service.sequencer.take(node_events.entry_of(event), members)

    def _told(self, event: node_events.Told) -> None:
        mark = event.mark
        if mark is None or self._service.advance_mark(mark.userid, mark.conversation, mark.seq):
            self._service.router.tell_here(event.users, event.push)

    def _ended(self, event: node_events.Ended) -> None:
        for session in self._service.hub.of(event.userid):
            if event.device is None or (
                event.device == session.device and session.claim.outdate(event.since)
            ):
                session.peer.close("replaced")
                give_up(self._service, session)

    def _reopen(self, event: node_events.Reopen) -> None:
        session = self._service.hub.find(event.userid, event.device)
        if session is not None:
            session.claim.void(event.since)
            self._service.later(0, partial(open_again, self._service, session))

    def _joined(self, event: node_events.Joined) -> None:
        self._service.memberships.joined(event.userid, event.groupid, event.joined)

    def _left(self, event: node_events.Left) -> None:
        self._service.memberships.left(event.userid, event.groupid)

    def _block_changed(self, event: node_events.BlockChanged) -> None:
        self._service.forget_block(event.sender, event.receiver)
        self._service.presence.block_changed(event.receiver, event.sender)

    def _missed(self, event: node_events.Missed) -> None:
        self._service.later(0, partial(self._service.recovery.check_user, event.userid))

    def _name_doubted(self, event: node_events.NameDoubted) -> None:
        self._service.doubted_names.add(event.name)

    def _stored(self, event: node_events.Stored) -> None:
        self._service.sequencer.expect(event.conversation, event.seq)

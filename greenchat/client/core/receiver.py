"""Receiving of pushes and pages, up to the queue from which the application takes them.  Sans I/O."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from greenchat.client.core.backoff import Backoff
from greenchat.client.core.inbox import Inbox
from greenchat.client.core.paging import Paging
from greenchat.client.core.parsing import InvalidField, parse_push
from greenchat.client.core.pending import PendingRequest
from greenchat.client.core.pushes import ConnectionEvent, Entry, Frame, Push
from greenchat.client.core.sender import Sender
from greenchat.protocol.msgids import MsgId

SYNC_KEY = "sync"
"""Ordering key of SYNC: one at a time, and again when the server is busy."""

log = logging.getLogger(__name__)


class QueuedPush(NamedTuple):
    """A push for the application.

    Attributes:
        inbox: inbox of the login that received it; None for an event of the client itself.
    """

    push: Push
    inbox: Inbox | None


class Receiver:
    """Queue pushes, acknowledge those that are handled, and request the undelivered pages.

    Not thread-safe.

    Args:
        sender: sends the receipts, and SYNC.
        backoff: waits between pages that bring nothing new.
        clock: monotonic seconds.

    Attributes:
        queue: pushes that the application has not taken.
    """

    def __init__(self, sender: Sender, backoff: Backoff, clock: Callable[[], float]) -> None:
        self.queue: deque[QueuedPush] = deque()
        self._sender = sender
        self._clock = clock
        self._paging = Paging(backoff)
        self._inbox: Inbox | None = None
        self._device = ""
        self._is_closed = False

    def inbox_for(self, user: int, device: str) -> Inbox:
        """Return the inbox of a device: that of the login before, if it is the same user and device."""
        if self._inbox is None or (self._inbox.me, self._device) != (user, device):
            self._inbox, self._device = Inbox(user), device
        return self._inbox

    def reset_paging(self) -> None:
        """Forget the pages of the login before."""
        self._paging.reset()

    def put_event(self, event: ConnectionEvent) -> None:
        """Queue an event of the client itself."""
        self._put(event, None)

    def receive_push(self, inbox: Inbox, frame: Frame, offline: bool = False) -> Push | None:
        """Queue the push of a frame unless it was received before; return it, None for an invalid frame."""
        try:
            push = parse_push(frame, inbox.me, offline)
        except InvalidField as error:  # one bad field costs one push, not its page or the connection
            log.warning("skipped an invalid frame of the server: %s", error)
            return None
        if isinstance(push, Entry) and not inbox.accept(push, self._clock()):
            self._sender.wake()
        elif push:
            self._put(push, inbox)
        return push

    def receive_page(self, inbox: Inbox, reply: Frame) -> None:
        """Queue a page of undelivered entries, of a LOGIN_ACK or of the reply to SYNC."""
        pushes = [self.receive_push(inbox, frame, offline=True) for frame in reply.get("offlinemsg", [])]
        entries = [push for push in pushes if isinstance(push, Entry)]
        self._paging.add(entries, bool(reply.get("more")))
        self._request_page()

    def take(self) -> QueuedPush | None:
        """Remove and return the next push; acknowledge and skip this client's own messages."""
        while self.queue:
            item = self.queue.popleft()
            if not (item.inbox and isinstance(item.push, Entry) and item.inbox.is_own(item.push)):
                self._request_page()
                return item
            self.acknowledge(item)
        return None

    def acknowledge(self, item: QueuedPush) -> None:
        """Record that the application has handled a push."""
        if item.inbox and item.inbox.acknowledge(item.push, self._clock()):
            self._sender.wake()
        self._request_page()

    def reject(self, item: QueuedPush) -> None:
        """Record that the application has failed on a push: it is delivered again at the next login."""
        if item.inbox:
            item.inbox.reject(item.push)

    def drop(self) -> None:
        """Remove the pushes of a login that ended: the server offers them again at the next one."""
        for item in self.queue:
            self.reject(item)
        self.queue = deque(item for item in self.queue if isinstance(item.push, ConnectionEvent))

    def close(self) -> None:
        """Remove all pushes, and queue none from now on."""
        self._is_closed = True
        self.queue.clear()

    def _put(self, push: Push, inbox: Inbox | None) -> None:
        if not self._is_closed:
            self.queue.append(QueuedPush(push, inbox))

    def _request_page(self) -> None:
        """Request the next page once the last one is taken: a slow application keeps one page in memory."""
        login = self._sender.login
        if self._paging.more and login and not self._paging.asking and not self.queue:
            self._paging.asking = True
            request = PendingRequest(
                MsgId.SYNC,
                {"cid": self._sender.new_cid()},
                ordering_key=SYNC_KEY,
                on_success=lambda reply: self.receive_page(login.inbox, reply),
            )
            request.due = self._clock() + self._paging.pause
            self._sender.add(request)
            self._sender.wake()

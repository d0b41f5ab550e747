"""Sending of requests, heartbeats and receipts, each when it is due.  Sans I/O."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Callable
from typing import NamedTuple, Protocol

from greenchat.client.core.backoff import Backoff
from greenchat.client.core.inbox import Inbox
from greenchat.client.core.parsing import parse_error
from greenchat.client.core.pending import BEFORE_LOGIN, TRANSIENT, PendingRequest, RequestQueue, encode_frame
from greenchat.client.core.pushes import Frame, LoginInfo
from greenchat.protocol.msgids import MsgId

HEARTBEAT = encode_frame({"msgid": int(MsgId.HEARTBEAT)})

log = logging.getLogger(__name__)


class ClientTransport(Protocol):
    """Carry frames to the server.  No method waits or raises; any thread may call them."""

    def send(self, frame: bytes) -> None:
        """Queue a frame, without its newline."""

    def wake(self) -> None:
        """Call the session's ``tick`` soon: something may be due earlier than it said."""

    def set_read_timeout(self, seconds: float) -> None:
        """Set the longest silence of the server, from the next read on."""

    def abort(self) -> None:
        """Drop the queued frames and end the connection."""


class ActiveLogin(NamedTuple):
    """A login that outlives its connections.

    Attributes:
        heartbeat: seconds between heartbeats.
    """

    info: LoginInfo
    inbox: Inbox
    heartbeat: float


class Sender:
    """Send over the current connection, and keep requests while there is none.  Not thread-safe.

    Args:
        backoff: waits of requests that a busy server has refused.
        clock: monotonic seconds.

    Attributes:
        transport: the connection; None while there is none.
        login: the login that the server has confirmed on this connection.  While it is None only the
            requests of ``BEFORE_LOGIN`` are sent, and all others wait.
    """

    def __init__(self, backoff: Backoff, clock: Callable[[], float]) -> None:
        self.transport: ClientTransport | None = None
        self.login: ActiveLogin | None = None
        self._backoff = backoff
        self._clock = clock
        self._queue = RequestQueue()
        self._cid_prefix, self._numbers = secrets.token_hex(8), itertools.count(1)
        self._next_heartbeat = 0.0

    def new_cid(self) -> str:
        """Return a cid that no other request has."""
        return f"{self._cid_prefix}-{next(self._numbers)}"

    def add(self, request: PendingRequest) -> None:
        """Send a request when its turn comes.

        Raises:
            BadRequest: another request with its cid is pending; the caller's fault.
        """
        self._queue.add(request)
        self.flush()

    def discard(self, request: PendingRequest) -> None:
        """Forget a request, and send the next one of its ordering key."""
        self._queue.discard(request)
        self.flush()

    def receive_reply(self, reply: Frame) -> None:
        """Give a reply to its request, or schedule the request again if the server was too busy."""
        request, error = self._queue.get(reply.get("cid")), parse_error(reply)
        if request is None:
            if error:
                log.warning("the server reports an error: %r", str(error))
        elif isinstance(error, TRANSIENT) and request.ordering_key is not None:
            request.retry_at(self._clock() + self._backoff.delay(request.attempts, error.retry_after))
            self.wake()
        else:
            self._queue.discard(request)
            request.fail(error) if error else request.succeed(reply)
            self.flush()

    def start(self, login: ActiveLogin) -> None:
        """Send the requests that wait for this login, and a heartbeat at once."""
        self.login, self._next_heartbeat = login, self._clock()
        self.flush()
        self.wake()

    @property
    def is_repeatable(self) -> bool:
        """True if all requests on the wire may be sent again on another connection."""
        return self._queue.is_repeatable

    def disconnect(self) -> list[PendingRequest]:
        """Drop the connection; return the requests that were on it and must not be sent again."""
        self.transport = self.login = None
        return self._queue.take_lost()

    def fail_all(self, error: Exception) -> None:
        """Fail all pending requests."""
        for request in self._queue.take_all():
            request.fail(error)

    def flush(self) -> None:
        """Send the requests that are ready."""
        if self.transport:
            for request in self._queue.ready(self._clock()):
                if self.login or request.msgid in BEFORE_LOGIN:
                    request.sent = True
                    self.transport.send(request.frame)

    def wake(self) -> None:
        """Have the timer called soon."""
        if self.transport:
            self.transport.wake()

    def send_heartbeat(self) -> None:
        """Send a heartbeat; the server echoes it."""
        if self.transport:
            self.transport.send(HEARTBEAT)

    def send_receipts(self) -> None:
        """Send the receipts gathered so far, due or not."""
        if self.transport and self.login:
            for frame in self.login.inbox.take_receipts():
                self.transport.send(encode_frame(frame))

    def tick(self) -> float | None:
        """Send all that is due; return the seconds until more is, None if nothing is to come."""
        if not (self.transport and self.login):
            return None
        now = self._clock()
        if self._next_heartbeat <= now:
            self.send_heartbeat()
            self._next_heartbeat = now + self.login.heartbeat
        inbox = self.login.inbox
        if inbox.due is not None and inbox.due <= now:
            self.send_receipts()
        self.flush()
        dues = (self._next_heartbeat, inbox.due, self._queue.next_due())
        return max(0.0, min(due for due in dues if due is not None) - now)

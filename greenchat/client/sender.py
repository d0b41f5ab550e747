"""Frames to the server, and their time: requests, heartbeats, marks."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

from greenchat.client.backoff import Backoff
from greenchat.client.connection import Link
from greenchat.client.inbox import Inbox
from greenchat.client.pending import EARLY, TRANSIENT, Outstanding, Pending, encode, error_of
from greenchat.client.pushes import Frame, Login
from greenchat.errors import RequestError
from greenchat.protocol.messages import MsgId

HEARTBEAT = encode({"msgid": int(MsgId.HEARTBEAT)})

log = logging.getLogger(__name__)


class Session(NamedTuple):
    """A login that outlives its connections."""

    login: Login
    inbox: Inbox
    interval: float
    """Seconds between heartbeats."""


class Outbound:
    """The requests under way, over whatever Link there is.  The Line holds its lock around every call.

    Args:
        backoff: how long to wait when the server is busy.

    Attributes:
        link: the connection; None while there is none.
        session: who is logged in on it; None before, and requests that need a login wait.
    """

    def __init__(self, backoff: Backoff) -> None:
        self.link: Link | None = None
        self.session: Session | None = None
        self._backoff = backoff
        self._outstanding = Outstanding()
        self._prefix, self._numbers = secrets.token_hex(8), itertools.count(1)
        self._next_beat = 0.0

    def pending(
        self,
        msgid: MsgId,
        fields: Frame,
        *,
        lane: Hashable = None,
        again: bool = False,
        then: Callable[[Frame], None] | None = None,
        otherwise: Callable[[RequestError], None] | None = None,
    ) -> Pending:
        """Return a new request, with a ``cid`` if the fields have none; arguments as of ``Pending``."""
        cid = f"{self._prefix}-{next(self._numbers)}"
        return Pending(msgid, {"cid": cid, **fields}, lane, again, then, otherwise)

    def add(self, pending: Pending) -> None:
        """Send a request when its turn comes."""
        self._outstanding.add(pending)
        self.pump()

    def discard(self, pending: Pending) -> None:
        """Forget a request, and go on with what waited behind it."""
        self._outstanding.discard(pending)
        self.pump()

    def reply(self, frame: Frame) -> None:
        """Give a reply to the request it answers; one that the server was too busy for is put off."""
        pending, error = self._outstanding.get(frame.get("cid")), error_of(frame)
        if pending is None:
            if error:
                log.warning("the server says: %r", str(error))
        elif isinstance(error, TRANSIENT) and pending.lane is not None:
            pending.put_off(time.monotonic() + self._backoff.delay(pending.attempts, error.retry_after))
            self.wake()
        else:
            self._outstanding.discard(pending)
            pending.fail(error) if error else pending.succeed(frame)
            self.pump()

    def online(self, session: Session) -> None:
        """Go on after a login."""
        self.session, self._next_beat = session, time.monotonic()
        self.pump()
        self.wake()

    @property
    def repeatable(self) -> bool:
        """True if all requests under way may be sent again on another connection."""
        return self._outstanding.repeatable

    def broken(self) -> list[Pending]:
        """Note the end of the connection; return the requests that may not be repeated."""
        self.link = self.session = None
        return self._outstanding.broken()

    def fail_all(self, error: Exception) -> None:
        """Give an error to all who wait."""
        for pending in self._outstanding.clear():
            pending.fail(error)

    def pump(self) -> None:
        """Send the requests whose turn has come."""
        if self.link:
            for pending in self._outstanding.ready(time.monotonic()):
                if self.session or pending.msgid in EARLY:
                    pending.sent = True
                    self.link.send(pending.frame)

    def wake(self) -> None:
        """Look again at what is due."""
        if self.link:
            self.link.wake()

    def beat(self) -> None:
        """Give a sign of life, which the server echoes."""
        if self.link:
            self.link.send(HEARTBEAT)

    def send_marks(self) -> None:
        """Tell the server what was received and read."""
        if self.link and self.session:
            for frame in self.session.inbox.take_marks():
                self.link.send(encode(frame))

    def tick(self) -> float | None:
        """Do what is due by the clock, and return the seconds until more is."""
        if not (self.link and self.session):
            return None
        now = time.monotonic()
        if self._next_beat <= now:
            self.beat()
            self._next_beat = now + self.session.interval
        inbox = self.session.inbox
        if inbox.due is not None and inbox.due <= now:
            self.send_marks()
        self.pump()
        dues = (self._next_beat, inbox.due, self._outstanding.next_due())
        return max(0.0, min(due for due in dues if due is not None) - now)

"""The line to the server: requests and logins that outlive their connections.

Threads: one reader, which also connects again; the writer of its Link, which keeps time; and a
dispatcher where the application gave a callback.  All state is under one lock, which is never held
while waiting for the server or while the application's code runs.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Hashable
from typing import Literal

from greenchat.client.backoff import Backoff
from greenchat.client.connection import Link
from greenchat.client.connector import RENEWAL, Reader
from greenchat.client.inbox import Inbox
from greenchat.client.paging import Paging
from greenchat.client.parsing import Unreadable, read_heartbeat, read_login, read_push, read_seconds
from greenchat.client.pending import EARLY, TRANSIENT, ConnectionLost, encode
from greenchat.client.push_queue import Delivery
from greenchat.client.pushes import Conversation, Entry, Event, Frame, Login, Push
from greenchat.client.sender import Outbound, Session
from greenchat.client.tls import Socket
from greenchat.errors import (
    AlreadyLoggedIn,
    AlreadyOnline,
    Disconnected,
    GreenchatError,
    NotAllowed,
    NotLoggedIn,
    RequestError,
)
from greenchat.protocol.messages import MsgId

FINAL = frozenset({"replaced", "protocol"})
"""Reasons of a BYE after which coming back would be wrong: somebody else took over, or we are the fault."""

PASSING = (*TRANSIENT, AlreadyOnline, NotAllowed)
"""Refusals of a token that may pass.  NotAllowed too: devices of a server that died count for a while."""

REPLIES = frozenset({MsgId.LOGIN_ACK, MsgId.REG_ACK, MsgId.ACK, MsgId.HISTORY_ACK, MsgId.ERROR})
SYNC_LANE = "sync"

log = logging.getLogger(__name__)


class Line:
    """Carry requests and pushes, and come back whenever the connection is lost.

    Args:
        dial: connects to the server within so many seconds, when the first request is made.
        on_push: called with each push, one at a time, on a thread of its own, so that it may
            make requests and wait for them.
        backoff: how long to wait before coming back.
        renew_after: seconds after which a token is renewed, at most; half as many at least.
    """

    def __init__(
        self,
        dial: Callable[[float], Socket],
        on_push: Callable[[Push], None] | None,
        backoff: Backoff,
        renew_after: float,
    ) -> None:
        self._backoff = backoff
        self._renew_after = renew_after
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._out = Outbound(backoff)
        self._session: Session | None = None
        self._inbox: tuple[str, Inbox] | None = None
        self._paging = Paging(backoff)
        self._closed = False
        self._renewing = False
        self._renew_at = 0.0
        self._ended = ""  # why the last login ended, if it was not logged out
        self._farewell = ""  # why this connection is to be ended
        self._final = ""  # why there is no coming back after it
        self._retry_after: float | None = None
        self._attempts = 0
        self._delivery = Delivery(self._lock, on_push, self._after_change)
        self._reader = Reader(dial, self)

    # -- For the application's threads

    @property
    def login(self) -> Login | None:
        """The user who is logged in, on a connection or coming back; None when nobody is."""
        session = self._session
        return session.login if session else None

    @property
    def online(self) -> bool:
        """True if there is a connection that is logged in."""
        return self._out.session is not None

    def request(
        self,
        msgid: MsgId,
        fields: Frame,
        timeout: float,
        *,
        lane: Hashable = None,
        again: bool = False,
        then: Callable[[Frame], None] | None = None,
    ) -> Frame:
        """Make a request and wait for its reply; while the connection is away it waits to be sent.

        Args:
            msgid, fields, lane, again, then: as in ``Pending``; a ``cid`` is added if there is none.
            timeout: seconds.

        Raises as ``Client`` says.
        """
        pending = self._out.pending(msgid, fields, lane=lane, again=again, then=then)
        if msgid in EARLY and not (self._session or self._closed):
            self._reader.connect()
        with self._lock:
            self._check(msgid)
            if lane and self._session:
                self._session.inbox.remember(pending.cid)
            self._out.add(pending)
        try:
            return pending.result(timeout)
        finally:
            with self._lock:
                self._out.discard(pending)

    def store(self, msgid: MsgId, lane: Conversation, fields: Frame, timeout: float) -> Frame:
        """Send an entry of a conversation, again under the same cid until it is acknowledged."""
        with self._lock:
            inbox = self._logged_in().inbox
        return self.request(
            msgid,
            fields,
            timeout,
            lane=lane,
            again=True,
            then=lambda reply: inbox.remember((lane, reply["seq"])),
        )

    def log_in(self, fields: Frame, timeout: float) -> Login:
        """Log in; raises as ``request``.  After a timeout the connection is closed: it may be logged in."""
        try:
            self.request(MsgId.LOGIN, fields, timeout, then=lambda reply: self._welcome(fields, reply))
        except TimeoutError:
            with self._lock:
                self._end_session("the login timed out")
                if self._out.link:
                    self._out.link.abort()
            raise
        with self._lock:
            return self._logged_in().login

    def log_out(self, timeout: float) -> None:
        """Acknowledge what was handed over, log out, and come back no more."""
        with self._lock:
            self._out.send_marks()
            online = self.online or self._renewing
        try:
            if online:
                self.request(MsgId.LOGINOUT, {}, timeout, then=lambda _: self._end_session(""))
        finally:
            with self._lock:
                self._end_session("")

    def mark(self, msgid: MsgId, conversation: Conversation, seq: int) -> None:
        """Tell the server soon, or when the connection is back, that all up to ``seq`` was read."""
        with self._lock:
            self._logged_in().inbox.mark(msgid, conversation, seq, time.monotonic())
            self._out.wake()

    def say(self, frame: Frame) -> None:
        """Send a frame that gets no reply; dropped while the connection is away."""
        with self._lock:
            self._logged_in()
            if self._out.link and self.online:
                self._out.link.send(encode(frame))

    def next_push(self, timeout: float | None) -> Push | None:
        """Acknowledge what this thread took last, and wait for the next push; as ``Delivery.next``."""
        return self._delivery.next(timeout)

    def acknowledge(self) -> None:
        """Acknowledge what this thread took last."""
        self._delivery.acknowledge()

    def page(self, reply: Frame) -> None:
        """Take in a page of undelivered entries; the next is asked for when they are handed over."""
        with self._lock:
            pushes = [self._take_push(frame, offline=True) for frame in reply.get("offlinemsg", [])]
            entries = [push for push in pushes if isinstance(push, Entry)]
            self._paging.page(entries, bool(reply.get("more")))
            self._sync()

    def new_token(self, token: str) -> None:
        """Come back with another token from now on."""
        with self._lock:
            if self._session:
                self._session = self._session._replace(login=self._session.login._replace(token=token))
                self._plan_renewal()

    def close(self) -> None:
        """End everything: who waits gets Disconnected, threads end.  The second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._out.fail_all(Disconnected("closed"))
            self._changed.notify_all()
        self._delivery.close()
        with self._lock:
            self._out.send_marks()
        self._reader.close()

    # -- For the reader's and the writer's thread (Owner)

    def tick(self) -> float | None:
        """Do what is due by the clock, and return the seconds until more is."""
        with self._lock:
            self._renew()
            return self._out.tick()

    def adopt(self, link: Link, again: bool) -> bool:
        """Use a new connection; a login that was lost is asked for again."""
        with self._lock:
            if self._closed or (again and self._session is None):
                return False
            self._out.link, self._farewell, self._final, self._retry_after = link, "", "", None
            if self._session:
                self._log_in_again(self._session.login)
            return True

    def handle(self, frame: Frame) -> str | None:
        """Take a frame in; return why the connection is to be ended, or None."""
        with self._lock:
            try:
                self._handle(frame)
            except Exception as error:  # one frame that cannot be understood must not end the reader
                log.warning("cannot understand a frame from the server: %r", error)
                log.debug("it was %r", frame, exc_info=True)
            return self._farewell or None

    def broken(self, reason: str) -> float | None:
        """Note the end of the connection; who waits for what may not be repeated learns of it."""
        with self._lock:
            lost = self._out.broken()
            if self._final and self._session:
                self._end_session(self._final)
                self._delivery.put(Event("ended", self._final))
            for pending in lost:
                pending.fail(ConnectionLost(reason) if self._session else Disconnected(reason))
            if self._session is None:
                self._out.fail_all(Disconnected(reason))
            elif reason == RENEWAL:
                return 0.0
            return self.unreachable(reason)

    def unreachable(self, reason: str) -> float | None:
        """Return when to try next, and tell the application; None if there is nothing to come back for."""
        with self._lock:
            self._renewing = False
            if self._closed or self._session is None:
                return None
            delay = self._backoff.delay(self._attempts, self._retry_after)
            self._delivery.put(Event("retry" if self._attempts else "lost", reason, delay))
            self._attempts, self._retry_after = self._attempts + 1, None
            return delay

    def rest(self, delay: float) -> bool:
        """Wait; True at once when there is nothing to come back for any more."""
        with self._lock:
            return self._changed.wait_for(lambda: self._closed or self._session is None, delay)

    # -- Frames (from here on under the lock)

    def _handle(self, frame: Frame) -> None:
        msgid = frame["msgid"]
        if msgid in REPLIES:
            self._out.reply(frame)
        elif msgid == MsgId.BYE:
            self._farewell, self._retry_after = str(frame["reason"]), read_seconds(frame.get("retry_after"))
            self._final = self._farewell if self._farewell in FINAL else ""
        elif msgid != MsgId.HEARTBEAT:
            self._take_push(frame)

    def _take_push(self, frame: Frame, offline: bool = False) -> Push | None:
        """Queue what a frame says, and return it; None if it says nothing that can be understood."""
        if self._session is None:
            return None
        inbox = self._session.inbox
        try:
            push = read_push(frame, inbox.me, offline)
        except Unreadable as error:  # one bad field costs one push, not its page nor the reader
            log.warning("skipped what the server sent: %s", error)
            return None
        if isinstance(push, Entry) and not inbox.accept(push, time.monotonic()):
            self._out.wake()
        elif push:
            self._delivery.put(push, inbox)
        return push

    def _after_change(self, due: bool) -> None:
        if due:
            self._out.wake()
        self._sync()

    def _sync(self) -> None:
        """Ask for the next page once the last is handed over: a slow application is not flooded."""
        if self._paging.more and self.online and not self._paging.asking and self._delivery.empty:
            self._paging.asking = True
            page = self._out.pending(MsgId.SYNC, {}, lane=SYNC_LANE, then=self.page)
            page.due = time.monotonic() + self._paging.pause
            self._out.add(page)
            self._out.wake()

    # -- Sessions

    def _welcome(self, fields: Frame, reply: Frame) -> None:
        login = read_login(reply, fields["device"], fields.get("token", ""))
        if not (self._inbox and self._inbox[0] == login.device and self._inbox[1].me == login.id):
            self._inbox = login.device, Inbox(login.id)
        self._come_online("connected", login, self._inbox[1], reply)

    def _log_in_again(self, login: Login) -> None:
        """Ask by token; with force, because our own old connection may still count as online."""
        fields = {"id": login.id, "token": login.token, "device": login.device, "force": True}
        self._out.add(
            self._out.pending(MsgId.LOGIN, fields, then=self._welcome_back, otherwise=self._refused)
        )

    def _welcome_back(self, reply: Frame) -> None:
        if self._session:
            old, inbox = self._session.login, self._session.inbox
            kind: Literal["back", "renewed"] = "renewed" if self._renewing else "back"
            self._come_online(kind, read_login(reply, old.device, old.token), inbox, reply)

    def _come_online(
        self, kind: Literal["connected", "back", "renewed"], login: Login, inbox: Inbox, reply: Frame
    ) -> None:
        interval, max_missed = read_heartbeat(reply)
        if self._out.link:
            # It echoes our heartbeats: after so long a silence it is dead, whatever TCP thinks.
            self._out.link.patience(interval * (max_missed + 2))
        self._session, self._attempts, self._renewing = Session(login, inbox, interval), 0, False
        self._plan_renewal()
        self._paging.begin()
        self._delivery.put(Event(kind, login=login))
        self._out.online(self._session)
        self.page(reply)

    def _refused(self, error: RequestError) -> None:
        """The token was not taken: try later, or give up and tell the application."""
        self._farewell, self._retry_after = str(error), error.retry_after
        self._final = "" if isinstance(error, PASSING) else error.error

    def _plan_renewal(self) -> None:
        # At a time of its own, so that those who came at once after a restart do not renew at once.
        self._renew_at = time.monotonic() + self._renew_after * random.uniform(0.5, 1)

    def _renew(self) -> None:
        """Begin to change to another connection when the token has aged.

        A token is issued at a login only, and this connection is logged in.  So the next one takes over from
        it, as after a lost connection, and friends see no change.  It is done when no request is under way
        that may not be repeated, and those that are made meanwhile wait.
        """
        if self.online and time.monotonic() >= self._renew_at and self._out.repeatable:
            self._out.send_marks()
            self._out.beat()  # the reader leaves at its echo
            self._out.session = None
            self._renewing, self._farewell = True, RENEWAL

    def _end_session(self, reason: str) -> None:
        """Forget the login; no reason: it was logged out."""
        if self._session:
            self._session = self._out.session = None
            self._attempts, self._ended = 0, reason
            self._out.fail_all(Disconnected(reason or "logged out"))
            self._delivery.drop()
            self._changed.notify_all()

    def _check(self, msgid: MsgId) -> None:
        """Raise what stands against a request."""
        if self._closed:
            raise Disconnected("closed")
        if msgid not in EARLY:
            self._logged_in()
        elif self._session:
            raise AlreadyLoggedIn
        elif self._out.link is None:
            raise Disconnected(self._farewell or "the server closed the connection")

    def _logged_in(self) -> Session:
        if self._session:
            return self._session
        error: GreenchatError = Disconnected(self._ended) if self._ended else NotLoggedIn()
        raise error

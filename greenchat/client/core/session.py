"""One user's session, from the login to the logout, over as many connections as it takes.  Sans I/O.

The shell (``connector``, ``base``) owns the lock, the threads and the sockets.  It reports what happens, and
the session answers with frames for the transport, pushes for the queue, and the wait before the next attempt.

| state | login | transport | confirmed | the client |
|---|---|---|---|---|
| logged out | – | maybe | – | may register and log in |
| online | yes | yes | yes | sends and receives |
| away | yes | – | – | waits, then connects again; requests wait too |
| resuming | yes | yes | – | has sent LOGIN with its token |
| renewing | yes | the old, then a new one | – | the same on purpose; the old connection stays open |
| closed | any | any | any | refuses everything |

| event | from | to | the application gets |
|---|---|---|---|
| LOGIN_ACK to ``login_request`` | logged out | online | ``connected`` |
| LOGIN_ACK to the token | resuming, renewing | online | ``back`` or ``renewed`` |
| the token is refused, and may pass later | resuming, renewing | away | ``lost`` or ``retry`` |
| the token is refused for good | resuming, renewing | logged out | ``ended`` |
| BYE ``replaced`` or ``protocol`` | any with a login | logged out | ``ended`` |
| the connection ends | online, resuming, renewing | away | ``lost`` or ``retry`` |
| connecting fails | away, renewing | away | ``lost`` or ``retry`` |
| connected | away, renewing | resuming, renewing | – |
| the token is old, and all requests on the wire are repeatable | online | renewing | – |
| ``end_login``: logout, or LOGIN timed out | any with a login | logged out | – |

Invariants: one login at a time; a request is sent on a connection only after that connection's LOGIN_ACK
(``BEFORE_LOGIN`` apart); a request that is not idempotent is sent once.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Literal

from greenchat.client.core.backoff import Backoff
from greenchat.client.core.parsing import parse_heartbeat, parse_login, parse_seconds
from greenchat.client.core.pending import BEFORE_LOGIN, TRANSIENT, ConnectionLost, PendingRequest
from greenchat.client.core.pushes import ConnectionEvent, Conversation, Frame, LoginInfo
from greenchat.client.core.receiver import Receiver
from greenchat.client.core.sender import ActiveLogin, ClientTransport, Sender
from greenchat.errors import (
    AlreadyLoggedIn,
    AlreadyOnline,
    Disconnected,
    GreenchatError,
    NotAllowed,
    NotLoggedIn,
    RequestError,
)
from greenchat.protocol.msgids import EDITION, MsgId

FINAL_REASONS = frozenset({"replaced", "protocol"})
"""Reasons of a BYE that forbid to reconnect: another program took over, or this one is faulty."""

TEMPORARY = (*TRANSIENT, AlreadyOnline, NotAllowed)
"""Errors of a LOGIN by token that may pass.  NotAllowed too: devices of a dead server count for a while."""

RENEWAL = "the token is renewed"
"""Reason to leave a connection that stays open until the next one is logged in: friends see no change."""

REPLIES = frozenset({MsgId.LOGIN_ACK, MsgId.REG_ACK, MsgId.ACK, MsgId.HISTORY_ACK, MsgId.ERROR})

log = logging.getLogger(__name__)


class ClientSession:
    """Keep a login, its requests and its pushes.  Not thread-safe: the shell holds a lock around each call.

    Args:
        backoff: waits between attempts to reconnect.
        renew_after: seconds after which a token is renewed, at most; half as many at least.
        clock: monotonic seconds.

    Attributes:
        sender, receiver: the two directions.
        login: the user who is logged in, also while the connection is away; None without a login.
        is_closed: True after ``close``.
    """

    def __init__(
        self, backoff: Backoff, renew_after: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.sender = Sender(backoff, clock)
        self.receiver = Receiver(self.sender, backoff, clock)
        self.login: ActiveLogin | None = None
        self.is_closed = False
        self._backoff = backoff
        self._renew_after = renew_after
        self._clock = clock
        self._is_renewing = False
        self._renew_at = 0.0
        self._end_reason = ""  # of the last login; empty after a logout
        self._leave_reason = ""  # set once this connection is to be left
        self._is_final = False  # then the login ends with the connection
        self._retry_after: float | None = None
        self._attempts = 0

    # -- For the application

    @property
    def is_online(self) -> bool:
        """True if a connection is logged in."""
        return self.sender.login is not None

    @property
    def can_log_out(self) -> bool:
        """True if the server can be told of a logout, now or at the end of a renewal."""
        return self.is_online or self._is_renewing

    def needs_connection(self, request: PendingRequest) -> bool:
        """Return True if the shell must have a connection before it starts this request."""
        return request.msgid in BEFORE_LOGIN and not (self.login or self.is_closed)

    def start(self, request: PendingRequest) -> None:
        """Send a request, now or when the connection is back.

        Raises:
            Disconnected: the session is closed, its login has ended, or there is no connection to log in on.
            NotLoggedIn, AlreadyLoggedIn, BadRequest: the caller's fault.
        """
        if self.is_closed:
            raise Disconnected("closed")
        if request.msgid not in BEFORE_LOGIN:
            self.require_login()
        elif self.login:
            raise AlreadyLoggedIn
        elif self.sender.transport is None:
            raise Disconnected(self._leave_reason or "the server closed the connection")
        self.sender.add(request)

    def require_login(self) -> ActiveLogin:
        """Return the login.

        Raises:
            NotLoggedIn: there was none, or it was logged out.
            Disconnected: the server ended it.
        """
        if self.login:
            return self.login
        error: GreenchatError = Disconnected(self._end_reason) if self._end_reason else NotLoggedIn()
        raise error

    def login_request(self, fields: Frame) -> PendingRequest:
        """Return the request that logs in by password or token."""
        return PendingRequest(
            MsgId.LOGIN,
            {"cid": self.sender.new_cid(), **fields},
            on_success=lambda reply: self._logged_in(
                "connected", parse_login(reply, fields["device"], fields.get("token", "")), reply
            ),
        )

    def chat_request(self, msgid: MsgId, conversation: Conversation, fields: Frame) -> PendingRequest:
        """Return a request that adds an entry to a conversation: in order, and once whatever breaks.

        Raises:
            NotLoggedIn, Disconnected: as ``require_login``.
        """
        inbox = self.require_login().inbox
        request = PendingRequest(
            msgid,
            {"cid": self.sender.new_cid(), **fields},
            ordering_key=conversation,
            idempotent=True,
            on_success=lambda reply: inbox.remember_own((conversation, reply["seq"])),
        )
        inbox.remember_own(request.cid)  # the entry may come back before its acknowledgement
        return request

    def send(self, frame: bytes) -> None:
        """Send a frame that has no reply; drop it while the connection is away."""
        self.require_login()
        if self.sender.transport and self.is_online:
            self.sender.transport.send(frame)

    def mark_read(self, conversation: Conversation, seq: int) -> None:
        """Send READ for all entries up to ``seq`` soon, or when the connection is back."""
        self.require_login().inbox.add_receipt(MsgId.READ, conversation, seq, self._clock())
        self.sender.wake()

    def set_token(self, token: str) -> None:
        """Log in with another token from now on."""
        if self.login:
            self.login = self.login._replace(info=self.login.info._replace(token=token))
            self._schedule_renewal()

    def end_login(self, reason: str) -> None:
        """Forget the login and fail its requests; an empty reason is a logout."""
        if self.login:
            self.login = self.sender.login = None
            self._attempts, self._end_reason = 0, reason
            self.sender.fail_all(Disconnected(reason or "logged out"))
            self.receiver.drop()

    def abort_login(self) -> None:
        """Forget a LOGIN without a reply, and end the connection: the server may have logged the user in."""
        self.end_login("the login timed out")
        if self.sender.transport:
            self.sender.transport.abort()

    def close(self) -> None:
        """Refuse all requests from now on, and fail those that wait."""
        self.is_closed = True
        self.sender.fail_all(Disconnected("closed"))
        self.receiver.close()

    # -- For the connector

    @property
    def is_wanted(self) -> bool:
        """True if a login waits for a connection."""
        return not self.is_closed and self.login is not None

    def tick(self) -> float | None:
        """Send all that is due; return the seconds until more is, None if nothing is to come."""
        is_due = self.is_online and self._clock() >= self._renew_at
        if is_due and not self._leave_reason and self.sender.is_repeatable:
            self._begin_renewal()
        return self.sender.tick()

    def connected(self, transport: ClientTransport) -> None:
        """Use a new connection; log in on it if there is a login."""
        self.sender.transport = transport
        self._leave_reason, self._is_final, self._retry_after = "", False, None
        if self.login:
            self._resume(self.login.info)

    def receive(self, frame: Frame) -> str:
        """Take a frame in; return the reason to leave the connection, or an empty string."""
        try:
            self._receive(frame)
        except Exception as error:  # one frame that is not valid must not end the connection
            log.warning("cannot understand a frame from the server: %r", error)
            log.debug("it was %r", frame, exc_info=True)
        return self._leave_reason

    def disconnected(self, reason: str) -> float | None:
        """Note the end of the connection; fail the requests on it that must not be sent again.

        Returns:
            Seconds to wait before connecting again; None if no login waits.
        """
        lost = self.sender.disconnect()
        if self._is_final and self.login:
            self.end_login(self._leave_reason)
            self.receiver.put_event(ConnectionEvent("ended", self._leave_reason))
        for request in lost:
            request.fail(ConnectionLost(reason) if self.login else Disconnected(reason))
        if self.login is None:
            self.sender.fail_all(Disconnected(reason))
        elif reason == RENEWAL:
            return 0.0
        return self.connect_failed(reason)

    def connect_failed(self, reason: str) -> float | None:
        """Tell the application that the connection is away; return as ``disconnected``."""
        self._is_renewing = False
        if not self.is_wanted:
            return None
        delay = self._backoff.delay(self._attempts, self._retry_after)
        self.receiver.put_event(ConnectionEvent("retry" if self._attempts else "lost", reason, delay))
        self._attempts, self._retry_after = self._attempts + 1, None
        return delay

    # -- Within

    def _receive(self, frame: Frame) -> None:
        msgid = frame["msgid"]
        if msgid in REPLIES:
            self.sender.receive_reply(frame)
        elif msgid == MsgId.BYE:
            reason = str(frame["reason"])
            self._leave(reason, parse_seconds(frame.get("retry_after")), reason in FINAL_REASONS)
        elif msgid != MsgId.HEARTBEAT and self.login:
            self.receiver.receive_push(self.login.inbox, frame)

    def _leave(self, reason: str, retry_after: float | None = None, is_final: bool = False) -> None:
        self._leave_reason, self._retry_after, self._is_final = reason, retry_after, is_final

    def _resume(self, info: LoginInfo) -> None:
        # With force, because the server may not have noticed the end of our former connection.
        who = {"id": info.id, "token": info.token, "device": info.device}
        fields = {**who, "force": True, "edition": EDITION}
        self.sender.add(
            PendingRequest(
                MsgId.LOGIN,
                {"cid": self.sender.new_cid(), **fields},
                on_success=self._resumed,
                on_error=self._refused,
            )
        )

    def _resumed(self, reply: Frame) -> None:
        if self.login:
            old = self.login.info
            kind: Literal["back", "renewed"] = "renewed" if self._is_renewing else "back"
            self._logged_in(kind, parse_login(reply, old.device, old.token), reply)

    def _refused(self, error: RequestError) -> None:
        if isinstance(error, TEMPORARY):
            self._leave(str(error), error.retry_after)
        else:
            self._leave(error.error, is_final=True)

    def _logged_in(
        self, kind: Literal["connected", "back", "renewed"], info: LoginInfo, reply: Frame
    ) -> None:
        interval, max_missed = parse_heartbeat(reply)
        inbox = self.receiver.inbox_for(info.id, info.device)
        if self.sender.transport:
            # The server echoes heartbeats: after so long a silence it is dead, although TCP may not know.
            self.sender.transport.set_read_timeout(interval * (max_missed + 2))
        self.login = ActiveLogin(info, inbox, interval)
        self._attempts, self._is_renewing = 0, False
        self._schedule_renewal()
        self.receiver.reset_paging()
        self.receiver.put_event(ConnectionEvent(kind, login=info))
        self.sender.start(self.login)
        self.receiver.receive_page(inbox, reply)

    def _schedule_renewal(self) -> None:
        # Random, so that clients that came at once after a restart do not renew at once.
        self._renew_at = self._clock() + self._renew_after * random.uniform(0.5, 1)

    def _begin_renewal(self) -> None:
        """Begin to change to another connection, for a new token.

        The server issues a token with a LOGIN_ACK only, and this connection is logged in already.  So the
        next one takes over from it as after a lost connection.  ``tick`` waits until all requests on the wire
        are repeatable; those that are made during the change wait for the new connection.
        """
        self.sender.send_receipts()
        self.sender.send_heartbeat()  # its echo lets the reader see the reason to leave
        self.sender.login = None
        self._is_renewing = True
        self._leave(RENEWAL)

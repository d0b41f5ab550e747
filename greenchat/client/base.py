"""The part of the client that logs in, stays online, and hands out the pushes."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from greenchat.client.connector import Connector
from greenchat.client.core.backoff import Backoff
from greenchat.client.core.pending import BEFORE_LOGIN, UNREADABLE, PendingRequest
from greenchat.client.core.pushes import Frame, LoginInfo, Push
from greenchat.client.core.session import ClientSession
from greenchat.client.dial import connect
from greenchat.client.push_queue import PushQueue
from greenchat.errors import BadCredentials, Disconnected
from greenchat.protocol.msgids import MsgId

TIMEOUT = 10.0
"""Seconds that a request waits for its reply."""

RENEW_AFTER = 86_400.0
"""Seconds after which a token is renewed, at most.  The server's tokens last 30 days by default."""

Result = TypeVar("Result")


class BaseClient:
    """Run a session on threads; ``Client`` adds the requests and describes the whole.

    Threads: one reads, and connects again; one for each connection writes, and keeps time; one calls
    ``on_push``.  One lock guards the session.  It is held neither while waiting for the server nor in the
    application's code.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        on_push: Callable[[Push], None] | None = None,
        timeout: float = TIMEOUT,
        backoff: Backoff = Backoff(),  # noqa: B008 (immutable)
        renew_after: float = RENEW_AFTER,
    ) -> None:
        self._timeout = timeout
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._session = ClientSession(backoff, renew_after)
        dial = partial(connect, host, port, context=tls)
        self._connector = Connector(dial, self._session, self._changed)
        self._queue = PushQueue(self._session.receiver, self._changed, on_push)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._is_forked:
            self.acknowledge()
        self.close()

    def close(self) -> None:
        """Send the receipts, end the connection and all threads; pending requests raise Disconnected.

        It is no logout.  A second call does nothing.
        """
        if self._is_forked:
            return
        with self._locked() as session:
            if session.is_closed:
                return
            session.close()
            self._changed.notify_all()
        self._queue.close()
        with self._locked():
            session.sender.send_receipts()
        self._connector.close()

    # -- Login

    @property
    def login_info(self) -> LoginInfo | None:
        """The user that is logged in, also while the connection is away; None without a login."""
        login = None if self._is_forked else self._session.login
        return login.info if login else None

    @property
    def online(self) -> bool:
        """True if a connection is logged in."""
        return not self._is_forked and self._session.is_online

    def register(self, name: str, password: str, *, timeout: float | None = None) -> int:
        """Register a user and return the id.

        Raises:
            NameTaken: another user has the name.
        """
        fields = {"name": name, "password": unicodedata.normalize("NFC", password)}
        return self._ask(MsgId.REG, fields, timeout, lambda reply: int(reply["id"]))

    def login(
        self,
        user: int | str,
        password: str | None = None,
        *,
        token: str | None = None,
        device: str = "",
        force: bool = False,
        timeout: float | None = None,
    ) -> LoginInfo:
        """Log in; undelivered messages come as pushes.

        After a timeout the connection is closed, because the server may have logged the user in.

        Args:
            user: id or name.
            password, token: one of them.  A token is that of an earlier login of this device.  The client
                keeps the token, not the password.
            device: name of the device, up to 36 characters.  A user may be online on several devices, and
                each gets every message.
            force: take over from another connection of the same device.

        Raises:
            BadCredentials: the user, password or token is wrong.
            AlreadyOnline: the device is online, and ``force`` is False.
            AlreadyLoggedIn: this client is logged in.
        """
        named: Frame = {"id": user} if isinstance(user, int) else {"name": user}
        fields = {**named, "device": device, "force": force}
        if token is not None:
            return self._log_in({**fields, "token": token}, timeout)
        return self._with_password(
            password or "", lambda text: self._log_in({**fields, "password": text}, timeout)
        )

    def logout(self, *, timeout: float | None = None) -> None:
        """Send the receipts, log out, and revoke the token; the client may log in again."""
        with self._locked() as session:
            session.sender.send_receipts()
            can_log_out = session.can_log_out
        try:
            if can_log_out:
                self._ask(MsgId.LOGINOUT, {}, timeout, nothing, on_success=lambda _: session.end_login(""))
        finally:
            with self._locked():
                session.end_login("")
                self._changed.notify_all()

    def change_password(self, old: str, new: str, *, timeout: float | None = None) -> None:
        """Change the password; the user's other sessions end.

        Raises:
            BadCredentials: ``old`` is wrong.
        """
        new = unicodedata.normalize("NFC", new)
        self._with_password(
            old,
            lambda text: self._ask(
                MsgId.CHANGE_PASSWORD,
                {"old": text, "new": new},
                timeout,
                nothing,
                on_success=lambda reply: self._session.set_token(reply["token"]),
            ),
        )

    # -- Pushes

    def pushes(self, timeout: float | None = None) -> Iterator[Push]:
        """Yield the server's pushes until ``timeout`` seconds pass without any, or the client is closed.

        A push is acknowledged when the thread that took it asks for the next one, of this iterator or of
        another::

            for push in client.pushes():
                handle(push)  # raises: not acknowledged
            for push in client.pushes(timeout=0):
                handle(push)  # those that are there by now; the last one is acknowledged too

        A loop that is left by ``break`` has not acknowledged its last push; see ``acknowledge``.
        """
        while True:
            self._refuse_in_child()
            push = self._queue.next(timeout)
            if push is None:
                return
            yield push

    def acknowledge(self) -> None:
        """Acknowledge the push that this thread took last, without asking for the next one.

        A ``with`` block that ends without an exception does so.  Otherwise::

            push = next(client.pushes())
            handle(push)
            client.acknowledge()
            client.close()
        """
        self._refuse_in_child()
        self._queue.acknowledge()

    def sync(self, *, timeout: float | None = None) -> bool:
        """Request the next page of undelivered messages now; return True if the server has more.

        The client does so by itself; the messages come as pushes.
        """
        with self._locked() as session:
            receive = partial(session.receiver.receive_page, session.require_login().inbox)
        return self._ask(MsgId.SYNC, {}, timeout, lambda reply: bool(reply["more"]), on_success=receive)

    # -- Within

    @property
    def _is_forked(self) -> bool:
        """True in a forked child: the threads are not there, and the lock may be held for ever."""
        return os.getpid() != self._process

    def _refuse_in_child(self) -> None:
        if self._is_forked:
            raise Disconnected("this client is the parent process's; make another one after a fork")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[ClientSession]:
        self._refuse_in_child()
        with self._changed:
            yield self._session

    def _ask(
        self,
        msgid: MsgId,
        fields: Frame,
        timeout: float | None,
        parse: Callable[[Frame], Result],
        *,
        idempotent: bool = False,
        on_success: Callable[[Frame], None] | None = None,
    ) -> Result:
        """Make a request and return the result that ``parse`` finds in the reply.

        Raises:
            Disconnected: the reply lacks it; the server's fault.
        """
        cid = self._session.sender.new_cid()
        request = PendingRequest(msgid, {"cid": cid, **fields}, idempotent=idempotent, on_success=on_success)
        return parsed(parse, self._call(request, timeout))

    def _call(self, request: PendingRequest, timeout: float | None) -> Frame:
        """Make a request and wait for its reply; connect first if it is one that comes before a login."""
        seconds = self._timeout if timeout is None else timeout
        with self._locked() as session:
            needs_connection = request.msgid in BEFORE_LOGIN and not (session.login or session.is_closed)
        if needs_connection:
            self._connector.connect()
        with self._locked():
            session.start(request)
        try:
            return request.future.result(seconds)
        except TimeoutError:
            raise TimeoutError(f"the server has not answered within {seconds:g} s") from None
        finally:
            with self._locked():
                session.sender.discard(request)

    def _log_in(self, fields: Frame, timeout: float | None) -> LoginInfo:
        with self._locked() as session:
            request = session.login_request(fields)
        try:
            self._call(request, timeout)
        except TimeoutError:
            with self._locked():
                session.abort_login()
                self._changed.notify_all()
            raise
        with self._locked():
            return session.require_login().info

    def _with_password(self, password: str, use: Callable[[str], Result]) -> Result:
        """Use a password in Unicode's NFC and, if it is refused, as it was typed.

        An earlier version may have stored another form: the same letters of another keyboard.
        """
        normalised = unicodedata.normalize("NFC", password)
        try:
            return use(normalised)
        except BadCredentials:
            if password == normalised:
                raise
            return use(password)


def parsed(parse: Callable[[Frame], Result], reply: Frame) -> Result:
    """Return the result that ``parse`` finds in a reply.

    Raises:
        Disconnected: the reply lacks it; the server's fault.
    """
    try:
        return parse(reply)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Disconnected(UNREADABLE) from None


def nothing(reply: Frame) -> None:
    """Parse a reply that has no result."""

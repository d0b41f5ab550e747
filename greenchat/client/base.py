"""The part of the client that logs in, stays online, and hands out the pushes."""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from greenchat.client.connector import Connector
from greenchat.client.core import calls
from greenchat.client.core.backoff import Backoff
from greenchat.client.core.calls import RENEW_AFTER, TIMEOUT, Call, late
from greenchat.client.core.pending import PendingRequest
from greenchat.client.core.pushes import Frame, LoginInfo, Push
from greenchat.client.core.session import ClientSession
from greenchat.client.dial import connect
from greenchat.client.push_queue import PushQueue
from greenchat.errors import Disconnected

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


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
        return self._do(timeout, calls.register, name, password)

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
        return self._do(timeout, calls.login, user, password, token, device, force)

    def logout(self, *, timeout: float | None = None) -> None:
        """Send the receipts, log out, and revoke the token; the client may log in again."""
        self._do(timeout, calls.logout)

    def change_password(self, old: str, new: str, *, timeout: float | None = None) -> None:
        """Change the password; the user's other sessions end.

        Raises:
            BadCredentials: ``old`` is wrong.
        """
        self._do(timeout, calls.change_password, old, new)

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
        return self._do(timeout, calls.sync)

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

    def _do(
        self,
        timeout: float | None,
        call: Callable[Concatenate[ClientSession, Arguments], Call[Result]],
        *args: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Run a call: send its requests and wait for their replies, each for ``timeout`` seconds."""
        seconds = self._timeout if timeout is None else timeout
        with self._locked() as session:
            running = call(session, *args, **named)
        step = partial(next, running)
        while True:
            try:
                request = self._step(step)
            except StopIteration as done:
                result: Result = done.value
                return result
            try:
                step = partial(running.send, self._ask(request, seconds))
            except BaseException as error:
                step = partial(running.throw, error)

    def _step(self, step: Callable[[], PendingRequest]) -> PendingRequest:
        with self._locked():
            try:
                return step()
            finally:
                self._changed.notify_all()

    def _ask(self, request: PendingRequest, seconds: float) -> Frame:
        """Make a request and wait for its reply; connect first if it is one that comes before a login."""
        with self._locked() as session:
            needs_connection = session.needs_connection(request)
        if needs_connection:
            self._connector.connect()
        with self._locked():
            session.start(request)
        try:
            return request.future.result(seconds)
        except TimeoutError:
            raise late(seconds) from None
        finally:
            with self._locked():
                session.sender.discard(request)

"""The part of the asyncio client that logs in, stays online, and hands out the pushes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from greenchat.client.aio.changes import Changes
from greenchat.client.aio.connector import AioConnector
from greenchat.client.aio.push_queue import AioPushQueue, Callback
from greenchat.client.core import calls
from greenchat.client.core.backoff import Backoff
from greenchat.client.core.calls import RENEW_AFTER, TIMEOUT, Call, late
from greenchat.client.core.pending import PendingRequest
from greenchat.client.core.pushes import Frame, LoginInfo, Push
from greenchat.client.core.session import ClientSession
from greenchat.errors import Disconnected

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class BaseClient:
    """Run a session on an event loop; ``Client`` adds the requests and describes the whole.

    One task reads, and connects again; timers send what is due; another task calls ``on_push``.  All run on
    one event loop, so the session needs no lock.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        on_push: Callback | None = None,
        timeout: float = TIMEOUT,
        backoff: Backoff = Backoff(),  # noqa: B008 (immutable)
        renew_after: float = RENEW_AFTER,
    ) -> None:
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changes = Changes()
        self._session = ClientSession(backoff, renew_after)
        self._connector = AioConnector(host, port, tls, self._session, self._changes)
        self._queue = AioPushQueue(self._session.receiver, self._changes, on_push)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.acknowledge()
        await self.close()

    async def close(self) -> None:
        """Send the receipts, end the connection and all tasks; pending requests raise Disconnected.

        It is no logout.  A second call does nothing.
        """
        session = self._bound()
        if session.is_closed:
            return
        session.close()
        self._changes.notify()
        try:
            await self._queue.close()
            session.sender.send_receipts()
        finally:
            await self._connector.close()

    # -- Login

    @property
    def login_info(self) -> LoginInfo | None:
        """The user that is logged in, also while the connection is away; None without a login."""
        login = self._session.login
        return login.info if login else None

    @property
    def online(self) -> bool:
        """True if a connection is logged in."""
        return self._session.is_online

    async def register(self, name: str, password: str, *, timeout: float | None = None) -> int:
        """Register a user and return the id."""
        return await self._do(timeout, calls.register, name, password)

    async def login(
        self,
        user: int | str,
        password: str | None = None,
        *,
        token: str | None = None,
        device: str = "",
        force: bool = False,
        timeout: float | None = None,
    ) -> LoginInfo:
        """Log in; undelivered messages come as pushes."""
        return await self._do(timeout, calls.login, user, password, token, device, force)

    async def logout(self, *, timeout: float | None = None) -> None:
        """Send the receipts, log out, and revoke the token; the client may log in again."""
        await self._do(timeout, calls.logout)

    async def change_password(self, old: str, new: str, *, timeout: float | None = None) -> None:
        """Change the password; the user's other sessions end."""
        await self._do(timeout, calls.change_password, old, new)

    # -- Pushes

    def pushes(self, timeout: float | None = None) -> AsyncIterator[Push]:
        """Yield the server's pushes until ``timeout`` seconds pass without any, or the client is closed.

        A push is acknowledged when its iterator is asked for the next one, or when the task that took it asks
        another iterator::

            async for push in client.pushes():
                await handle(push)  # raises: not acknowledged
            async for push in client.pushes(timeout=0):
                await handle(push)  # those that are there by now; the last one is acknowledged too

        A loop that is left by ``break`` has not acknowledged its last push; see ``acknowledge``.
        """
        self._bound()
        return self._queue.pushes(timeout)

    async def acknowledge(self) -> None:
        """Acknowledge the push that this task took last, without asking for the next one.

        An ``async with`` block that ends without an exception does so.  Otherwise::

            push = await anext(client.pushes())
            await handle(push)
            await client.acknowledge()
            await client.close()
        """
        self._bound()
        self._queue.acknowledge()

    async def sync(self, *, timeout: float | None = None) -> bool:
        """Request the next page of undelivered messages now; return True if the server has more."""
        return await self._do(timeout, calls.sync)

    # -- Within

    def _bound(self) -> ClientSession:
        """Return the session, if this is the event loop of the client.

        Raises:
            Disconnected: it is another one, perhaps that of a forked child.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise Disconnected("this client belongs to another event loop; make another one")
        return self._session

    async def _do(
        self,
        timeout: float | None,
        call: Callable[Concatenate[ClientSession, Arguments], Call[Result]],
        *args: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Run a call: send its requests and wait for their replies, each for ``timeout`` seconds."""
        seconds = self._timeout if timeout is None else timeout
        running = call(self._bound(), *args, **named)
        step = partial(next, running)
        while True:
            try:
                request = step()
            except StopIteration as done:
                result: Result = done.value
                return result
            finally:
                self._changes.notify()
            try:
                step = partial(running.send, await self._ask(request, seconds))
            except BaseException as error:
                step = partial(running.throw, error)

    async def _ask(self, request: PendingRequest, seconds: float) -> Frame:
        """Make a request and wait for its reply; connect first if it is one that comes before a login."""
        session = self._session
        if session.needs_connection(request):
            self._queue.start()
            await self._connector.connect()
        session.start(request)
        answered = asyncio.Event()
        request.future.add_done_callback(lambda _: answered.set())
        try:
            async with asyncio.timeout(seconds):
                await answered.wait()
        except TimeoutError:
            raise late(seconds) from None
        finally:
            session.sender.discard(request)
        return request.future.result()

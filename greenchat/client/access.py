"""The client's connection: made, logged in on, kept, and read from."""

from __future__ import annotations

import os
import ssl
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from greenchat.client.backoff import Backoff
from greenchat.client.pushes import Frame, Login, Push
from greenchat.client.session import Line
from greenchat.client.tls import connect
from greenchat.errors import BadCredentials, Disconnected
from greenchat.protocol.messages import MsgId

TIMEOUT = 10.0

RENEW_AFTER = 86_400.0
"""Seconds after which a token is renewed, at most.  The server's tokens last 30 days unless set otherwise."""

UNREADABLE = "the server's reply cannot be understood"

T = TypeVar("T")

Reading = Callable[[Frame], T]
"""Finds in a reply what the caller asked for; raises where it lacks something."""


class Access:
    """Log in, stay online, and hand over the pushes.  What ``Client`` says of all this is meant here."""

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
        self._own_line = Line(partial(connect, host, port, context=tls), on_push, backoff, renew_after)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._is_forked:
            self.acknowledge()
        self.close()

    @property
    def login_state(self) -> Login | None:
        """The user who is logged in, also while the connection is away; None when nobody is."""
        return None if self._is_forked else self._own_line.login

    @property
    def online(self) -> bool:
        """True if there is a connection that is logged in."""
        return not self._is_forked and self._own_line.online

    def pushes(self, timeout: float | None = None) -> Iterator[Push]:
        """Yield the server's pushes until ``timeout`` seconds pass without any, or the client is closed.

        A push is acknowledged when the thread that got it asks for the next one, of this iterator or of
        another.  A program that stops in between is offered it again at the next login::

            for push in client.pushes():
                handle(push)  # raises: not acknowledged
            for push in client.pushes(timeout=0):
                handle(push)  # all that is there by now; the last one is acknowledged too

        A loop that is left by ``break`` has its last push unacknowledged; see ``acknowledge``.
        """
        while (push := self._line.next_push(timeout)) is not None:
            yield push

    def acknowledge(self) -> None:
        """Acknowledge the push that this thread got last, before asking for another.

        A ``with`` block that ends without an exception does so.  For all others that leave the loop::

            push = next(client.pushes())
            handle(push)
            client.acknowledge()
            client.close()
        """
        self._line.acknowledge()

    def close(self) -> None:
        """End the connection and all threads; marks that wait are sent first.  It is no logout."""
        if not self._is_forked:
            self._own_line.close()

    def register(self, name: str, password: str, *, timeout: float | None = None) -> int:
        """Register a user and return the id.

        Raises:
            NameTaken: somebody has it.
        """
        fields = {"name": name, "password": unicodedata.normalize("NFC", password)}
        return int(self._ask(MsgId.REG, fields, timeout, lambda reply: reply["id"]))

    def login(
        self,
        user: int | str,
        password: str | None = None,
        *,
        token: str | None = None,
        device: str = "",
        force: bool = False,
        timeout: float | None = None,
    ) -> Login:
        """Log in; the messages that were missed come as pushes.

        Args:
            user: id, or name.
            password, token: one of them.  The password is not kept; the server's token is.
            device: up to 36 characters, kept by the caller; a user is online once per device.
            force: take over from another connection of the same device.

        Raises:
            BadCredentials: the user, password or token is wrong.
            AlreadyOnline: the device is online, and ``force`` was not given.
            AlreadyLoggedIn: this client is.
        """
        who: Frame = {"id": user} if isinstance(user, int) else {"name": user}
        fields = {**who, "device": device, "force": force}
        if token is not None:
            return self._line.log_in({**fields, "token": token}, self._seconds(timeout))
        return self._with_password(
            password or "",
            lambda text: self._line.log_in({**fields, "password": text}, self._seconds(timeout)),
        )

    def logout(self, *, timeout: float | None = None) -> None:
        """Log out, which ends the token too; the client may log in again."""
        self._line.log_out(self._seconds(timeout))

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
                then=lambda reply: self._line.new_token(reply["token"]),
            ),
        )

    # -- Within

    @property
    def _is_forked(self) -> bool:
        """True in a forked child: the client's threads are not here, and its lock may be held for ever."""
        return os.getpid() != self._process

    @property
    def _line(self) -> Line:
        if self._is_forked:
            raise Disconnected("this client is the parent process's; make another one after a fork")
        return self._own_line

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout

    def _ask(
        self, msgid: MsgId, fields: Frame, timeout: float | None, read: Reading[Any] | None = None, **how: Any
    ) -> Any:
        """Make a request; return what ``read`` finds in the reply."""
        reply = self._line.request(msgid, fields, self._seconds(timeout), **how)
        return understood(read, reply) if read else reply

    def _with_password(self, password: str, use: Callable[[str], T]) -> T:
        """Use a password in Unicode's NFC and, if it is refused, as it was typed.

        One that an earlier version stored may be in another form: the same letters of another keyboard.
        """
        normalised = unicodedata.normalize("NFC", password)
        try:
            return use(normalised)
        except BadCredentials:
            if password == normalised:
                raise
            return use(password)


def understood(read: Reading[T], reply: Frame) -> T:
    """Return what is read in a reply.

    Raises:
        Disconnected: it lacks something; the server's fault.
    """
    try:
        return read(reply)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Disconnected(UNREADABLE) from None

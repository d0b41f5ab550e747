"""The client library: every request of the protocol as a method, and the pushes as an iterator."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from greenchat.client.backoff import Backoff
from greenchat.client.line import Line
from greenchat.client.pushes import (
    Conversation,
    Entry,
    Frame,
    Login,
    Push,
    in_group,
    read_entry,
    with_user,
)
from greenchat.client.tls import connect
from greenchat.errors import NotLoggedIn
from greenchat.protocol.messages import MsgId

TIMEOUT = 10.0
CHAT_TIMEOUT = 30.0
"""Seconds that a message waits, also for a lost connection to come back."""


class Stored(NamedTuple):
    """What became of a message: its number in the conversation, and the server's time."""

    conversation: Conversation
    seq: int
    time: str


class Page(NamedTuple):
    """A page of a history, oldest first; ``more`` if older ones exist."""

    entries: list[Entry]
    more: bool


class Client:
    """Talk to a greenchat server.

    It connects when it registers or logs in.  Once logged in it keeps itself online: heartbeats,
    RECEIVED, SYNC and coming back after a lost connection happen by themselves; what changes is
    told by an ``Event`` among the pushes.  Any thread may call any method; those that wait, wait
    ``timeout`` seconds, and raise

    - the class of ``greenchat.errors`` that the server named (RequestError for one unknown here);
    - NotLoggedIn before the login, Disconnected when the connection is gone for good;
    - ConnectionLost when it broke under a request that may not be repeated;
    - TimeoutError when no reply came: whether it was done is not known.

    Messages and recalls outlive a lost connection and a busy server: they are sent again under the
    same ``cid``, and those of one conversation one after the other, so that none overtakes another.

    Args:
        host, port: where the server is.
        tls: for a connection with TLS, ``ssl.create_default_context()`` if the server's certificate is
            from a known authority; without it there is none.
        on_push: called with each push, one at a time, on a thread of its own; it may call any
            method.  Its exceptions are logged.  Without it read ``pushes``: they are kept until then.
        timeout: seconds that a request waits if it says nothing else.
        backoff: how long to wait before coming back after a lost connection.
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
    ) -> None:
        self._timeout = timeout
        self._line = Line(partial(connect, host, port, context=tls), on_push, backoff)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- The connection

    @property
    def login_state(self) -> Login | None:
        """Who is logged in, also while the connection is away; None when nobody is."""
        return self._line.login

    @property
    def online(self) -> bool:
        """Whether there is a connection that is logged in."""
        return self._line.online

    def pushes(self, timeout: float | None = None) -> Iterator[Push]:
        """Yield what the server pushes, each message once, until ``timeout`` seconds pass without
        any, or the client is closed.  What was yielded is acknowledged to the server."""
        while (push := self._line.next_push(timeout)) is not None:
            yield push

    def close(self) -> None:
        """Acknowledge what was handed over, end the connection and all threads.  It is no logout."""
        self._line.close()

    def register(self, name: str, password: str, *, timeout: float | None = None) -> int:
        """Register a user and return the id.

        Raises:
            NameTaken: somebody has it.
        """
        return int(self._ask(MsgId.REG, {"name": name, "password": password}, timeout)["id"])

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
        secret = {"token": token} if token is not None else {"password": password or ""}
        fields = {**who, **secret, "device": device, "force": force}
        return self._line.log_in(fields, self._seconds(timeout))

    def logout(self, *, timeout: float | None = None) -> None:
        """Log out, which ends the token too; the client may log in again."""
        self._line.log_out(self._seconds(timeout))

    def change_password(self, old: str, new: str, *, timeout: float | None = None) -> None:
        """Change the password; the user's other sessions end.

        Raises:
            BadCredentials: ``old`` is wrong.
        """
        self._ask(
            MsgId.CHANGE_PASSWORD,
            {"old": old, "new": new},
            timeout,
            then=lambda reply: self._line.new_token(reply["token"]),
        )

    # -- Messages

    def chat(
        self, userid: int, text: str, *, cid: str | None = None, timeout: float = CHAT_TIMEOUT
    ) -> Stored:
        """Send a message to a user.

        Args:
            userid: the receiver.
            text: up to 4,096 characters.
            cid: to send again what timed out before: it is stored once.
            timeout: seconds.

        Raises:
            NoSuchUser, Blocked, TooLarge: and it was not stored.
        """
        return self._store(MsgId.ONE_CHAT, with_user(userid), {"toid": userid, "msg": text}, cid, timeout)

    def group_chat(
        self, groupid: int, text: str, *, cid: str | None = None, timeout: float = CHAT_TIMEOUT
    ) -> Stored:
        """Send a message to a group; as ``chat``.

        Raises:
            NoSuchGroup, NotAMember, TooLarge: and it was not stored.
        """
        fields = {"groupid": groupid, "msg": text}
        return self._store(MsgId.GROUP_CHAT, in_group(groupid), fields, cid, timeout)

    def recall(self, conversation: Conversation, target: int, *, timeout: float = CHAT_TIMEOUT) -> Stored:
        """Take a message back.

        Args:
            conversation: ``with_user(…)`` or ``in_group(…)``.
            target: the message's seq.
            timeout: seconds.

        Raises:
            NotAllowed: it is another's, or too old.
            NoSuchMessage: there is none, or it was recalled.
        """
        fields = {conversation.kind: conversation.id, "target": target}
        return self._store(MsgId.RECALL, conversation, fields, None, timeout)

    def history(
        self,
        conversation: Conversation,
        *,
        before: int | None = None,
        day: str | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> Page:
        """Read back in a conversation.

        Args:
            conversation: ``with_user(…)`` or ``in_group(…)``.
            before: only what has a smaller seq.
            day: only what is of this day, ``YYYY-MM-DD`` in UTC.
            limit: entries, 1 to 200 (50).
            timeout: seconds.
        """
        wanted = {"before": before, "day": day, "limit": limit}
        fields = {name: value for name, value in wanted.items() if value is not None}
        reply = self._ask(MsgId.HISTORY, {conversation.kind: conversation.id, **fields}, timeout, again=True)
        me = self._me()
        return Page([read_entry(entry, me) for entry in reply["messages"]], reply["more"])

    def sync(self, *, timeout: float | None = None) -> bool:
        """Ask for the next page of undelivered messages now, to come as pushes; return whether there
        are more.  It happens by itself too."""
        return bool(self._ask(MsgId.SYNC, {}, timeout, then=self._line.page)["more"])

    def typing(self, conversation: Conversation) -> None:
        """Tell who is in the conversation that the user is typing; never waits, may be lost."""
        field = "toid" if conversation.kind == "peerid" else "groupid"
        self._line.say({"msgid": int(MsgId.TYPING), field: conversation.id})

    def read(self, conversation: Conversation, seq: int) -> None:
        """Tell who is in the conversation that the user has read all up to ``seq``; never waits."""
        self._line.mark(MsgId.READ, conversation, seq)

    # -- People

    def find_user(self, name: str, *, timeout: float | None = None) -> Frame:
        """Return ``{id, name, state}`` of the user with this exact name.

        Raises:
            NoSuchUser
        """
        return dict(self._ask(MsgId.FIND, {"name": name}, timeout, again=True)["user"])

    def add_friend(self, userid: int, *, timeout: float | None = None) -> Frame:
        """See a user's state from now on; returns ``{id, name, state}``.

        Raises:
            NoSuchUser, NotAllowed
        """
        return dict(self._ask(MsgId.ADD_FRIEND, {"friendid": userid}, timeout, again=True)["friend"])

    def remove_friend(self, userid: int, *, timeout: float | None = None) -> None:
        """See a user's state no longer."""
        self._ask(MsgId.REMOVE_FRIEND, {"friendid": userid}, timeout, again=True)

    def are_friends(self, userids: list[int], *, timeout: float | None = None) -> list[int]:
        """Return which of up to 1,000 users are friends."""
        return list(self._ask(MsgId.ARE_FRIENDS, {"ids": userids}, timeout, again=True)["ids"])

    def block(self, userid: int, *, timeout: float | None = None) -> None:
        """Take no messages from a user."""
        self._ask(MsgId.BLOCK, {"userid": userid}, timeout, again=True)

    def unblock(self, userid: int, *, timeout: float | None = None) -> None:
        """Take messages from a user again."""
        self._ask(MsgId.UNBLOCK, {"userid": userid}, timeout, again=True)

    # -- Groups

    def find_group(self, name: str, *, timeout: float | None = None) -> Frame:
        """Return ``{id, groupname, groupdesc, count}`` of the group with this exact name.

        Raises:
            NoSuchGroup
        """
        return dict(self._ask(MsgId.FIND, {"groupname": name}, timeout, again=True)["group"])

    def create_group(self, name: str, desc: str = "", *, timeout: float | None = None) -> int:
        """Create a group, become its first member, and return its id.

        Raises:
            GroupNameTaken
        """
        return int(self._ask(MsgId.CREATE_GROUP, {"groupname": name, "groupdesc": desc}, timeout)["groupid"])

    def join_group(self, groupid: int, *, timeout: float | None = None) -> Frame:
        """Join a group; returns it as in ``Login.groups``.

        Raises:
            NoSuchGroup
        """
        return dict(self._ask(MsgId.ADD_GROUP, {"groupid": groupid}, timeout)["group"])

    def leave_group(self, groupid: int, *, timeout: float | None = None) -> None:
        """Leave a group.

        Raises:
            NoSuchGroup, NotAMember
        """
        self._ask(MsgId.LEAVE_GROUP, {"groupid": groupid}, timeout)

    def group_info(
        self, groupid: int, *, after: int = 0, limit: int | None = None, timeout: float | None = None
    ) -> Frame:
        """Return ``{group, users, more}``: a group, and those of its members with ids beyond ``after``.

        Args:
            groupid: a group that the user is in.
            after: the last user id of the page before; 0 for the first.
            limit: members, up to 500.
            timeout: seconds.
        """
        fields = {"groupid": groupid, "after": after, **({} if limit is None else {"limit": limit})}
        reply = self._ask(MsgId.GROUP_INFO, fields, timeout, again=True)
        return {name: reply[name] for name in ("group", "users", "more")}

    # -- Within

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout

    def _ask(self, msgid: MsgId, fields: Frame, timeout: float | None, **how: Any) -> Frame:
        return self._line.request(msgid, fields, self._seconds(timeout), **how)

    def _store(
        self, msgid: MsgId, conversation: Conversation, fields: Frame, cid: str | None, timeout: float
    ) -> Stored:
        named = fields if cid is None else {"cid": cid, **fields}
        reply = self._line.store(msgid, conversation, named, timeout)
        return Stored(conversation, reply["seq"], reply["time"])

    def _me(self) -> int:
        login = self._line.login
        if login is None:
            raise NotLoggedIn
        return login.id

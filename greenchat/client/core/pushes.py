"""Pushes: messages, receipts, and changes of friends and of the connection."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Frame = dict[str, Any]
"""A JSON object of the wire."""


class Conversation(NamedTuple):
    """A conversation as seen by the user who is logged in.

    Attributes:
        kind: name of its field on the wire.
        id: the other user, or the group.
    """

    kind: Literal["peerid", "groupid"]
    id: int


def with_user(userid: int) -> Conversation:
    """Return the conversation with a user.

    >>> with_user(7)
    Conversation(kind='peerid', id=7)
    """
    return Conversation("peerid", userid)


def in_group(groupid: int) -> Conversation:
    """Return the conversation of a group.

    >>> in_group(3)
    Conversation(kind='groupid', id=3)
    """
    return Conversation("groupid", groupid)


class Message(NamedTuple):
    """A text message.

    Attributes:
        seq: number in the conversation, from 1 without a gap.
        sender, name: id and name of the sender.
        text: None after a recall.
        time: of the server, ISO 8601 in UTC.
        cid: set for messages of this user only.
        offline: True if it was stored before this connection logged in.
    """

    conversation: Conversation
    seq: int
    sender: int
    name: str
    text: str | None
    time: str
    cid: str | None = None
    offline: bool = False


class MessageRecall(NamedTuple):
    """The recall of a message.

    Attributes:
        seq: number of the recall itself.
        sender: id of the user who recalled.
        target: ``seq`` of the recalled message.
        time: of the server, ISO 8601 in UTC.
        offline: True if it was stored before this connection logged in.
    """

    conversation: Conversation
    seq: int
    sender: int
    target: int
    time: str
    offline: bool = False


class PresenceChange(NamedTuple):
    """A friend has come online or gone offline."""

    user: int
    state: Literal["online", "offline"]


class TypingNotice(NamedTuple):
    """A user is typing in a conversation."""

    conversation: Conversation
    user: int


class ReadReceipt(NamedTuple):
    """A user has read a conversation up to ``seq``."""

    conversation: Conversation
    user: int
    seq: int


class LoginInfo(NamedTuple):
    """The user that is logged in, and the server's state at the login.

    Attributes:
        token: logs in the same device without the password.
        server: name of the node.
        friends: ``{id, name, state}`` each.
        groups: ``{id, groupname, groupdesc, role, count, users}`` each.
        edition: of the protocol, as server and client both know it: 1 or 2.
        limits: of the server, by name, as far as it tells them: ``max_message`` in characters,
            ``recall_seconds``; empty from a server of edition 1.
    """

    id: int
    name: str
    token: str
    device: str
    server: str
    friends: list[Frame]
    groups: list[Frame]
    edition: int = 1
    limits: Mapping[str, float] = MappingProxyType({})


class ConnectionEvent(NamedTuple):
    """A change of the connection.

    Attributes:
        kind: ``connected`` (logged in), ``lost`` (the client reconnects by itself), ``retry`` (an attempt
            failed), ``back`` (logged in again by token), ``renewed`` (logged in again on purpose, for a
            new token), ``ended`` (no more attempts: log in again).
        reason: why; for ``ended`` the BYE's reason (``replaced``, ``protocol``) or the name of the error
            that refused the token.
        retry_in: seconds until the next attempt (``lost`` and ``retry``).
        login: the server's answer (``connected``, ``back`` and ``renewed``).
    """

    kind: Literal["connected", "lost", "retry", "back", "renewed", "ended"]
    reason: str = ""
    retry_in: float | None = None
    login: LoginInfo | None = None


Entry = Message | MessageRecall
"""An entry of a conversation's log; it has a ``seq``."""

Push = Message | MessageRecall | PresenceChange | TypingNotice | ReadReceipt | ConnectionEvent
"""Anything that ``Client.pushes`` yields."""

"""The pushes that the library hands to the application: messages, and the state of friends and connection."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Frame = dict[str, Any]
"""A JSON object from the wire."""


class Conversation(NamedTuple):
    """A conversation as this user sees it; ``kind`` is also the name of its field on the wire."""

    kind: Literal["peerid", "groupid"]
    id: int


def with_user(userid: int) -> Conversation:
    """Return the conversation with a user."""
    return Conversation("peerid", userid)


def in_group(groupid: int) -> Conversation:
    """Return the conversation of a group."""
    return Conversation("groupid", groupid)


class Message(NamedTuple):
    """A message; ``text`` is None once it was recalled, ``cid`` known only of one's own."""

    conversation: Conversation
    seq: int
    sender: int
    name: str
    text: str | None
    time: str
    cid: str | None = None
    offline: bool = False
    """True if it was stored before this connection logged in."""


class Recall(NamedTuple):
    """The message ``target`` of the conversation was taken back."""

    conversation: Conversation
    seq: int
    sender: int
    target: int
    time: str
    offline: bool = False


class Presence(NamedTuple):
    """A friend came online or went offline."""

    user: int
    state: Literal["online", "offline"]


class Typing(NamedTuple):
    """A user is typing."""

    conversation: Conversation
    user: int


class Read(NamedTuple):
    """A user has read all up to ``seq``."""

    conversation: Conversation
    user: int
    seq: int


class Login(NamedTuple):
    """The user who is logged in, with friends and groups as they are on the wire."""

    id: int
    name: str
    token: str
    device: str
    server: str
    friends: list[Frame]
    groups: list[Frame]


class Event(NamedTuple):
    """The state of the connection changed.

    Attributes:
        kind: ``connected`` (logged in), ``lost`` (it will try to come back), ``retry`` (it tried in
            vain), ``back`` (logged in again by token), ``renewed`` (the same on purpose, for a new
            token), ``ended`` (for good: log in again).
        reason: why; of ``ended`` the BYE's reason (``replaced``, ``protocol``), or the error's name
            with which the server refused the token.
        retry_in: seconds until the next attempt (``lost`` and ``retry``).
        login: what the server said (``connected``, ``back`` and ``renewed``).
    """

    kind: Literal["connected", "lost", "retry", "back", "renewed", "ended"]
    reason: str = ""
    retry_in: float | None = None
    login: Login | None = None


Entry = Message | Recall
"""An entry of a conversation's log; it has a ``seq``."""

Push = Message | Recall | Presence | Typing | Read | Event

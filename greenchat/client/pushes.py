"""What the client library hands to the application: messages, and the state of friends and connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from greenchat.protocol.messages import MsgId

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
    """Whether it was stored before this connection logged in."""


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
    """Who is logged in, and what belongs to them; friends and groups are as on the wire."""

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
            vain), ``back`` (logged in again by token), ``ended`` (for good: log in again).
        reason: why; of ``ended`` the BYE's reason (``replaced``, ``protocol``), or the error's name
            with which the server refused the token.
        retry_in: seconds until the next attempt (``lost`` and ``retry``).
        login: what the server said (``connected`` and ``back``).
    """

    kind: Literal["connected", "lost", "retry", "back", "ended"]
    reason: str = ""
    retry_in: float | None = None
    login: Login | None = None


Entry = Message | Recall
"""An entry of a conversation's log; it has a ``seq``."""

Push = Message | Recall | Presence | Typing | Read | Event


def read_push(frame: Frame, me: int, offline: bool = False) -> Push | None:
    """Return what a frame from the server says to user ``me``; None if it is no push.

    Raises:
        KeyError, TypeError: a field is missing or of the wrong type; the server's fault.
    """
    read = _READERS.get(frame["msgid"])
    return read(frame, me, offline) if read else None


def read_entry(frame: Frame, me: int, offline: bool = False) -> Entry:
    """Return an entry of a log, as in ``offlinemsg`` and histories."""
    entry = read_push(frame, me, offline)
    if not isinstance(entry, Entry):
        raise TypeError(f"msgid {frame['msgid']} is no entry of a log")
    return entry


def read_login(reply: Frame, device: str, token: str) -> Login:
    """Return what a LOGIN_ACK says; ``token`` is the one to keep if it brings none."""
    return Login(
        reply["id"],
        reply["name"],
        reply.get("token") or token,
        device,
        reply.get("server", ""),
        reply.get("friends", []),
        reply.get("groups", []),
    )


def _where(frame: Frame) -> Conversation:
    return in_group(frame["groupid"]) if "groupid" in frame else with_user(frame["peerid"])


def _one_chat(frame: Frame, me: int, offline: bool) -> Message:
    peer = frame["toid"] if frame["id"] == me else frame["id"]
    return _message(frame, with_user(peer), offline)


def _group_chat(frame: Frame, me: int, offline: bool) -> Message:
    return _message(frame, in_group(frame["groupid"]), offline)


def _message(frame: Frame, conversation: Conversation, offline: bool) -> Message:
    text = None if frame.get("recalled") else frame["msg"]
    return Message(
        conversation, frame["seq"], frame["id"], frame["name"], text, frame["time"], frame.get("cid"), offline
    )


def _recall(frame: Frame, me: int, offline: bool) -> Recall:
    return Recall(_where(frame), frame["seq"], frame["id"], frame["target"], frame["time"], offline)


def _presence(frame: Frame, me: int, offline: bool) -> Presence:
    return Presence(frame["id"], frame["state"])


def _typing(frame: Frame, me: int, offline: bool) -> Typing:
    return Typing(_where(frame), frame["id"])


def _read(frame: Frame, me: int, offline: bool) -> Read:
    return Read(_where(frame), frame["id"], frame["seq"])


_READERS: dict[int, Callable[[Frame, int, bool], Push]] = {
    MsgId.ONE_CHAT: _one_chat,
    MsgId.GROUP_CHAT: _group_chat,
    MsgId.RECALL: _recall,
    MsgId.PRESENCE: _presence,
    MsgId.TYPING: _typing,
    MsgId.READ: _read,
}

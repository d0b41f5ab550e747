"""Frames from the server to what the application gets; each field is checked, for servers may be hostile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from greenchat.client.pushes import (
    Conversation,
    Entry,
    Frame,
    Login,
    Message,
    Presence,
    Push,
    Read,
    Recall,
    Typing,
    in_group,
    with_user,
)
from greenchat.model.instants import to_seconds
from greenchat.protocol.messages import MsgId

LONGEST = 86_400.0
"""Seconds that a server may have us wait, or be silent."""

LATEST = 253_370_764_800.0
"""The year 9999, in seconds since 1970: what a time zone may shift without leaving the calendar."""


class Unreadable(ValueError):
    """Raised if a field is missing or not what the protocol says; the server's fault."""


def read_push(frame: Frame, me: int, offline: bool = False) -> Push | None:
    """Return what a frame from the server says to user ``me``; None if it is no push.

    Raises:
        Unreadable: a field is missing or wrong.
    """
    if not isinstance(frame, dict):
        raise Unreadable("it is no JSON object")
    read = _READERS.get(_whole(frame, "msgid"))
    return read(frame, me, offline) if read else None


def read_entry(frame: Frame, me: int, offline: bool = False) -> Entry:
    """Return an entry of a log, as in ``offlinemsg`` and histories."""
    entry = read_push(frame, me, offline)
    if not isinstance(entry, Entry):
        raise Unreadable(f"msgid {frame['msgid']} is no entry of a log")
    return entry


def read_entries(frames: Iterable[Frame], me: int) -> list[Entry]:
    """Return the entries of a history; those that cannot be read are left out."""
    entries = []
    for frame in frames:
        try:
            entries.append(read_entry(frame, me))
        except Unreadable:
            continue
    return entries


def read_login(reply: Frame, device: str, token: str) -> Login:
    """Return what a LOGIN_ACK says; ``token`` is the one to keep if it brings none."""
    return Login(
        _whole(reply, "id"),
        _text(reply, "name"),
        _text(reply, "token") if reply.get("token") else token,
        device,
        _text(reply, "server") if reply.get("server") else "",
        [read_user(user) for user in reply.get("friends", [])],
        [read_group(group) for group in reply.get("groups", [])],
    )


def read_user(user: Frame) -> Frame:
    """Return a user object as it is, its fields checked."""
    _whole(user, "id"), _text(user, "name"), _text(user, "state")
    return user


def read_group(group: Frame) -> Frame:
    """Return a group object as it is, its fields checked."""
    _whole(group, "id"), _text(group, "groupname")
    for user in group.get("users", []):
        read_user(user), _text(user, "role")
    return group


def read_heartbeat(reply: Frame) -> tuple[float, int]:
    """Return a LOGIN_ACK's interval, in seconds, and how many beats may be missed.

    Raises:
        Unreadable: they make no sense; an interval of nothing would have us send without a pause.
    """
    beat = reply.get("heartbeat")
    if not isinstance(beat, dict):
        raise Unreadable("heartbeat is missing")
    interval, missed = read_seconds(beat.get("interval")), beat.get("max_missed")
    if not interval or type(missed) is not int or not 0 < missed <= LONGEST:
        raise Unreadable("heartbeat makes no sense")
    return interval, missed


def read_seconds(value: object) -> float | None:
    """Return a time to wait, a day at most; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:  # nor is NaN
        return None
    return float(min(value, LONGEST))


def _whole(frame: Frame, field: str) -> int:
    value = frame.get(field) if isinstance(frame, dict) else None
    if type(value) is not int or not 0 < value < 2**63:
        raise Unreadable(f"{field} is missing or no number that can be")
    return value


def _text(frame: Frame, field: str) -> str:
    value = frame.get(field)
    if not isinstance(value, str):
        raise Unreadable(f"{field} is missing or no text")
    return value


def _instant(frame: Frame) -> str:
    instant = _text(frame, "time")
    try:
        readable = 0 <= to_seconds(instant) < LATEST
    except (ValueError, OverflowError):
        readable = False
    if not readable:
        raise Unreadable("time is no instant that can be")
    return instant


def _where(frame: Frame) -> Conversation:
    return in_group(_whole(frame, "groupid")) if "groupid" in frame else with_user(_whole(frame, "peerid"))


def _one_chat(frame: Frame, me: int, offline: bool) -> Message:
    sender, receiver = _whole(frame, "id"), _whole(frame, "toid")
    return _message(frame, with_user(receiver if sender == me else sender), offline)


def _group_chat(frame: Frame, me: int, offline: bool) -> Message:
    return _message(frame, in_group(_whole(frame, "groupid")), offline)


def _message(frame: Frame, conversation: Conversation, offline: bool) -> Message:
    return Message(
        conversation,
        _whole(frame, "seq"),
        _whole(frame, "id"),
        _text(frame, "name"),
        None if frame.get("recalled") else _text(frame, "msg"),
        _instant(frame),
        _text(frame, "cid") if frame.get("cid") else None,
        offline,
    )


def _recall(frame: Frame, me: int, offline: bool) -> Recall:
    sender, target = _whole(frame, "id"), _whole(frame, "target")
    return Recall(_where(frame), _whole(frame, "seq"), sender, target, _instant(frame), offline)


def _presence(frame: Frame, me: int, offline: bool) -> Presence:
    state: Any = _text(frame, "state")
    if state not in ("online", "offline"):
        raise Unreadable("state is neither online nor offline")
    return Presence(_whole(frame, "id"), state)


def _typing(frame: Frame, me: int, offline: bool) -> Typing:
    return Typing(_where(frame), _whole(frame, "id"))


def _read(frame: Frame, me: int, offline: bool) -> Read:
    return Read(_where(frame), _whole(frame, "id"), _whole(frame, "seq"))


_READERS: dict[int, Callable[[Frame, int, bool], Push]] = {
    MsgId.ONE_CHAT: _one_chat,
    MsgId.GROUP_CHAT: _group_chat,
    MsgId.RECALL: _recall,
    MsgId.PRESENCE: _presence,
    MsgId.TYPING: _typing,
    MsgId.READ: _read,
}

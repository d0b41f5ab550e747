"""Parsing of the server's frames into the library's types.

Each field is checked: the server may be hostile, and one bad field must cost one push and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from greenchat.client.core.pushes import (
    Conversation,
    Entry,
    Frame,
    LoginInfo,
    Message,
    MessageRecall,
    PresenceChange,
    Push,
    ReadReceipt,
    TypingNotice,
    in_group,
    with_user,
)
from greenchat.errors import ERRORS, RequestError
from greenchat.model.instants import to_seconds
from greenchat.protocol.msgids import MsgId

MAX_SECONDS = 86_400.0
"""Longest wait or silence that a server may ask for, in seconds: a day."""

MAX_TIME = 253_370_764_800.0
"""Seconds from 1970 to the year 9999.  A time zone can shift an earlier instant within the calendar."""


class InvalidField(ValueError):
    """Raised if a field is missing or has a wrong value; the server's fault."""


def parse_push(frame: Frame, me: int, offline: bool = False) -> Push | None:
    """Return the push that a frame is to user ``me``; None for other frames.

    Raises:
        InvalidField: a field is missing or wrong.
    """
    if not isinstance(frame, dict):
        raise InvalidField("it is no JSON object")
    parse = _PARSERS.get(_integer(frame, "msgid"))
    return parse(frame, me, offline) if parse else None


def parse_entries(frames: Iterable[Frame], me: int) -> list[Entry]:
    """Return the entries of a history, without those that have an invalid field."""
    entries = []
    for frame in frames:
        try:
            entry = parse_push(frame, me)
        except InvalidField:
            continue
        if isinstance(entry, Entry):
            entries.append(entry)
    return entries


def parse_login(reply: Frame, device: str, token: str) -> LoginInfo:
    """Return the content of a LOGIN_ACK, with ``token`` if it has none."""
    return LoginInfo(
        _integer(reply, "id"),
        _text(reply, "name"),
        _text(reply, "token") if reply.get("token") else token,
        device,
        _text(reply, "server") if reply.get("server") else "",
        [parse_user(user) for user in reply.get("friends", [])],
        [parse_group(group) for group in reply.get("groups", [])],
        _integer(reply, "edition") if "edition" in reply else 1,
        _limits(reply.get("limits", {})),
    )


def _limits(limits: Frame) -> dict[str, float]:
    """Return the limits that are numbers: a later server may tell others."""
    return {name: limit for name, limit in limits.items() if type(limit) in (int, float)}


def parse_user(user: Frame) -> Frame:
    """Check the fields of a user object, and return it."""
    _integer(user, "id"), _text(user, "name"), _text(user, "state")
    return user


def parse_group(group: Frame) -> Frame:
    """Check the fields of a group object, and return it."""
    _integer(group, "id"), _text(group, "groupname")
    for user in group.get("users", []):
        parse_user(user), _text(user, "role")
    return group


def parse_heartbeat(reply: Frame) -> tuple[float, int]:
    """Return a LOGIN_ACK's heartbeat interval in seconds, and the number of beats that may be missed.

    Raises:
        InvalidField: one of them is missing or out of range.  With an interval of zero the client would
            send without a pause.
    """
    beat = reply.get("heartbeat")
    if not isinstance(beat, dict):
        raise InvalidField("heartbeat is missing")
    interval, missed = parse_seconds(beat.get("interval")), beat.get("max_missed")
    if not interval or type(missed) is not int or not 0 < missed <= MAX_SECONDS:
        raise InvalidField("heartbeat has no valid interval and max_missed")
    return interval, missed


def parse_seconds(value: object) -> float | None:
    """Return a number of seconds, at most a day; None if the value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:  # nor is NaN
        return None
    return float(min(value, MAX_SECONDS))


def parse_error(reply: Frame) -> RequestError | None:
    """Return the error of a reply, of the class that it names; None if the request succeeded."""
    if not reply.get("errno"):
        return None
    name: Any = reply.get("error")
    kind = ERRORS.get(name, RequestError)
    sentence = str(reply.get("errmsg") or name or "the server gave no reason")
    error = kind(sentence, retry_after=parse_seconds(reply.get("retry_after")))
    if kind is RequestError:
        error.errno, error.error = reply["errno"], str(name)
    return error


def _integer(frame: Frame, field: str) -> int:
    value = frame.get(field) if isinstance(frame, dict) else None
    if type(value) is not int or not 0 < value < 2**63:
        raise InvalidField(f"{field} is missing, or no integer from 1 to 2**63 - 1")
    return value


def _text(frame: Frame, field: str) -> str:
    value = frame.get(field)
    if not isinstance(value, str):
        raise InvalidField(f"{field} is missing, or no string")
    return value


def _instant(frame: Frame) -> str:
    instant = _text(frame, "time")
    try:
        is_valid = 0 <= to_seconds(instant) < MAX_TIME
    except (ValueError, OverflowError):
        is_valid = False
    if not is_valid:
        raise InvalidField("time is no instant from 1970 to 9998")
    return instant


def _conversation(frame: Frame) -> Conversation:
    return (
        in_group(_integer(frame, "groupid")) if "groupid" in frame else with_user(_integer(frame, "peerid"))
    )


def _one_chat(frame: Frame, me: int, offline: bool) -> Message:
    sender, receiver = _integer(frame, "id"), _integer(frame, "toid")
    return _message(frame, with_user(receiver if sender == me else sender), offline)


def _group_chat(frame: Frame, me: int, offline: bool) -> Message:
    return _message(frame, in_group(_integer(frame, "groupid")), offline)


def _message(frame: Frame, conversation: Conversation, offline: bool) -> Message:
    return Message(
        conversation,
        _integer(frame, "seq"),
        _integer(frame, "id"),
        _text(frame, "name"),
        None if frame.get("recalled") else _text(frame, "msg"),
        _instant(frame),
        _text(frame, "cid") if frame.get("cid") else None,
        offline,
    )


def _recall(frame: Frame, me: int, offline: bool) -> MessageRecall:
    sender, target = _integer(frame, "id"), _integer(frame, "target")
    return MessageRecall(
        _conversation(frame), _integer(frame, "seq"), sender, target, _instant(frame), offline
    )


def _presence(frame: Frame, me: int, offline: bool) -> PresenceChange:
    state: Any = _text(frame, "state")
    if state not in ("online", "offline"):
        raise InvalidField("state is neither online nor offline")
    return PresenceChange(_integer(frame, "id"), state)


def _typing(frame: Frame, me: int, offline: bool) -> TypingNotice:
    return TypingNotice(_conversation(frame), _integer(frame, "id"))


def _read(frame: Frame, me: int, offline: bool) -> ReadReceipt:
    return ReadReceipt(_conversation(frame), _integer(frame, "id"), _integer(frame, "seq"))


_PARSERS: dict[int, Callable[[Frame, int, bool], Push]] = {
    MsgId.ONE_CHAT: _one_chat,
    MsgId.GROUP_CHAT: _group_chat,
    MsgId.RECALL: _recall,
    MsgId.PRESENCE: _presence,
    MsgId.TYPING: _typing,
    MsgId.READ: _read,
}

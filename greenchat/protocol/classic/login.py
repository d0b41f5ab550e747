"""LOGIN_ACK of a classic client: as much as fits a frame, and the words for a login that is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from greenchat.errors import AlreadyOnline, BadCredentials, Busy, NotAllowed, RateLimited, RequestError
from greenchat.protocol.classic.text import MAX_FRAME
from greenchat.protocol.messages import GroupItem, LoginAck

Encode = Callable[[dict[str, Any]], bytes]
"""Encode fields with a msgid of today's numbers."""


class Welcome(NamedTuple):
    """The answer to a login.

    Attributes:
        frame: LOGIN_ACK.
        shown: offline messages that it holds, the first of those given.
        left_out: a sentence about the parts that did not fit; "" if all did.
    """

    frame: bytes
    shown: int
    left_out: str


def welcome(encode: Encode, ack: LoginAck, cid: str | None, offline: Sequence[str]) -> Welcome:
    """Return LOGIN_ACK with as much as fits: groups, friends, their members, then offline messages.

    Args:
        encode: as the client reads it.
        ack: all friends, and all groups, with ``users`` where the members are known.
        cid: the request's cid.
        offline: the first undelivered messages, in order, as the client reads them.
    """
    friends, groups = ack.friends or [], ack.groups or []
    base = {"id": ack.id, "name": ack.name} | ({} if cid is None else {"cid": cid})
    packed = _Packed(encode, base)
    left_groups = len(groups) - packed.add_groups(groups)
    left_friends = len(friends) - packed.add_friends([_text(friend) for friend in friends])
    left_members = packed.add_members(groups)
    complete = not (left_groups or left_friends or left_members)
    shown = packed.add_messages(offline) if complete else 0
    return Welcome(packed.encode(), shown, _left_out(left_groups, left_friends, left_members))


class _Packed:
    """A LOGIN_ACK under construction, never longer than a frame."""

    def __init__(self, encode: Encode, fields: dict[str, Any]) -> None:
        self._encode = encode
        self._base = {"msgid": 2, "errno": 0, **fields}
        self._friends: list[str] = []
        self._groups: list[GroupItem] = []
        self._members: list[list[str]] = []
        self._messages: list[str] = []

    def encode(self) -> bytes:
        lists = {
            "friends": self._friends,
            "groups": [_group(*pair) for pair in zip(self._groups, self._members, strict=True)],
            "offlinemsg": self._messages,
        }
        return self._encode(self._base | {name: items for name, items in lists.items() if items})

    def add_groups(self, groups: Sequence[GroupItem]) -> int:
        """Add the first groups that fit, without their members, and return how many those are."""
        for number, group in enumerate(groups):
            self._groups.append(group)
            self._members.append([])
            if not self._fits():
                self._groups.pop()
                self._members.pop()
                return number
        return len(groups)

    def add_friends(self, friends: Sequence[str]) -> int:
        """Add the first friends that fit and return how many those are."""
        return self._add(self._friends, friends)

    def add_members(self, groups: Sequence[GroupItem]) -> int:
        """Add the members that fit, group by group, and return how many are left out."""
        left = 0
        for group, members in zip(groups, self._members, strict=False):
            users = group.users or []
            left += group.count - self._add(members, [_text(user) for user in users])
        return left

    def add_messages(self, messages: Sequence[str]) -> int:
        """Add the first offline messages that fit and return how many those are."""
        return self._add(self._messages, messages)

    def _add(self, those: list[str], texts: Sequence[str]) -> int:
        for number, text in enumerate(texts):
            those.append(text)
            if not self._fits():
                those.pop()
                return number
        return len(texts)

    def _fits(self) -> bool:
        return len(self.encode()) <= MAX_FRAME


def _group(group: GroupItem, members: list[str]) -> str:
    shown = {"id": group.id, "groupname": group.groupname, "groupdesc": group.groupdesc, "users": members}
    return _text(shown)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _left_out(groups: int, friends: int, members: int) -> str:
    counts = [(groups, "group"), (friends, "friend"), (members, "member")]
    parts = [f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in counts if count]
    return f"not shown here, as they do not fit: {', '.join(parts)}" if parts else ""


_SENTENCES = {
    BadCredentials.errno: "the id or the password is wrong",
    AlreadyOnline.errno: "this account is logged in already, with another client",
    NotAllowed.errno: "this account is logged in at too many places",
    Busy.errno: "the server is busy: try again in a moment",
}
"""Sentences about a refused login, for people that know nothing of devices and tokens."""


def login_refusal(error: RequestError) -> str:
    """Return the sentence that tells a person why a login was refused."""
    if error.errno == RateLimited.errno:
        wait = f" in {error.retry_after:.0f} seconds" if error.retry_after else " later"
        return f"{error}: try again{wait}"
    return _SENTENCES.get(error.errno, str(error))

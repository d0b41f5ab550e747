"""The wire of the original C++ clients: small frames, text times, two ranges of msgids, foreign dialects.

Those clients (muduo, nlohmann/json) read 1,024 bytes at most, take one ``recv`` for one message and
abort on anything that they cannot parse.  A frame to them therefore has at most 1,023 bytes with its
NUL; a longer text comes as several messages, and LOGIN_ACK shows as much as fits.

Two lineages number the ten messages: 1 to 10, or 1000 to 1009 in the same order.  The first frame of
a connection tells which.  Other families reuse these numbers for other requests: a request that has
the fields of another one is a `ForeignDialect`, and is never executed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from typing import Any, Literal, NamedTuple

import msgspec

from greenchat.errors import (
    AlreadyOnline,
    BadCredentials,
    Busy,
    NotAllowed,
    RateLimited,
    RequestError,
)
from greenchat.protocol.messages import LAST_ORIGINAL, GroupItem, MsgId, UserItem, msgid_of
from greenchat.protocol.native import encode, failure

MAX_FRAME = 1_022
"""Bytes of a frame to an original client, without its NUL: its buffer has 1,024, the last a zero."""

FIRST_OF_OLDER = 1_000
"""The msgid of LOGIN in the older lineage; the other nine follow in the same order."""

PARTS = 99
"""Parts of a text at most: 4,096 characters of six bytes each, as JSON, from the longest name, are 50."""


class ForeignDialect(Exception):
    """Raised if a client speaks another protocol of the same family; the message describes it."""


# -- Requests

_FIELDS: dict[int, tuple[str, ...]] = {
    MsgId.LOGIN: ("id", "password"),
    MsgId.LOGINOUT: (),
    MsgId.REG: ("name", "password"),
    MsgId.ONE_CHAT: ("toid", "msg"),
    MsgId.ADD_FRIEND: ("friendid",),
    MsgId.CREATE_GROUP: ("groupname",),
    MsgId.ADD_GROUP: ("groupid",),
    MsgId.GROUP_CHAT: ("groupid", "msg"),
}
"""The fields that an original request cannot go without."""

_INSTEAD = {"id": "name", "password": "token"}
"""Fields that LOGIN may have instead."""

_TELLING = (MsgId.ONE_CHAT, MsgId.GROUP_CHAT, MsgId.REG, MsgId.ADD_FRIEND, MsgId.CREATE_GROUP)
"""Requests whose fields tell them from others, strictest first."""

_ANYWHERE = frozenset({"msgid", "cid"})
"""Fields that tell nothing of the request."""


def check_dialect(msgid: int, fields: Iterable[str]) -> None:
    """Check that a request has its own fields, and no other request's in place of them.

    Examples: in one family 9 is a chat to a group, here it joins one.  ``{"msgid":9,"groupid":1,
    "msg":"hi"}`` would make its sender a member.  In another one a chat names its receiver in ``to``.

    Args:
        msgid: of an original client, in today's numbers (1 to 10).
        fields: the names of all that the request has.

    Raises:
        ForeignDialect: executed, it would do something that its sender did not ask for, or it cannot be.
    """
    given = frozenset(fields)
    if msgid in _TELLING and given.issuperset(_FIELDS[msgid]):
        return
    for other in _TELLING:
        is_part_of_login = other == MsgId.REG and msgid == MsgId.LOGIN
        if other != msgid and given.issuperset(_FIELDS[other]) and not is_part_of_login:
            raise ForeignDialect(f"its msgid {msgid} has the fields of our {other.name}")
    if msgid == MsgId.CREATE_GROUP and "groupid" in given:
        raise ForeignDialect(f"its msgid {msgid} has the fields of our ADD_GROUP")
    if msgid not in _FIELDS:
        raise ForeignDialect(f"its msgid {msgid} is that of one of our replies")
    lacking = [name for name in _FIELDS[msgid] if not {name, _instead_of(msgid, name)} & given]
    if lacking and given - _ANYWHERE:  # a bare number is a mistake, and answered as one
        raise ForeignDialect(f"its {MsgId(msgid).name} has no {lacking[0]}")


def _instead_of(msgid: int, name: str) -> str:
    return _INSTEAD.get(name, name) if msgid == MsgId.LOGIN else name


def is_object(data: bytes) -> bool:
    """Return True if these bytes are a whole JSON object."""
    return data.startswith(b"{") and isinstance(_read(data), dict)


def msgid_in(frame: bytes) -> int | None:
    """Return the msgid of a frame, None if it has none."""
    fields = _read(frame)
    msgid = fields.get("msgid") if isinstance(fields, dict) else None
    return msgid if type(msgid) is int else None


def _read(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_text(data: bytes) -> bool:
    """Return True for printable UTF-8: other bytes, as TLS's, are of no dialect of this family."""
    try:
        return data.decode().isprintable()
    except UnicodeDecodeError:
        return False


def has_length_prefix(data: bytes) -> bool:
    """Return True if the first bytes of a connection are a length (16 or 32 bits) before a JSON object.

    Without this check the zeros of such a prefix pass for the classic terminator.
    """
    for size in (2, 4):
        if len(data) > size and data[size : size + 1] == b"{":
            prefix = data[:size]
            order: Literal["big", "little"] = "little" if prefix[-1] == 0 else "big"
            if 0 in prefix and len(b'{"msgid":3}') <= int.from_bytes(prefix, order) <= 65_536:
                return True
    return False


class ClassicWire:
    """Translate the frames of one original client, both ways.

    Args:
        zone: the time zone of the times that it shows; None: the server's.
    """

    __slots__ = ("_shift", "_zone")

    def __init__(self, zone: tzinfo | None = None) -> None:
        self._shift: int | None = None
        self._zone = zone

    def request(self, frame: bytes) -> bytes:
        """Return a frame from the client with today's msgid.

        A frame without a msgid is returned as it is; the first one that has a msgid fixes the numbering.

        Raises:
            ForeignDialect: the client speaks another protocol.
        """
        fields = _read(frame)
        msgid = fields.get("msgid") if isinstance(fields, dict) else None
        if type(msgid) is not int:
            if self._shift is None and _is_text(frame):
                raise ForeignDialect("its first frame is no JSON object with a msgid")
            return frame
        if self._shift is None:
            self._shift = _shift_of(msgid)
        original = msgid - self._shift
        if MsgId.LOGIN <= original <= LAST_ORIGINAL:
            check_dialect(original, fields)
        if not self._shift:
            return frame
        fields["msgid"] = original
        return msgspec.json.encode(fields)

    # -- What the client is sent

    def message(self, frame: bytes) -> list[bytes]:
        """Return the frames of a live message, given that of today's clients: its parts, if it is long."""
        fields = msgspec.json.decode(frame)
        return self._parts(fields)

    def notice(self, userid: int, name: str, text: str, time: str) -> list[bytes]:
        """Return a live message from the user's own name, by which the server tells of something."""
        fields = {"msgid": 6, "id": userid, "name": name, "toid": userid, "msg": text, "time": time}
        return self._parts(fields)

    def reply(self, frame: bytes) -> bytes:
        """Return a reply, given that of today's clients.

        One that is longer than a frame, which no original request has, becomes an error.
        """
        fields = msgspec.json.decode(frame)
        shown = self._encode(fields)
        if len(shown) <= MAX_FRAME:
            return shown
        text = f"the answer has more than {MAX_FRAME} bytes: ask for less"
        short = {name: fields[name] for name in ("msgid", "re", "cid") if name in fields}
        return self._encode(short | {"errno": 12, "error": "too_large", "errmsg": text})

    def failed(self, error: RequestError, re: int | None, cid: str | None = None) -> bytes | None:
        """Return the reply to a request that failed; None for those whose failure these clients cannot show.

        Args:
            error: the reason.
            re: the request's msgid, in today's numbers; None for a frame that is none.
            cid: the request's cid.
        """
        told = failure(error, re, cid)
        if msgid_of(told) > LAST_ORIGINAL >= (re or 0):
            return None
        if re == MsgId.LOGIN:
            told.errmsg = login_refusal(error)
        return self.reply(encode(told))

    def login_ack(
        self,
        userid: int,
        name: str,
        friends: Sequence[UserItem],
        groups: Sequence[GroupItem],
        offline: Sequence[bytes],
        cid: str | None = None,
    ) -> Welcome:
        """Return LOGIN_ACK with as much as fits: groups, friends, their members, then offline messages.

        Args:
            userid: the user that has logged in.
            name: the user's name.
            friends: all of them.
            groups: all of them, with ``users`` where the members are known.
            offline: the first undelivered messages, in order, as today's clients get them.
            cid: the request's cid.
        """
        ack = _LoginAck(self, {"id": userid, "name": name} | ({} if cid is None else {"cid": cid}))
        left_groups = len(groups) - ack.add_groups(groups)
        left_friends = len(friends) - ack.add_friends(friends)
        left_members = ack.add_members(groups)
        complete = not (left_groups or left_friends or left_members)
        shown = ack.add_messages(offline) if complete else 0
        return Welcome(ack.encode(), shown, _left_out(left_groups, left_friends, left_members))

    def _parts(self, fields: dict[str, Any]) -> list[bytes]:
        text = fields.pop("msg", "")
        fields = self._shown(fields)
        whole = self._encode(fields | {"msg": text})
        if len(whole) <= MAX_FRAME:
            return [whole]
        room = MAX_FRAME - len(self._encode(fields | {"msg": f"({PARTS}/{PARTS}) "}))
        pieces = list(split_text(text, room))
        return [
            self._encode(fields | {"msg": f"({number}/{len(pieces)}) {piece}"})
            for number, piece in enumerate(pieces, 1)
        ]

    def _shown(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a message with the time as the original shows it."""
        fields.pop("recalled", None)
        fields["time"] = self.local_time(fields["time"])
        return fields

    def local_time(self, instant: str) -> str:
        """Return an instant of the wire as ``YYYY-MM-DD HH:MM:SS`` in the client's time zone."""
        return datetime.fromisoformat(instant).astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S")

    def _encode(self, fields: dict[str, Any]) -> bytes:
        shift = self._shift or 0
        return msgspec.json.encode(fields | {"msgid": fields["msgid"] + shift})


def _shift_of(msgid: int) -> int:
    """Return by how much the msgids of a client differ from today's, given its first one."""
    if FIRST_OF_OLDER <= msgid < FIRST_OF_OLDER + LAST_ORIGINAL:
        return FIRST_OF_OLDER - MsgId.LOGIN
    if msgid not in set(MsgId):
        raise ForeignDialect(f"its first frame has msgid {msgid}")
    return 0


# -- What fits


class Welcome(NamedTuple):
    """The answer to a login.

    Attributes:
        frame: LOGIN_ACK.
        shown: offline messages that it holds, the first of those given.
        left_out: a sentence about what did not fit; "" if all did.
    """

    frame: bytes
    shown: int
    left_out: str


class _LoginAck:
    """A LOGIN_ACK under construction, never longer than a frame.

    Args:
        wire: encodes it.
        fields: of the user that has logged in.
    """

    def __init__(self, wire: ClassicWire, fields: dict[str, Any]) -> None:
        self._wire = wire
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
        return self._wire._encode(self._base | {name: items for name, items in lists.items() if items})

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

    def add_friends(self, friends: Sequence[UserItem]) -> int:
        """Add the first friends that fit and return how many those are."""
        return self._add(self._friends, [_text(friend) for friend in friends])

    def add_members(self, groups: Sequence[GroupItem]) -> int:
        """Add the members that fit, group by group, and return how many are left out."""
        left = 0
        for group, members in zip(groups, self._members, strict=False):
            users = group.users or []
            left += group.count - self._add(members, [_text(user) for user in users])
        return left

    def add_messages(self, frames: Sequence[bytes]) -> int:
        """Add the first offline messages that fit and return how many those are."""
        wire = self._wire
        texts = [wire._encode(wire._shown(msgspec.json.decode(frame))).decode() for frame in frames]
        return self._add(self._messages, texts)

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


def split_text(text: str, room: int) -> Iterator[str]:
    """Split a text into pieces of at most so many bytes of JSON, at a blank if there is one near the end.

    No piece begins with a character that belongs to the one before it (a combining one, a joiner).

    Example: ``list(split_text("hello world", 8)) == ["hello ", "world"]``.
    """
    start = 0
    while start < len(text):
        end = _reach(text, start, room)
        if end < len(text):
            end = _break(text, start, end)
        yield text[start:end]
        start = end


def _reach(text: str, start: int, room: int) -> int:
    """Return where a piece that begins at ``start`` ends at the latest."""
    for place in range(start, len(text)):
        room -= _json_size(text[place])
        if room < 0:
            return max(place, start + 1)
    return len(text)


def _break(text: str, start: int, end: int) -> int:
    """Return the best end of a piece in the last quarter of what fits."""
    least = end - (end - start) // 4
    for place in range(end, least - 1, -1):
        if text[place - 1].isspace():
            return place
    for place in range(end, least - 1, -1):
        if not _belongs_to_previous(text[place]) and text[place - 1] != "\u200d":
            return place
    return end


def _belongs_to_previous(character: str) -> bool:
    return unicodedata.category(character) in {"Mn", "Me", "Mc"} or character == "\u200d"


def _json_size(character: str) -> int:
    """Return how many bytes a character has inside a JSON string."""
    if character in '"\\\b\f\n\r\t':
        return 2
    return 6 if character < " " else len(character.encode())


# -- Words

_SENTENCES = {
    BadCredentials.errno: "the id or the password is wrong",
    AlreadyOnline.errno: "this account is logged in already, with another client",
    NotAllowed.errno: "this account is logged in at too many places",
    Busy.errno: "the server is busy: try again in a moment",
}
"""Why a login is refused, for people who know nothing of devices and tokens."""


def login_refusal(error: RequestError) -> str:
    """Return the sentence that tells a person why a login was refused."""
    if error.errno == RateLimited.errno:
        wait = f" in {error.retry_after:.0f} seconds" if error.retry_after else " later"
        return f"{error}: try again{wait}"
    return _SENTENCES.get(error.errno, str(error))

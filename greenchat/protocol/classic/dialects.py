"""The dialects of the original protocol: the two that are spoken, and those that are only recognised.

Two lineages number the ten messages: 1 to 10, or 1000 to 1009 in the same order.  The first frame of
a connection tells which.  Other families reuse these numbers for other requests: a request that has
the fields of another one is a `ForeignDialect`, and is never executed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from greenchat.protocol.messages import LAST_ORIGINAL, MsgId
from greenchat.protocol.wire import OtherProtocol

FIRST_OF_OLDER = 1_000
"""The msgid of LOGIN in the older lineage; the other nine follow in the same order."""

SHIFTS = (0, FIRST_OF_OLDER - MsgId.LOGIN)
"""By how much the msgids of each lineage differ from today's."""


class ForeignDialect(OtherProtocol):
    """Raised if a client speaks another protocol of the same family; the message describes it."""


def shift_of(msgid: int) -> int:
    """Return by how much the msgids of a client differ from today's, given its first one.

    Raises:
        ForeignDialect: neither lineage has it.
    """
    if FIRST_OF_OLDER <= msgid < FIRST_OF_OLDER + LAST_ORIGINAL:
        return SHIFTS[1]
    if msgid not in set(MsgId):
        raise ForeignDialect(f"its first frame has msgid {msgid}")
    return 0


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
"""Requests that differ from others in their fields, strictest first."""

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


def is_message(data: bytes) -> bool:
    """Return True if these bytes are a whole JSON object."""
    return data.startswith(b"{") and isinstance(read(data), dict)


def read(data: bytes) -> Any:
    """Return the JSON value in some bytes, None if there is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_text(data: bytes) -> bool:
    """Return True for printable UTF-8: other bytes, as TLS's, are of no dialect of this family."""
    try:
        return data.decode().isprintable()
    except UnicodeDecodeError:
        return False


def check_beginning(data: bytes) -> None:
    """Check the first bytes of a connection.

    Raises:
        ForeignDialect: they are a length before a JSON object; its zeros would pass for the terminator.
    """
    if b"\0" in data[:4] and _has_length_prefix(data):
        raise ForeignDialect("each message begins with its length")


def _has_length_prefix(data: bytes) -> bool:
    """Return True if some bytes begin with a length (16 or 32 bits) before a JSON object."""
    for size in (2, 4):
        if len(data) > size and data[size : size + 1] == b"{":
            prefix = data[:size]
            order: Literal["big", "little"] = "little" if prefix[-1] == 0 else "big"
            if 0 in prefix and len(b'{"msgid":3}') <= int.from_bytes(prefix, order) <= 65_536:
                return True
    return False

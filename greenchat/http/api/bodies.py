"""The bodies of the calls, both ways: they are decoded by these types, and OpenAPI is made of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from greenchat.errors import BadRequest
from greenchat.http.call import Call, HttpError
from greenchat.model.conversations import NAME_PATTERN
from greenchat.model.records import MAX_ID
from greenchat.protocol.messages import (
    Device,
    GroupChatPush,
    GroupItem,
    Id,
    MemberItem,
    OneChatPush,
    RecallPush,
    Seq,
    UserItem,
)
from greenchat.protocol.native import field_error

S = TypeVar("S", bound=Struct)
T = TypeVar("T")

MAX_BODY = 65_536
"""Bytes of the body of a call, as of a frame."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Text = Annotated[str, Meta(min_length=1)]

Conversation = Annotated[str, Meta(pattern=f"^({NAME_PATTERN})$", examples=["g12", "u7-9"])]
"""The name of a conversation: ``g12`` is group 12, ``u7-9`` users 7 and 9."""


# -- From clients


class NewSession(Struct):
    """A login by password, for a device that does not come online by it."""

    name: Text
    password: Text
    device: Device = ""


class Place(Struct, kw_only=True):
    """A conversation, by one of these."""

    user: Text | UnsetType = UNSET
    user_id: Id | UnsetType = UNSET
    group: Text | UnsetType = UNSET
    group_id: Id | UnsetType = UNSET


class NewMessage(Place, kw_only=True):
    """A message to a user or a group, named by one of the four fields."""

    text: Text


class HistoryQuery(Place, kw_only=True):
    """A page of a conversation's past, named by one of the four."""

    before: Seq | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=200)] | UnsetType = UNSET


class MembersQuery(Struct, kw_only=True):
    """A page of a group's members, by id."""

    after: Annotated[int, Meta(ge=0, le=MAX_ID)] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=500)] | UnsetType = UNSET


class Receipt(Struct):
    """All entries of a conversation up to ``seq`` have arrived at this device."""

    conversation: Conversation
    seq: Seq


# -- To clients


class Stored(Struct):
    """A message is committed, as entry ``seq`` of its conversation."""

    seq: int
    time: str
    conversation: Conversation


class Page(Struct):
    """Entries of a conversation, oldest first; ``more`` says that there are older ones."""

    messages: list[OneChatPush | GroupChatPush | RecallPush]
    more: bool


class Me(Struct):
    """The user and device of the caller, with friends and groups."""

    id: int
    name: str
    device: str
    friends: list[UserItem]
    groups: list[GroupItem]


class GroupPage(Struct):
    """A group, and a page of its members."""

    group: GroupItem
    users: list[MemberItem]
    more: bool


class Problem(Struct):
    """The reason why a call failed (RFC 9457); ``errno`` and ``error`` are those of the wire protocol."""

    status: int
    title: str
    errno: int
    error: str
    detail: str


# -- Reading


def given(value: T | UnsetType) -> T | None:
    """Return the value of a field; None if it was not given."""
    return None if value is UNSET else value


def body_of(call: Call, kind: type[S]) -> S:
    """Return the body of a call.

    Raises:
        HttpError: 415: it is no JSON.
        BadRequest, TooLarge: it is not as it must be; the sentence names the field.
    """
    # A form of another site's page cannot send this type.
    if call.headers.get("content-type").partition(";")[0].strip().lower() != "application/json":
        raise HttpError(415, "Content-Type: application/json is needed")
    try:
        return msgspec.json.decode(call.body, type=kind)
    except msgspec.ValidationError as error:
        raise field_error(str(error)) from None
    except _UNREADABLE:
        raise BadRequest("the body is not valid JSON (UTF-8, RFC 8259)") from None


_NUMBER = re.compile(r"-?[0-9]{1,19}")
"""Matches the numbers that a query may hold.  Longer ones stay texts, and are refused: from 4,301 digits on
``int`` raises ValueError."""


def query_of(call: Call, kind: type[S]) -> S:
    """Return the query of a call; fields that ``kind`` does not have are passed over.

    Raises:
        BadRequest, TooLarge: as ``body_of``.
    """
    numbers = {field.name for field in msgspec.structs.fields(kind) if "int" in str(field.type)}
    found: dict[str, Any] = {
        name: int(value) if name in numbers and _NUMBER.fullmatch(value) else value
        for name, value in call.query.items()
    }
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise field_error(str(error)) from None

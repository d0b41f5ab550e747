"""What the nodes of a cluster tell each other over the bus, in MessagePack.

During a rolling upgrade nodes of two versions talk to each other: new fields go to the end and have
defaults, new events get new tags, and an event that is not known here is passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Union

import msgspec
from msgspec import Meta, Struct

from greenchat.model.records import Entry
from greenchat.protocol.former import frames_of
from greenchat.protocol.messages import MAX_ID, MAX_SEQ, Id, Seq

Conversation = Annotated[int, Meta(ge=-MAX_ID, le=MAX_SEQ)]
Head = Annotated[int, Meta(ge=0, le=MAX_SEQ)]


class Posted(Struct, array_like=True, tag=1, gc=False):
    """An entry of a conversation has been committed.

    ``frame`` is for the other participants; ``own`` for the sender's other devices, empty where the
    sending node knew of none.
    """

    conversation: Conversation
    seq: Seq
    sender: Id
    frame: bytes
    own: bytes = b""


class Mark(Struct, array_like=True, gc=False):
    """A user's read mark in a conversation."""

    userid: Id
    conversation: Conversation
    seq: Seq


class Told(Struct, array_like=True, tag=2):
    """Something of the moment for some users: presence, typing, read marks.

    ``mark`` is the read mark that the frame tells: it is not handed out after a later one.
    """

    users: list[Id]
    frame: bytes
    mark: Mark | None = None


class Ended(Struct, array_like=True, tag=3):
    """A user's session ends: the device has logged in at the sending node.  None: all devices.

    A session whose login is later than the instant ``since`` stays; None ends any.
    """

    userid: Id
    device: str | None
    since: str | None = None


class Reopen(Struct, array_like=True, tag=4):
    """A login of a device, that of the instant ``since``, is void, but the database has noted it.

    The receiving node, if the device is online there, marks it online again.
    """

    userid: Id
    device: str
    since: str = ""


class Joined(Struct, array_like=True, tag=5):
    """A user has joined a group, whose last seq was ``joined`` then."""

    userid: Id
    groupid: Id
    joined: Head


class Left(Struct, array_like=True, tag=6):
    """A user has left a group."""

    userid: Id
    groupid: Id


class BlockChanged(Struct, array_like=True, tag=7):
    """A receiver has blocked or unblocked a sender."""

    sender: Id
    receiver: Id


class Missed(Struct, array_like=True, tag=8):
    """A user's sessions may have missed entries while the nodes learnt of a membership."""

    userid: Id


class Stored(Struct, array_like=True, tag=9):
    """An entry of a conversation is in the log, and perhaps nobody was told when it was committed."""

    conversation: Conversation
    seq: Seq


class NameDoubted(Struct, array_like=True, tag=10):
    """A user with this name may have been registered: the answer of the database was lost."""

    name: str


NodeEvent = Union[  # noqa: UP007 - msgspec
    Posted, Told, Ended, Reopen, Joined, Left, BlockChanged, Missed, Stored, NameDoubted
]

encode_event: Callable[[NodeEvent], bytes] = msgspec.msgpack.Encoder().encode

_decoder: msgspec.msgpack.Decoder[NodeEvent] = msgspec.msgpack.Decoder(NodeEvent)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_event(event: bytes) -> NodeEvent | None:
    """Return an event from another node; None if it is not one that is known here."""
    try:
        return _decoder.decode(event)
    except _UNREADABLE:
        return None


def posted(entry: Entry) -> Posted:
    """Return the event that an entry has been committed."""
    return Posted(entry.conversation, entry.seq, entry.sender, *frames_of(entry))

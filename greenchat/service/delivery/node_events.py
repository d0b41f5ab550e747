"""Events that the nodes of a cluster send each other over the bus, in MessagePack.

During a rolling upgrade nodes of two versions talk to each other: new fields go to the end and have
defaults, new events get new tags, and an event that is not known here is passed over.  Where a version
replaces an event (``Committed`` and ``Told``, in version 2), nodes of the former one get the former event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Union

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import astuple

from greenchat.model.kinds import KINDS
from greenchat.model.records import MAX_ID, MAX_SEQ, Entry
from greenchat.protocol.former import entry_in, frames_of, push_in
from greenchat.protocol.messages import Id, ReadPush, Seq, TypingPush
from greenchat.protocol.native import encode

Conversation = Annotated[int, Meta(ge=-MAX_ID, le=MAX_SEQ)]
Head = Annotated[int, Meta(ge=0, le=MAX_SEQ)]


class Committed(Struct, array_like=True, tag=11, gc=False):
    """An entry has been committed; the fields are those of ``records.Entry``."""

    conversation: Conversation
    seq: Seq
    sender: Id
    name: str
    cid: str | None
    kind: str
    body: str
    time: str


class Mark(Struct, array_like=True, gc=False):
    """A user's read mark in a conversation."""

    userid: Id
    conversation: Conversation
    seq: Seq


class Told(Struct, array_like=True, tag=12):
    """Something of the moment for some users: typing, read marks.

    ``mark`` is the read mark that the push tells: it is not handed out after a later one.
    """

    users: list[Id]
    push: TypingPush | ReadPush
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
    Committed, Told, Ended, Reopen, Joined, Left, BlockChanged, Missed, Stored, NameDoubted
]

encode_event: Callable[[NodeEvent], bytes] = msgspec.msgpack.Encoder().encode

# msgspec raises the second for a lone surrogate in a text, the third for bytes that nest too deeply.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def entry_of(event: Committed) -> Entry:
    """Return the entry that was committed."""
    return Entry(*astuple(event))


def committed(entry: Entry) -> Committed:
    """Return the event of an entry that has just been committed."""
    return Committed(*entry[:8])


def decode_event(event: bytes) -> NodeEvent | None:
    """Return an event from another node; None if it is not one that is known here."""
    try:
        decoded = _decoder.decode(event)
    except _UNREADABLE:
        return None
    # Events of the former version are translated here, so that nothing behind this function knows of them.
    if isinstance(decoded, FormerPosted):
        return _committed(decoded)
    if isinstance(decoded, FormerTold):
        return _told(decoded)
    # An entry that cannot be shown here is passed over like an unknown event: the gap is read from the log.
    return None if isinstance(decoded, Committed) and not _is_whole(decoded) else decoded


def _is_whole(event: Committed) -> bool:
    """Return True if the kind is one that is known here, and the body can be that of one."""
    kind = KINDS.get(event.kind)
    return kind is not None and kind.is_body(event.body)


# -- The former version, which has JSON frames for clients in its events


class FormerPosted(Struct, array_like=True, tag=1, gc=False):
    """An entry of a conversation has been committed.

    ``frame`` is for the other participants; ``own`` for the sender's other devices, empty where the
    sending node knew of none.
    """

    conversation: Conversation
    seq: Seq
    sender: Id
    frame: bytes
    own: bytes = b""


class FormerTold(Struct, array_like=True, tag=2):
    """Something of the moment for some users."""

    users: list[Id]
    frame: bytes
    mark: Mark | None = None


_decoder: msgspec.msgpack.Decoder[NodeEvent | FormerPosted | FormerTold] = msgspec.msgpack.Decoder(
    NodeEvent | FormerPosted | FormerTold
)


def encode_for_former(event: NodeEvent) -> bytes:
    """Return an event as a node of the former version understands it."""
    former: NodeEvent | FormerPosted | FormerTold = event
    if isinstance(event, Committed):
        # That node cannot encode: it gets the JSON frames as it would have made them for its clients.
        former = FormerPosted(event.conversation, event.seq, event.sender, *frames_of(entry_of(event)))
    elif isinstance(event, Told):
        former = FormerTold(event.users, encode(event.push), event.mark)
    return msgspec.msgpack.encode(former)


def _committed(event: FormerPosted) -> Committed | Stored:
    entry = entry_in(event.conversation, event.own)
    # Its frame for the sender tells the name and the cid, but is left out where no other device is online.
    if entry is None or (entry.seq, entry.sender) != (event.seq, event.sender):
        return Stored(event.conversation, event.seq)  # it is to be read from the log
    return committed(entry)


def _told(event: FormerTold) -> Told | None:
    push = push_in(event.frame)
    return None if push is None else Told(event.users, push, event.mark)

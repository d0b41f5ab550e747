"""Reads entries and pushes out of the JSON in which the former version's nodes send them.

Needed as long as nodes of that version may be in a cluster.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from greenchat.model.conversations import peer_of
from greenchat.model.kinds import TEXT
from greenchat.model.records import Entry
from greenchat.protocol.messages import GroupChatPush, OneChatPush, ReadPush, TypingPush
from greenchat.protocol.native import FORMS, encode
from greenchat.protocol.wire import NOBODY

_chats: msgspec.json.Decoder[OneChatPush | GroupChatPush] = msgspec.json.Decoder(OneChatPush | GroupChatPush)
_pushes: msgspec.json.Decoder[TypingPush | ReadPush] = msgspec.json.Decoder(TypingPush | ReadPush)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def entry_in(conversation: int, own: bytes) -> Entry | None:
    """Return an entry, given its frame for the sender's own devices.

    Returns:
        None if that does not tell all of it: there is no such frame, or it is of a recall or recalled.
    """
    try:
        chat = _chats.decode(own)
    except _UNREADABLE:
        return None
    if chat.msg is UNSET:
        return None
    cid = None if chat.cid is UNSET else chat.cid
    return Entry(conversation, chat.seq, chat.id, chat.name, cid, TEXT.name, chat.msg, chat.time)


def frames_of(entry: Entry) -> tuple[bytes, bytes]:
    """Return the frames of an entry, without terminators: for the others, for the sender's own devices."""
    conversation, sender = entry.conversation, entry.sender
    reader = NOBODY if conversation < 0 else peer_of(conversation, sender)
    return encode(FORMS[entry.kind](entry, reader)), encode(FORMS[entry.kind](entry, sender))


def push_in(frame: bytes) -> TypingPush | ReadPush | None:
    """Return the push in a frame; None if it is none."""
    try:
        return _pushes.decode(frame)
    except _UNREADABLE:
        return None

"""Entries of the log as the frames that people get: live, offline and in a history alike."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from greenchat.ports import Entry
from greenchat.protocol.messages import GroupChatPush, OneChatPush, RecallPush, encode
from greenchat.service.conversations import group_of, peer_of
from greenchat.service.events import Posted

NOBODY = 0
"""The reader of a frame that is the same for all but its sender."""


def posted(entry: Entry, *, own: bool = True) -> Posted:
    """Return an entry with its frames: for the others, and if asked for the one with the sender's cid."""
    conversation, seq, sender = entry.conversation, entry.seq, entry.sender
    reader = NOBODY if conversation < 0 else peer_of(conversation, sender)
    return Posted(
        conversation,
        seq,
        sender,
        encode_entry(entry, reader),
        encode_entry(entry, sender) if own else b"",
    )


def encode_entry(entry: Entry, reader: int, classic: bool = False) -> bytes:
    """Return the frame of an entry.

    Args:
        entry: what the log holds.
        reader: the user who gets it; only the sender sees the ``cid``.
        classic: for an original client, which knows no ``recalled``.
    """
    if entry.kind == "recall":
        return encode(_recall(entry, reader))
    recalled = not entry.body
    told: dict[str, Any] = {
        "id": entry.sender,
        "name": entry.name,
        "msg": UNSET if recalled and not classic else entry.body,
        "recalled": True if recalled and not classic else UNSET,
        "seq": entry.seq,
        "time": entry.time,
        "cid": entry.cid if entry.cid is not None and reader == entry.sender else UNSET,
    }
    groupid = group_of(entry.conversation)
    if groupid is None:
        return encode(OneChatPush(toid=peer_of(entry.conversation, entry.sender), **told))
    return encode(GroupChatPush(groupid=groupid, **told))


def _recall(entry: Entry, reader: int) -> RecallPush:
    groupid = group_of(entry.conversation)
    return RecallPush(
        id=entry.sender,
        target=int(entry.body),
        seq=entry.seq,
        time=entry.time,
        peerid=peer_of(entry.conversation, reader) if groupid is None else UNSET,
        groupid=UNSET if groupid is None else groupid,
    )

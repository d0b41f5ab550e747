"""Entries of the log as the frames that people get: live, offline and in a history alike."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from greenchat.model.conversations import group_of, peer_of
from greenchat.model.records import Entry
from greenchat.protocol.messages import GroupChatPush, OneChatPush, RecallPush
from greenchat.protocol.native import encode
from greenchat.service.delivery.node_events import Posted

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
    conversation, seq, sender, name, cid, kind, body, time = entry
    if kind == "recall":
        return encode(_recall(entry, reader))
    msg: str | UnsetType = body
    recalled: bool | UnsetType = UNSET
    if not body and not classic:
        msg, recalled = UNSET, True
    own = UNSET if cid is None or reader != sender else cid
    # By position: with keywords it takes twice as long, and there is one for each message.
    if conversation < 0:
        return encode(GroupChatPush(sender, name, -conversation, msg, seq, time, recalled, own))
    toid = peer_of(conversation, sender) if reader == sender else reader
    return encode(OneChatPush(sender, name, toid, msg, seq, time, recalled, own))


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

"""What may come from the server: each frame is one of the protocol's messages, and nothing more."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from greenchat.errors import RequestError
from greenchat.protocol import messages as m
from greenchat.protocol.classic.text import MAX_FRAME
from greenchat.protocol.lines import MAX_SERVER_FRAME
from greenchat.protocol.messages import MsgId
from greenchat.protocol.native import encode

KINDS: list[type[RequestError]] = [RequestError, *RequestError.__subclasses__()]
ERRORS = {(kind.errno, kind.error) for kind in KINDS}

OWN_REPLIES: dict[int, type[Struct]] = {
    MsgId.LOGIN_ACK: m.LoginAck,
    MsgId.REG_ACK: m.RegAck,
    MsgId.HISTORY_ACK: m.HistoryAck,
    MsgId.HEARTBEAT: m.HeartbeatReply,
    MsgId.ERROR: m.ErrorReply,
}

ACKS: dict[int, type[Struct]] = {
    MsgId.ONE_CHAT: m.StoredAck,
    MsgId.GROUP_CHAT: m.StoredAck,
    MsgId.RECALL: m.StoredAck,
    MsgId.ADD_FRIEND: m.FriendAck,
    MsgId.CREATE_GROUP: m.CreatedAck,
    MsgId.ADD_GROUP: m.JoinedAck,
    MsgId.ARE_FRIENDS: m.AreFriendsAck,
    MsgId.SYNC: m.SyncAck,
    MsgId.CHANGE_PASSWORD: m.TokenAck,
    MsgId.GROUP_INFO: m.GroupInfoAck,
    MsgId.FIND: m.FoundAck,
}
"""The ACK of a request that was done, where it is more than an ACK."""

ENTRIES: dict[int, type[Struct]] = {
    MsgId.ONE_CHAT: m.OneChatPush,
    MsgId.GROUP_CHAT: m.GroupChatPush,
    MsgId.RECALL: m.RecallPush,
}

PUSHES: dict[int, type[Struct]] = ENTRIES | {
    MsgId.PRESENCE: m.PresencePush,
    MsgId.TYPING: m.TypingPush,
    MsgId.READ: m.ReadPush,
}

MAY_LACK = {"error", "errmsg", "retry_after", "cid", "users", "user", "group", "edition", "limits"}
"""Fields that a reply to a request that was done may go without."""


def check_frame(raw: bytes) -> dict[str, Any]:
    """Return a frame that the server sent to a client.

    Raises:
        AssertionError: it is none of the protocol.
    """
    assert len(raw) <= MAX_SERVER_FRAME
    frame: dict[str, Any] = json.loads(raw)
    assert b"\n" not in raw
    assert b"\0" not in raw
    if is_answer(frame):
        _check_answer(frame, raw)
    else:
        _check_whole(frame, raw, PUSHES[frame["msgid"]])
    return frame


def check_classic_frame(raw: bytes, shift: int = 0) -> dict[str, Any]:
    """Return a frame that the server sent to an original client, with today's msgid.

    It gets none with an id above 10 but the answers to requests above 10, if it makes any.

    Args:
        raw: the frame.
        shift: by how much the client's msgids differ from today's.
    """
    frame: dict[str, Any] = json.loads(raw)
    assert b"\0" not in raw
    assert len(raw) <= MAX_FRAME
    frame["msgid"] -= shift
    asked = frame.get("re", 0) if frame["msgid"] in (MsgId.ACK, MsgId.ERROR) else frame["msgid"]
    assert frame["msgid"] <= m.LAST_ORIGINAL or (is_answer(frame) and asked > m.LAST_ORIGINAL)
    if frame["msgid"] == MsgId.LOGIN_ACK and not frame["errno"]:
        assert frame.keys() <= {"msgid", "errno", "id", "name", "cid", "friends", "groups", "offlinemsg"}
        for name in ("friends", "groups", "offlinemsg"):
            assert all(isinstance(json.loads(item), dict) for item in frame.get(name, []))
        for item in frame.get("offlinemsg", []):
            assert json.loads(item)["msgid"] - shift in (MsgId.ONE_CHAT, MsgId.GROUP_CHAT)
    elif frame["msgid"] not in (MsgId.ONE_CHAT, MsgId.GROUP_CHAT):
        check_frame(raw if not shift else json.dumps(frame).encode())
    return frame


def is_answer(frame: dict[str, Any]) -> bool:
    """Tell whether a frame is the answer to a request."""
    return "errno" in frame or frame["msgid"] == MsgId.HEARTBEAT


def _check_answer(frame: dict[str, Any], raw: bytes) -> None:
    msgid = frame["msgid"]
    failed = bool(frame.get("errno"))
    if failed:
        assert (frame["errno"], frame["error"]) in ERRORS
        assert frame["errmsg"]
    if msgid == MsgId.ACK:
        kind = m.Ack if failed else ACKS.get(frame["re"], m.Ack)
    else:
        kind = OWN_REPLIES[msgid]
    reply = _check_whole(frame, raw, kind)
    if not failed:
        lacking = {name for name in kind.__struct_fields__ if getattr(reply, name) is UNSET}
        assert lacking <= MAY_LACK, f"the answer lacks {lacking - MAY_LACK}: add optional fields to MAY_LACK"
    for entry in frame.get("offlinemsg", frame.get("messages", [])):
        _check_whole(entry, json.dumps(entry).encode(), ENTRIES[entry["msgid"]])


def _check_whole(frame: dict[str, Any], raw: bytes, kind: type[Struct]) -> Struct:
    """Decode as this message, with every field that there is."""
    if frame.get("recalled"):
        assert "msg" not in frame
        frame = {**frame, "msg": ""}  # the Struct has a place for it that must be filled
        raw = json.dumps(frame).encode()
    message = msgspec.json.decode(raw, type=kind)
    assert json.loads(encode(message)) == frame, f"{kind.__name__} has other fields: see ACKS"
    return message

"""How far a device and its user are in a conversation, and who is typing: nothing becomes an entry."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import UNSET

from greenchat.errors import BadRequest
from greenchat.protocol import messages as m
from greenchat.service.access import member_of, readable
from greenchat.service.caller import Caller
from greenchat.service.checks import exactly_one
from greenchat.service.service import Service


def received(caller: Caller, request: m.Received) -> None:
    """Move the device's cursor, at most to the end of the log."""
    conversation, _ = readable(caller, request)
    upto = min(request.seq, _head(caller.service, conversation, request.seq))
    if upto:
        caller.received(conversation, upto)


def read(caller: Caller, request: m.Read) -> None:
    """Move the user's read mark, and tell the other participants and the user's other devices."""
    service, userid = caller.service, caller.id
    conversation, _ = readable(caller, request)
    if request.seq > _head(service, conversation, request.seq):
        raise BadRequest(f"seq: the conversation has no message {request.seq}")
    service.store.mark_read(userid, conversation, request.seq)
    if request.groupid is not None:
        told = m.ReadPush(id=userid, seq=request.seq, groupid=request.groupid)
        _tell(caller, service.memberships.load(request.groupid), told)
    elif request.peerid is not None and not service.blocked.load((userid, request.peerid)):
        _tell(caller, (request.peerid,), m.ReadPush(id=userid, seq=request.seq, peerid=userid))
    own = m.ReadPush(
        id=userid,
        seq=request.seq,
        peerid=UNSET if request.peerid is None else request.peerid,
        groupid=UNSET if request.groupid is None else request.groupid,
    )
    service.router.tell((userid,), m.encode(own), but=caller)


def typing(caller: Caller, request: m.Typing) -> None:
    """Tell who is online that the caller is typing; nothing is stored."""
    service, userid = caller.service, caller.id
    exactly_one(toid=request.toid, groupid=request.groupid)
    if request.groupid is not None:
        membership = member_of(caller, request.groupid)
        _tell(caller, membership, m.TypingPush(id=userid, groupid=request.groupid))
    elif request.toid is not None and not service.blocked.load((userid, request.toid)):
        _tell(caller, (request.toid,), m.TypingPush(id=userid, peerid=userid))


def _head(service: Service, conversation: int, seq: int) -> int:
    """Return the last seq of a conversation, or one that is at least ``seq``.  May switch."""
    if service.sequencer.last(conversation) >= seq:
        return seq
    known = service.heads.get(conversation, 0)
    return known if known >= seq else service.heads.reload(conversation)


def _tell(caller: Caller, users: Collection[int], push: m.Push) -> None:
    """Send a push of the moment to other users."""
    caller.service.router.tell(users, m.encode(push), without=caller.id)

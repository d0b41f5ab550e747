"""Receipts, read marks and typing: requests that add no entry to the log."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import UNSET

from greenchat.errors import BadRequest, NoSuchUser
from greenchat.model.records import Contact
from greenchat.protocol import messages as m
from greenchat.service.delivery.node_events import Mark
from greenchat.service.device.caller import Caller
from greenchat.service.requests.permissions import member_of, readable
from greenchat.service.requests.validation import exactly_one
from greenchat.service.service import Service


def received(caller: Caller, request: m.Received) -> None:
    """Move the device's cursor, at most to the end of the log."""
    conversation, _ = readable(caller, request)
    upto = min(request.seq, _head(caller.service, conversation, request.seq))
    if upto:
        caller.receipts.received(conversation, upto)


def read(caller: Caller, request: m.Read) -> None:
    """Move the user's read mark, and tell the other participants and the user's other devices.

    A mark never goes back, so a seq below it changes nothing, and nobody is told.
    """
    service, userid, seq = caller.service, caller.id, request.seq
    conversation, _ = readable(caller, request)
    if seq > _head(service, conversation, seq):
        raise BadRequest(f"seq: the conversation has no message {seq}")
    others = _readers(service, userid, request)
    known = service.read_marks.load((userid, conversation))
    # Two devices of the user may read at the same time: nothing switches between this look and the push.
    if seq < known or not service.advance_mark(userid, conversation, seq):
        return
    service.store.mark_read(userid, conversation, seq)
    mark = Mark(userid, conversation, seq)
    group = UNSET if request.groupid is None else request.groupid
    peer = UNSET if request.peerid is None else request.peerid
    told = m.ReadPush(id=userid, seq=seq, groupid=group, peerid=UNSET if peer is UNSET else userid)
    service.router.tell(others, told, without=userid, mark=mark)
    own = m.ReadPush(id=userid, seq=seq, groupid=group, peerid=peer)
    service.router.tell((userid,), own, but=caller, mark=mark)


def _readers(service: Service, userid: int, request: m.Read) -> Collection[int]:
    """Return the users that are shown a read mark.  May switch."""
    if request.groupid is not None:
        return service.memberships.load(request.groupid)
    assert request.peerid is not None
    return () if _is_blocked(service, userid, request.peerid) else (request.peerid,)


def _is_blocked(service: Service, userid: int, other: int) -> bool:
    """Return True if one of two users has blocked the other: neither hears of the other then.  May switch.

    Raises:
        NoSuchUser: one of them does not exist.
    """
    for pair in ((userid, other), (other, userid)):
        contact = service.contacts.load(pair)
        if contact is Contact.NO_RECEIVER:
            raise NoSuchUser
        if contact is Contact.BLOCKED:
            return True
    return False


def typing(caller: Caller, request: m.Typing) -> None:
    """Tell the online participants that the caller is typing; nothing is stored."""
    service, userid = caller.service, caller.id
    exactly_one(toid=request.toid, groupid=request.groupid)
    if request.groupid is not None:
        membership = member_of(caller, request.groupid)
        _tell(caller, membership, m.TypingPush(id=userid, groupid=request.groupid))
    elif request.toid is not None and not _is_blocked(service, userid, request.toid):
        _tell(caller, (request.toid,), m.TypingPush(id=userid, peerid=userid))


def _head(service: Service, conversation: int, seq: int) -> int:
    """Return the last seq of a conversation, or one that is at least ``seq``.  May switch."""
    if service.sequencer.last(conversation) >= seq:
        return seq
    known = service.heads.get(conversation, 0)
    return known if known >= seq else service.heads.reload(conversation)


def _tell(caller: Caller, users: Collection[int], push: m.TypingPush) -> None:
    """Send a push of the moment to other users."""
    caller.service.router.tell(users, push, without=caller.id)

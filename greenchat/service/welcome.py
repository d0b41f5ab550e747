"""The answer to a login: who you are, what is yours, and what you missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Struct

from greenchat.errors import Busy
from greenchat.ports import LoginState
from greenchat.protocol import messages as m
from greenchat.protocol.framing import MAX_SERVER_FRAME
from greenchat.service.history import PAGE_BYTES, Item, next_page, raw
from greenchat.service.people import group_item, member_items, user_items, visibly_online

if TYPE_CHECKING:
    from greenchat.service.session import Session

_MARGIN = 64
"""Bytes kept free for what is decided last (``more``, brackets)."""


def welcome(session: Session, request: m.Login, state: LoginState, token: str) -> None:
    """Answer a login, then let the events follow that waited for it.  May switch."""
    assert session.gate is not None
    for span in state.backlog:
        session.gate.expect(span)
    if session.peer.classic:
        _welcome_classic(session, request, state)
    else:
        _welcome(session, request, state, token)


def _welcome(session: Session, request: m.Login, state: LoginState, token: str) -> None:
    ack = _ack(session, state, token)
    size = len(m.encode(ack))
    if size > MAX_SERVER_FRAME - PAGE_BYTES:  # seldom: make room by leaving out who is in the groups
        for group in ack.groups or ():
            group.users = UNSET
        size = len(m.encode(ack))
    items = next_page(session, room=min(PAGE_BYTES, MAX_SERVER_FRAME - size - _MARGIN))
    gate = session.gate
    if gate is None:
        return  # replaced meanwhile
    ack.offlinemsg, ack.more = raw(items), gate.more
    session.answer(request, ack)
    session.open_gate()


def _ack(session: Session, state: LoginState, token: str) -> m.LoginAck:
    service = session.service
    friends, groups = _items(session, state)
    return m.LoginAck(
        id=UNSET if session.user is None else session.user,
        name=session.name,
        token=token,
        heartbeat=service.heartbeat,
        server=service.node.name,
        friends=friends,
        groups=groups,
        offlinemsg=[],
        more=False,
    )


def _items(session: Session, state: LoginState) -> tuple[list[m.UserItem], list[m.GroupItem]]:
    everybody = {user.id for user in state.friends}
    for members in state.members.values():
        everybody.update(member.id for member in members)
    online = visibly_online(session, everybody)
    groups = [group_item(group) for group in state.groups]
    for group in groups:
        if group.id in state.members:
            group.users = member_items(state.members[group.id], online)
    return user_items(state.friends, online), groups


# -- The original's clients


def _welcome_classic(session: Session, request: m.Login, state: LoginState) -> None:
    """Answer with strings of JSON inside, then send the pages after the first as live messages."""
    friends, groups = _items(session, state)
    items = next_page(session)
    if session.user is None:
        return
    ack = m.ClassicLoginAck(
        id=session.user,
        name=session.name,
        friends=_strings(friends),
        groups=_strings([_classic_group(group) for group in groups]),
        offlinemsg=[item.frame.decode() for item in _shown(items)] or UNSET,
    )
    session.answer(request, ack)
    try:
        _send_the_rest(session, items)
    except Busy:
        session.peer.close("evicted")  # it is logged in, and can be told so only once


def _send_the_rest(session: Session, items: list[Item]) -> None:
    for conversation, seq in {item.entry.conversation: item.entry.seq for item in items}.items():
        session.count_as_received_once_written(conversation, seq)
    while (items := next_page(session)) and session.gate is not None:
        for entry, frame in items:
            session.send_entry(entry.conversation, entry.seq, frame)
        session.peer.drain()
    if session.gate is not None:
        session.open_gate()


def _shown(items: list[Item]) -> list[Item]:
    return [item for item in items if item.entry.kind != "recall"]


def _strings(structs: list) -> list[str] | msgspec.UnsetType:
    return [m.encode(struct).decode() for struct in structs] or UNSET


class _ClassicGroup(Struct):
    id: int
    groupname: str
    groupdesc: str
    users: list[str]


def _classic_group(group: m.GroupItem) -> _ClassicGroup:
    users = _strings(group.users or []) or []
    return _ClassicGroup(group.id, group.groupname, group.groupdesc, users)

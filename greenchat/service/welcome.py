"""The answer to a login: who you are, what is yours, and what you missed."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Struct

from greenchat.errors import Busy
from greenchat.ports import LoginState
from greenchat.protocol import messages as m
from greenchat.protocol.framing import MAX_SERVER_FRAME
from greenchat.service.caller import Caller
from greenchat.service.conversations import of_group
from greenchat.service.pages import PAGE_BYTES, Item, next_page, raw
from greenchat.service.people import group_item, member_items, user_items, visibly_online

_MARGIN = 1_024
"""Bytes kept free for the rest of the frame."""


def welcome(caller: Caller, request: m.Login, state: LoginState, token: str) -> None:
    """Answer a login, then let the events follow that waited for it.  May switch."""
    assert caller.gate is not None
    caller.know_groups(state.joined)
    caller.know_backlog(state.backlog, state.joined)
    _owe_of_unknown_memberships(caller, state.joined)
    if caller.peer.classic:
        _welcome_classic(caller, request, state)
    else:
        _welcome(caller, request, state, token)


def _owe_of_unknown_memberships(caller: Caller, groups: dict[int, int]) -> None:
    """Have the log read on for groups of which this node does not know yet that the user has joined.

    What was committed after the login was read may have been handed out without it.
    """
    memberships = caller.service.memberships
    for groupid, joined in groups.items():
        if memberships.forget_unless(caller.id, groupid, joined):
            caller.owe(of_group(groupid), joined)


def _welcome(caller: Caller, request: m.Login, state: LoginState, token: str) -> None:
    ack = _ack(caller, state, token)
    room = MAX_SERVER_FRAME - len(m.encode(ack)) - _MARGIN
    items = next_page(caller, room=min(PAGE_BYTES, room))
    gate = caller.gate
    if gate is None:
        return  # replaced meanwhile
    ack.offlinemsg, ack.more = raw(items), gate.more
    caller.answer(request, ack)
    caller.open_gate()


def _ack(caller: Caller, state: LoginState, token: str) -> m.LoginAck:
    service = caller.service
    friends, groups = _items(caller, state, MAX_SERVER_FRAME - PAGE_BYTES - _MARGIN)
    return m.LoginAck(
        id=UNSET if caller.user is None else caller.user,
        name=caller.name,
        token=token,
        heartbeat=service.heartbeat,
        server=service.node.name,
        friends=friends,
        groups=groups,
        offlinemsg=[],
        more=False,
    )


def _items(caller: Caller, state: LoginState, room: int) -> tuple[list[m.UserItem], list[m.GroupItem]]:
    """Return friends and groups; without who is in the groups if that does not fit into so many bytes."""
    everybody = {user.id for user in state.friends}
    for members in state.members.values():
        everybody.update(member.id for member in members)
    online = visibly_online(caller, everybody)
    groups = [group_item(group) for group in state.groups]
    for group in groups:
        if group.id in state.members:
            group.users = member_items(state.members[group.id], online)
    friends = user_items(state.friends, online)
    if len(m.encode(friends)) + len(m.encode(groups)) > room:
        for group in groups:
            group.users = UNSET
    return friends, groups


# -- The original's clients

_GROWTH = 2
"""What JSON grows by, about, when it becomes a string inside JSON."""


def _welcome_classic(caller: Caller, request: m.Login, state: LoginState) -> None:
    """Answer with strings of JSON inside, then send the pages after the first as live messages."""
    friends, groups = _items(caller, state, MAX_SERVER_FRAME // _GROWTH**2)
    items = next_page(caller, room=PAGE_BYTES // _GROWTH)
    if caller.user is None:
        return
    ack = m.ClassicLoginAck(
        id=caller.user,
        name=caller.name,
        friends=_strings(friends),
        groups=_strings([_classic_group(group) for group in groups]),
        offlinemsg=[item.frame.decode() for item in _shown(items)] or UNSET,
    )
    caller.answer(request, ack)
    try:
        _send_the_rest(caller, items)
    except Busy:
        caller.peer.close("evicted")  # it is logged in, and can be told so only once


def _send_the_rest(caller: Caller, items: list[Item]) -> None:
    for conversation, seq in {item.entry.conversation: item.entry.seq for item in items}.items():
        caller.count_as_received_once_written(conversation, seq)
    while caller.gate is not None and caller.gate.more:
        for entry, frame in next_page(caller):
            caller.send_entry(entry.conversation, entry.seq, frame)
        if not caller.peer.drain():
            return
    if caller.gate is not None:
        caller.open_gate()


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

"""The answer to a login: who you are, what is yours, and what you missed."""

from __future__ import annotations

from functools import partial

from msgspec import UNSET

from greenchat.model.conversations import of_group
from greenchat.model.records import LoginState
from greenchat.protocol import messages as m
from greenchat.protocol.classic import ClassicWire
from greenchat.protocol.lines import MAX_SERVER_FRAME
from greenchat.protocol.native import encode
from greenchat.service.device.caller import Caller
from greenchat.service.device.catch_up import PAGE_BYTES, Item, fitting, next_page, raw
from greenchat.service.requests.profiles import group_item, member_items, user_items, visibly_online

PRESENCE = b'{"msgid":23,'
"""The beginning of each frame that tells of a friend's state."""

_MARGIN = 1_024
"""Bytes kept free for the rest of the frame."""


def welcome(caller: Caller, request: m.Login, state: LoginState, token: str) -> None:
    """Answer a login, then let the events follow that waited for it.  May switch."""
    assert caller.gate is not None
    caller.know_groups(state.joined)
    caller.know_backlog(state.backlog, state.joined)
    _owe_of_unknown_memberships(caller, state.joined)
    wire = caller.wire
    if wire is not None:
        _welcome_classic(caller, wire, request, state)
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
    room = MAX_SERVER_FRAME - len(encode(ack)) - _MARGIN
    items = next_page(caller, fit=partial(fitting, room=min(PAGE_BYTES, room)))
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
    online = visibly_online(caller, everybody, as_friends=True)
    if caller.gate is not None:
        # Told before the states were read: they would follow the answer, and speak against it.
        caller.gate.drop_held(PRESENCE)
    groups = [group_item(group) for group in state.groups]
    for group in groups:
        if group.id in state.members:
            group.users = member_items(state.members[group.id], online)
    friends = user_items(state.friends, online)
    if len(encode(friends)) + len(encode(groups)) > room:
        for group in groups:
            group.users = UNSET
    return friends, groups


# -- The original clients


def _welcome_classic(caller: Caller, wire: ClassicWire, request: m.Login, state: LoginState) -> None:
    """Answer with what fits a frame; what is missed besides follows as live messages, at the peer's pace."""
    friends, groups = _items(caller, state, MAX_SERVER_FRAME)
    answers = [wire.login_ack(caller.id, caller.name, friends, groups, [], request.cid)]

    def fit(items: list[Item]) -> list[Item]:
        """Put the first items into the answer and return how many it holds, with those that are not shown."""
        shown = [item for item in items if item.entry.kind != "recall"]
        frames = [item.frame for item in shown]
        answers.append(wire.login_ack(caller.id, caller.name, friends, groups, frames, request.cid))
        if answers[-1].shown == len(shown):
            return items
        return items[: items.index(shown[answers[-1].shown])]

    items = next_page(caller, fit=fit)
    if caller.user is None:
        return
    frame, _, left_out = answers[-1]
    caller.peer.send(frame)
    for conversation, seq in {item.entry.conversation: item.entry.seq for item in items}.items():
        caller.count_as_received_once_written(conversation, seq)
    if left_out:
        for part in wire.notice(caller.id, caller.name, left_out, caller.service.now()):
            caller.peer.send(part)
    caller.open_gate()
    caller.owe_backlog()

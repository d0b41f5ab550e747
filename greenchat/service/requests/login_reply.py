"""The answer to a login: who you are, what is yours, and what you missed."""

from __future__ import annotations

from msgspec import UNSET

from greenchat.model.conversations import of_group
from greenchat.model.records import LoginState
from greenchat.protocol import messages as m
from greenchat.service.device.caller import Caller
from greenchat.service.device.catch_up import next_page
from greenchat.service.requests.profiles import group_item, member_items, user_items, visibly_online


def welcome(caller: Caller, request: m.Login, state: LoginState, token: str) -> None:
    """Answer a login, then let the events follow that waited for it.  May switch."""
    assert caller.gate is not None
    caller.know_groups(state.joined)
    caller.know_backlog(state.backlog, state.joined)
    _owe_of_unknown_memberships(caller, state.joined)
    _answer(caller, request, state, token)


def _owe_of_unknown_memberships(caller: Caller, groups: dict[int, int]) -> None:
    """Have the log read on for groups of which this node does not know yet that the user has joined.

    What was committed after the login was read may have been handed out without it.
    """
    memberships = caller.service.memberships
    for groupid, joined in groups.items():
        if memberships.forget_unless(caller.id, groupid, joined):
            caller.owe(of_group(groupid), joined)


def _answer(caller: Caller, request: m.Login, state: LoginState, token: str) -> None:
    ack, wire = _ack(caller, state, token), caller.wire
    page = next_page(caller, fit=wire.login_room(request, ack))
    gate = caller.gate
    if gate is None:
        return  # replaced meanwhile
    ack.offlinemsg, ack.more = page, gate.more
    caller.answer(request, ack)
    if not wire.confirms:
        for conversation, seq in {each.entry.conversation: each.entry.seq for each in page}.items():
            caller.count_as_received_once_written(conversation, seq)
    caller.open_gate()
    if not wire.pages:
        caller.owe_backlog()


def _ack(caller: Caller, state: LoginState, token: str) -> m.LoginAck:
    """Return the answer, with no messages yet."""
    service = caller.service
    friends, groups = _items(caller, state)
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


def _items(caller: Caller, state: LoginState) -> tuple[list[m.UserItem], list[m.GroupItem]]:
    """Return friends and groups, the small ones with their members."""
    everybody = {user.id for user in state.friends}
    for members in state.members.values():
        everybody.update(member.id for member in members)
    online = visibly_online(caller, everybody, as_friends=True)
    if caller.gate is not None:
        # Told before the states were read: they would follow the answer, and speak against it.
        caller.gate.drop_held(m.PresencePush)
    groups = [group_item(group) for group in state.groups]
    for group in groups:
        if group.id in state.members:
            group.users = member_items(state.members[group.id], online)
    return user_items(state.friends, online), groups

"""The answer to a login: account, friends, groups, and the first page of the backlogs."""

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
    caller.stream.note_joined(state.joined)
    caller.stream.login_read(state.backlog, state.joined)
    _catch_up_on_unknown_memberships(caller, state.joined)
    _answer(caller, request, state, token)


def _catch_up_on_unknown_memberships(caller: Caller, groups: dict[int, int]) -> None:
    """Have the server send the groups of which this node does not know yet that the user has joined.

    Entries that were committed after the login was read may have been handed out without the user.
    """
    memberships = caller.service.memberships
    for groupid, joined in groups.items():
        if memberships.forget_unless(caller.id, groupid, joined):
            caller.stream.send_after(of_group(groupid), joined)


def _answer(caller: Caller, request: m.Login, state: LoginState, token: str) -> None:
    ack, wire, stream = _ack(caller, request, state, token), caller.wire, caller.stream
    page = next_page(caller, fit=wire.login_room(request, ack))
    if stream.is_over:
        return  # replaced meanwhile
    ack.offlinemsg, ack.more = page, bool(stream.paging())
    caller.answer(request, ack)
    if not wire.confirms:
        for conversation, seq in {each.entry.conversation: each.entry.seq for each in page}.items():
            caller.count_as_received_once_written(conversation, seq)
    stream.login_answered()
    if not wire.pages:
        stream.send_all()


def _ack(caller: Caller, request: m.Login, state: LoginState, token: str) -> m.LoginAck:
    """Return the answer, with no messages yet."""
    service = caller.service
    friends, groups = _items(caller, state)
    ack = m.LoginAck(
        id=UNSET if caller.user is None else caller.user,
        name=caller.name,
        token=token if caller.cookie is None else UNSET,
        heartbeat=service.heartbeat,
        server=service.node.name,
        friends=friends,
        groups=groups,
        offlinemsg=[],
        more=False,
    )
    if request.edition > 1:  # the first edition's answer has no byte more
        ack.edition = m.EDITION
        ack.limits = m.LimitsItem(service.limits.max_message, service.limits.recall_seconds)
    return ack


def _items(caller: Caller, state: LoginState) -> tuple[list[m.UserItem], list[m.GroupItem]]:
    """Return friends and groups, the small ones with their members."""
    everybody = {user.id for user in state.friends}
    for members in state.members.values():
        everybody.update(member.id for member in members)
    online = visibly_online(caller, everybody, as_friends=True)
    # Told before the states were read: they would follow the answer, and speak against it.
    caller.stream.drop_pushes(m.PresencePush)
    groups = [group_item(group) for group in state.groups]
    for group in groups:
        if group.id in state.members:
            group.users = member_items(state.members[group.id], online)
    return user_items(state.friends, online), groups

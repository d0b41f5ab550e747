"""Groups: create, join, leave, look into."""

from __future__ import annotations

from functools import partial

from greenchat.errors import BadRequest, GroupNameTaken
from greenchat.model.records import SMALL_GROUP, Member
from greenchat.protocol import messages as m
from greenchat.service.delivery.announce import announce
from greenchat.service.delivery.node_events import Joined, Left
from greenchat.service.device.caller import Caller
from greenchat.service.doubt import doubting, recently
from greenchat.service.requests.names import new_name
from greenchat.service.requests.permissions import joined_seq
from greenchat.service.requests.profiles import group_item, member_items, visibly_online
from greenchat.service.requests.validation import check_length
from greenchat.service.service import Service

DEFAULT_MEMBERS = 100
MAX_MEMBERS = 500


def create_group(caller: Caller, request: m.CreateGroup) -> m.Reply:
    """Create a group; the caller is its creator and first member."""
    service, userid = caller.service, caller.id
    name = new_name("groupname", request.groupname, service.limits.max_groupname)
    check_length("groupdesc", request.groupdesc, 0, service.limits.max_groupdesc)
    try:
        groupid = service.store.create_group(userid, name, request.groupdesc, service.now())
    except GroupNameTaken:
        # The answer to the caller's own request may have been lost.
        made = service.store.new_group(userid, name, request.groupdesc, recently(service))
        if made is None:
            raise
        groupid = made
    for session in service.hub.of(userid):
        session.stream.note_joined({groupid: 0})
    return m.CreatedAck(groupid=groupid)


def add_group(caller: Caller, request: m.AddGroup) -> m.Reply:
    """Join a group; its messages come from now on, to all of the user's sessions."""
    service, userid, groupid = caller.service, caller.id, request.groupid
    join(service, userid, groupid)
    group = group_item(service.store.group(userid, id=groupid))
    if group.count <= SMALL_GROUP:
        group.users = _members(caller, service.store.members(groupid, 0, SMALL_GROUP))
    return m.JoinedAck(group=group)


def join(service: Service, userid: int, groupid: int) -> None:
    """Make a user a member of a group, and have its messages sent to all of the user's sessions.  May switch.

    Raises:
        NoSuchGroup
        NotAllowed: there are too many groups, or members.
        Busy: the database is away.
    """
    with doubting(service, partial(_forget, service, userid, groupid)):
        joined, is_new = service.store.join_group(userid, groupid, service.now())
    # Also if it is not new but not known here: perhaps the answer of the database was lost when it was.
    if is_new or service.memberships.load(groupid).get(userid) != joined:
        service.memberships.joined(userid, groupid, joined)
        announce(service.bus, Joined(userid, groupid, joined))
        service.recovery.check_user_soon(userid)


def leave_group(caller: Caller, request: m.LeaveGroup) -> m.Reply:
    """Leave a group."""
    service, userid, groupid = caller.service, caller.id, request.groupid
    with doubting(service, partial(_forget, service, userid, groupid)):
        service.store.leave_group(userid, groupid)
    _left(service, userid, groupid)
    return m.Ack()


def _left(service: Service, userid: int, groupid: int) -> None:
    service.memberships.left(userid, groupid)
    announce(service.bus, Left(userid, groupid))


def _forget(service: Service, userid: int, groupid: int) -> None:
    """Have all nodes read again whether a user is in a group, and send the missing entries if so."""
    service.memberships.forget(groupid)
    _left(service, userid, groupid)
    service.recovery.check_user_soon(userid)


def group_info(caller: Caller, request: m.GroupInfo) -> m.Reply:
    """Return a group and a page of its members."""
    limit = request.limit or DEFAULT_MEMBERS
    if limit > MAX_MEMBERS:
        raise BadRequest(f"limit: at most {MAX_MEMBERS}")
    service, userid = caller.service, caller.id
    joined_seq(caller, request.groupid)
    group = service.store.group(userid, id=request.groupid)
    members = service.store.members(request.groupid, request.after, limit + 1)
    users = _members(caller, members[:limit])
    return m.GroupInfoAck(group=group_item(group), users=users, more=len(members) > limit)


def _members(caller: Caller, members: list[Member]) -> list[m.MemberItem]:
    return member_items(members, visibly_online(caller, [member.id for member in members]))

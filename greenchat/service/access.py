"""Who may see and do what in a conversation."""

from __future__ import annotations

from greenchat.errors import NotAMember
from greenchat.ports import Membership
from greenchat.protocol.messages import InConversation
from greenchat.service.caller import Caller
from greenchat.service.checks import exactly_one
from greenchat.service.conversations import of_group, of_pair


def member_of(caller: Caller, groupid: int) -> Membership:
    """Return who is in a group, if the caller's user is.  May switch.

    Raises:
        NoSuchGroup
        NotAMember
    """
    memberships = caller.service.memberships
    membership = memberships.load(groupid)
    if caller.user not in membership:
        membership = memberships.doubt(groupid)
    if caller.user not in membership:
        raise NotAMember
    return membership


def readable(caller: Caller, request: InConversation) -> tuple[int, int]:
    """Return the conversation of a request, and the seq after which the user may read.  May switch.

    Raises:
        BadRequest: it names no conversation, or two.
        NoSuchUser
        NoSuchGroup
        NotAMember
    """
    exactly_one(peerid=request.peerid, groupid=request.groupid)
    userid = caller.id
    if request.groupid is not None:
        return of_group(request.groupid), member_of(caller, request.groupid)[userid]
    assert request.peerid is not None
    caller.service.blocked.load((userid, request.peerid))  # NoSuchUser
    return of_pair(userid, request.peerid), 0

"""Who may see and do what in a conversation."""

from __future__ import annotations

from greenchat.errors import NoSuchUser
from greenchat.ports import Membership
from greenchat.protocol.messages import InConversation
from greenchat.service.caller import Caller
from greenchat.service.checks import exactly_one
from greenchat.service.conversations import of_group, of_pair


def member_of(caller: Caller, groupid: int) -> Membership:
    """Return the membership of a group if the caller's user is in it.  May switch.

    For requests that go to all members; the others ask ``joined_seq``, which reads at most one row.

    Raises:
        NoSuchGroup
        NotAMember
    """
    return caller.service.memberships.of_member(caller.id, groupid)


def joined_seq(caller: Caller, groupid: int) -> int:
    """Return the last seq of a group before the caller's user joined it.  May switch.

    Raises:
        NoSuchGroup
        NotAMember
    """
    return caller.service.memberships.joined_seq(caller.id, groupid)


def readable(caller: Caller, request: InConversation) -> tuple[int, int]:
    """Return the conversation of a request, and the seq after which the user may read.  May switch.

    Raises:
        BadRequest: it names no conversation, or two.
        NoSuchUser: there is none, and never was.
        NoSuchGroup
        NotAMember
    """
    exactly_one(peerid=request.peerid, groupid=request.groupid)
    userid = caller.id
    if request.groupid is not None:
        return of_group(request.groupid), joined_seq(caller, request.groupid)
    assert request.peerid is not None
    conversation = of_pair(userid, request.peerid)
    try:
        caller.service.blocked.load((userid, request.peerid))
    except NoSuchUser:
        # An operator may have deleted the user: what they wrote stays, and can be acknowledged.
        if not caller.service.store.head(conversation):
            raise
    return conversation, 0

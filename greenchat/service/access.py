"""Who may see and do what in a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenchat.errors import NotAMember
from greenchat.ports import Membership
from greenchat.protocol.messages import InConversation
from greenchat.service.conversations import exactly_one, of_group, of_pair

if TYPE_CHECKING:
    from greenchat.service.session import Session


def member_of(session: Session, groupid: int) -> Membership:
    """Return who is in a group, if the session's user is.  May switch.

    Raises:
        NoSuchGroup
        NotAMember
    """
    membership = session.service.memberships.load(groupid)
    if session.user not in membership:
        raise NotAMember
    return membership


def readable(session: Session, request: InConversation) -> tuple[int, int]:
    """Return the conversation of a request, and the seq after which the user may read.  May switch.

    Raises:
        BadRequest: it names no conversation, or two.
        NoSuchUser
        NoSuchGroup
        NotAMember
    """
    exactly_one(peerid=request.peerid, groupid=request.groupid)
    userid = session.caller
    if request.groupid is not None:
        return of_group(request.groupid), member_of(session, request.groupid)[userid]
    assert request.peerid is not None
    session.service.blocked.load((userid, request.peerid))  # NoSuchUser
    return of_pair(userid, request.peerid), 0

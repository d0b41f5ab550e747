"""Permissions in a conversation: to read, to write, to see its members (docs/authorisation.md)."""

from __future__ import annotations

from greenchat.errors import NoSuchUser
from greenchat.model.conversations import of_group, of_pair
from greenchat.model.records import Contact, Membership
from greenchat.protocol.messages import InConversation
from greenchat.service.device.caller import Caller
from greenchat.service.requests.validation import exactly_one


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


def conversation_of(caller: Caller, request: InConversation) -> int:
    """Return the conversation of a request.

    Raises:
        BadRequest: it names none, or two.
    """
    exactly_one(peerid=request.peerid, groupid=request.groupid)
    if request.groupid is not None:
        return of_group(request.groupid)
    assert request.peerid is not None
    return of_pair(caller.id, request.peerid)


def readable(caller: Caller, request: InConversation) -> tuple[int, int]:
    """Return the conversation of a request, and the seq after which the user may read.  May switch.

    Raises:
        BadRequest: it names no conversation, or two.
        NoSuchUser: there is none, and never was.
        NoSuchGroup
        NotAMember
    """
    conversation = conversation_of(caller, request)
    if request.groupid is not None:
        return conversation, joined_seq(caller, request.groupid)
    assert request.peerid is not None
    contact = caller.service.contacts.load((caller.id, request.peerid))
    # An operator may have deleted the user: their entries stay, and can be acknowledged.
    if contact is Contact.NO_RECEIVER and not caller.service.store.head(conversation):
        raise NoSuchUser
    return conversation, 0

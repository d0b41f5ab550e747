"""Friends (one-sided), blocking, and finding people and groups."""

from __future__ import annotations

from functools import partial

from greenchat.errors import NotAllowed, TooLarge
from greenchat.model.records import User
from greenchat.protocol import messages as m
from greenchat.service.delivery.announce import announce
from greenchat.service.delivery.node_events import BlockChanged
from greenchat.service.device.caller import Caller
from greenchat.service.doubt import doubting
from greenchat.service.requests.profiles import user_items, visibly_online
from greenchat.service.requests.validation import clean_name, exactly_one
from greenchat.service.service import Service

MAX_IDS = 1000
"""Ids in one ARE_FRIENDS (docs/protocol.md)."""


def add_friend(caller: Caller, request: m.AddFriend) -> m.Reply:
    """Add a friend of the caller's user, and show the friend's state from now on."""
    service, userid = caller.service, caller.id
    if request.friendid == userid:
        raise NotAllowed("friendid: you cannot be your own friend")
    with doubting(service, partial(service.friends.forget_friends, userid)):
        friend = service.store.add_friend(userid, request.friendid, service.now())
    service.friends.forget_friends(userid)
    return m.FriendAck(friend=_seen_by(caller, friend, as_friend=True))


def remove_friend(caller: Caller, request: m.RemoveFriend) -> m.Reply:
    """Undo ``add_friend``."""
    service, userid = caller.service, caller.id
    with doubting(service, partial(service.friends.forget_friends, userid)):
        service.store.remove_friend(userid, request.friendid)
    service.friends.forget_friends(userid)
    return m.Ack()


def are_friends(caller: Caller, request: m.AreFriends) -> m.Reply:
    """Return which of some users are the caller's friends."""
    if len(request.ids) > MAX_IDS:
        raise TooLarge(f"ids: at most {MAX_IDS}, these are {len(request.ids)}")
    service, userid = caller.service, caller.id
    friends = service.friends.are_friends(
        userid, request.ids, lambda: [friend.id for friend in service.store.friends(userid)]
    )
    return m.AreFriendsAck(ids=[other for other in request.ids if other in friends])


def block(caller: Caller, request: m.Block) -> m.Reply:
    """Block a user: their messages are refused, and the caller appears offline to them."""
    service, userid, blockedid = caller.service, caller.id, request.userid
    if blockedid == userid:
        raise NotAllowed("userid: you cannot block yourself")
    with doubting(service, partial(_block_changed, service, blockedid, userid)):
        service.store.block(userid, blockedid)
    _block_changed(service, blockedid, userid)
    return m.Ack()


def unblock(caller: Caller, request: m.Unblock) -> m.Reply:
    """Undo ``block``."""
    service, userid, blockedid = caller.service, caller.id, request.userid
    with doubting(service, partial(_block_changed, service, blockedid, userid)):
        service.store.unblock(userid, blockedid)
    _block_changed(service, blockedid, userid)
    return m.Ack()


def find(caller: Caller, request: m.Find) -> m.Reply:
    """Look up a user or a group by its exact name."""
    service, userid = caller.service, caller.id
    exactly_one(name=request.name, groupname=request.groupname)
    if request.name is not None:
        user = service.store.user(name=clean_name("name", request.name, service.limits.max_name))
        return m.FoundAck(user=_seen_by(caller, user))
    assert request.groupname is not None
    name = clean_name("groupname", request.groupname, service.limits.max_groupname)
    group = service.store.group(userid, name=name)
    found = m.FoundGroup(id=group.id, groupname=group.name, groupdesc=group.desc, count=group.count)
    return m.FoundAck(group=found)


def _block_changed(service: Service, sender: int, receiver: int) -> None:
    """Drop the block from the caches of all nodes, and show the sender the receiver's state."""
    service.forget_block(sender, receiver)
    service.presence.block_changed(receiver, sender)
    announce(service.bus, BlockChanged(sender, receiver))


def _seen_by(caller: Caller, other: User, *, as_friend: bool = False) -> m.UserItem:
    return user_items([other], visibly_online(caller, [other.id], as_friends=as_friend))[0]

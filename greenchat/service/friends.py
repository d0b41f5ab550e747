"""Friends (one-sided), blocking, and finding people and groups."""

from __future__ import annotations

from greenchat.errors import NotAllowed, TooLarge
from greenchat.ports import User
from greenchat.protocol import messages as m
from greenchat.service.caller import Caller
from greenchat.service.conversations import exactly_one
from greenchat.service.people import user_items, visibly_online
from greenchat.service.presence import presence_event, state_of
from greenchat.service.texts import clean_name

MAX_IDS = 1000
"""Ids in one ARE_FRIENDS (docs/protocol.md)."""


def add_friend(caller: Caller, request: m.AddFriend) -> m.Reply:
    """Make a user a friend of the caller, who sees the friend's state from now on."""
    service, userid = caller.service, caller.id
    if request.friendid == userid:
        raise NotAllowed("friendid: you cannot be your own friend")
    friend = service.store.add_friend(userid, request.friendid, service.now())
    return m.FriendAck(re=m.MsgId.ADD_FRIEND, friend=_seen_by(caller, friend))


def remove_friend(caller: Caller, request: m.RemoveFriend) -> m.Reply:
    """Undo ``add_friend``."""
    caller.service.store.remove_friend(caller.id, request.friendid)
    return m.Ack(re=m.MsgId.REMOVE_FRIEND)


def are_friends(caller: Caller, request: m.AreFriends) -> m.Reply:
    """Return which of some users are the caller's friends."""
    if len(request.ids) > MAX_IDS:
        raise TooLarge(f"ids: at most {MAX_IDS}, these are {len(request.ids)}")
    friends = {friend.id for friend in caller.service.store.friends(caller.id)}
    return m.AreFriendsAck(
        re=m.MsgId.ARE_FRIENDS, ids=[userid for userid in request.ids if userid in friends]
    )


def block(caller: Caller, request: m.Block) -> m.Reply:
    """Take no messages from a user, to whom the caller is offline from now on."""
    service, userid, blockedid = caller.service, caller.id, request.userid
    if blockedid == userid:
        raise NotAllowed("userid: you cannot block yourself")
    followed = blockedid in service.store.followers(userid)
    service.store.block(userid, blockedid)
    service.blocked.forget((blockedid, userid))
    if followed:
        service.router.deliver([blockedid], presence_event(userid, "offline"))
    return m.Ack(re=m.MsgId.BLOCK)


def unblock(caller: Caller, request: m.Unblock) -> m.Reply:
    """Undo ``block``."""
    service, userid, blockedid = caller.service, caller.id, request.userid
    was_blocked = service.blocked.load((blockedid, userid))
    service.store.unblock(userid, blockedid)
    service.blocked.forget((blockedid, userid))
    if was_blocked and blockedid in service.store.followers(userid):
        state = state_of(userid, service.router.online([userid]))
        service.router.deliver([blockedid], presence_event(userid, state))
    return m.Ack(re=m.MsgId.UNBLOCK)


def find(caller: Caller, request: m.Find) -> m.Reply:
    """Look up a user or a group by its exact name."""
    service, userid = caller.service, caller.id
    exactly_one(name=request.name, groupname=request.groupname)
    if request.name is not None:
        user = service.store.user(name=clean_name("name", request.name, service.limits.max_name))
        return m.FoundAck(re=m.MsgId.FIND, user=_seen_by(caller, user))
    assert request.groupname is not None
    name = clean_name("groupname", request.groupname, service.limits.max_groupname)
    group = service.store.group(userid, name=name)
    found = m.FoundGroup(id=group.id, groupname=group.name, groupdesc=group.desc, count=group.count)
    return m.FoundAck(re=m.MsgId.FIND, group=found)


def _seen_by(caller: Caller, other: User) -> m.UserItem:
    return user_items([other], visibly_online(caller, [other.id]))[0]

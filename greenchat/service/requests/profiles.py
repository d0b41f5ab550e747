"""Users and groups as other people see them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from greenchat.model.records import Group, Member, User
from greenchat.protocol.messages import GroupItem, MemberItem, UserItem
from greenchat.service.device.caller import Caller
from greenchat.service.presence import state_of


def visibly_online(caller: Caller, users: Collection[int], *, as_friends: bool = False) -> set[int]:
    """Return the users that the caller's user sees online: not the users that block the caller.  May switch.

    The caller MUST be told without a switch in between: PRESENCE tells of every change after that.

    Args:
        caller: asks.
        users: are to be shown.
        as_friends: the friends among them are shown as such.
    """
    service, userid = caller.service, caller.user
    if userid is None or not users:
        return set()
    blockers = service.blockers.load(userid)
    if caller.user != userid:
        return set()  # gone meanwhile: nobody is told, and the user's other clients may know otherwise
    return service.presence.online(users, blockers, userid, as_friends)


def user_items(users: Iterable[User], online: set[int]) -> list[UserItem]:
    """Return users with their states, given the users that count as online."""
    return [UserItem(user.id, user.name, state_of(user.id, online)) for user in users]


def member_items(members: Iterable[Member], online: set[int]) -> list[MemberItem]:
    """Return members with their states, given the users that count as online."""
    return [
        MemberItem(member.id, member.name, state_of(member.id, online), member.role) for member in members
    ]


def group_item(group: Group) -> GroupItem:
    """Return a group, without its members."""
    return GroupItem(
        id=group.id, groupname=group.name, groupdesc=group.desc, count=group.count, role=group.role
    )


def friends_and_groups(caller: Caller) -> tuple[list[UserItem], list[GroupItem]]:
    """Return the friends and groups of the caller's user as LOGIN_ACK shows them, without members.

    May switch.

    Raises:
        Busy: the database is away.
    """
    store, userid = caller.service.store, caller.id
    groups = [group_item(group) for group in store.groups(userid)]
    friends = store.friends(userid)
    online = visibly_online(caller, [friend.id for friend in friends])
    return user_items(friends, online), groups

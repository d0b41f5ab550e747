"""Friends and blocks: the SQL of it."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, delete, exists, func, select

from greenchat.data.engine.query import KeysQuery, Query
from greenchat.data.engine.statements import Statements
from greenchat.data.queries.accounts import user
from greenchat.data.queries.permission import shut_out_of_pair
from greenchat.data.schema import Block, Device, Friend, User, insert_new
from greenchat.errors import NotAllowed
from greenchat.model import records

_PAIR = (Friend.c.userid == bindparam("u"), Friend.c.friendid == bindparam("f"))
_IS_FRIEND = select(Friend.c.userid).where(*_PAIR)
_COUNT = select(func.count()).select_from(Friend).where(Friend.c.userid == bindparam("u"))
_ADD = insert_new(Friend)
_REMOVE = delete(Friend).where(*_PAIR)
FRIENDS = (
    select(User.c.id, User.c.name)
    .join_from(Friend, User, User.c.id == Friend.c.friendid)
    .where(Friend.c.userid == bindparam("u"))
    .order_by(User.c.id)
)
_FRIENDS = Query(FRIENDS)
# By the devices and not by the users' state: a session counts as long as its device's row names its node.
_IS_HERE = exists().where(Device.c.userid == Friend.c.userid, Device.c.node == bindparam("n"))
_FOLLOWERS = KeysQuery(
    lambda users: (
        select(Friend.c.friendid, Friend.c.userid, Block.c.userid.is_not(None))
        .outerjoin_from(
            Friend, Block, (Block.c.userid == Friend.c.friendid) & (Block.c.blockedid == Friend.c.userid)
        )
        .where(_IS_HERE, Friend.c.friendid.in_(users))
    )
)
# By the users: a look at all blocks for those of a node takes as long as there are blocks.
_BLOCKED_FRIENDS = KeysQuery(
    lambda users: (
        select(Friend.c.friendid, Friend.c.userid)
        .join_from(
            Block, Friend, (Block.c.userid == Friend.c.friendid) & (Block.c.blockedid == Friend.c.userid)
        )
        .where(Block.c.blockedid.in_(users))
    )
)
_BLOCK = insert_new(Block)
_UNBLOCK = delete(Block).where(Block.c.userid == bindparam("u"), Block.c.blockedid == bindparam("b"))
_BLOCKERS = Query(select(Block.c.userid).where(Block.c.blockedid == bindparam("u")))
_IS_BLOCKED = Query(
    select(
        exists().where(Block.c.userid == bindparam("receiver"), Block.c.blockedid == bindparam("sender"))
    ).where(User.c.id == bindparam("receiver"))
)


def add_friend(db: Connection, limit: int, userid: int, friendid: int, now: str) -> records.User:
    """Make ``friendid`` a friend of ``userid``, of at most ``limit``, and return the friend."""
    friend = user(db, friendid)
    pair = {"u": userid, "f": friendid}
    if db.scalar(_IS_FRIEND, pair) is None:
        if db.execute(_COUNT, {"u": userid}).scalar_one() >= limit:
            raise NotAllowed(f"a user may have {limit} friends")
        db.execute(_ADD, {"userid": userid, "friendid": friendid, "created": now})
    return friend


def remove_friend(db: Connection, userid: int, friendid: int) -> None:
    """Undo ``add_friend``."""
    db.execute(_REMOVE, {"u": userid, "f": friendid})


def friends(db: Connection, userid: int) -> list[records.User]:
    """Return the user's friends, by id."""
    return [records.User(*row) for row in _FRIENDS.run(db, u=userid)]


def followers(db: Connection, users: Collection[int], node: str) -> list[records.Follower]:
    """Return the followers of some users that are marked online at a node."""
    found = _FOLLOWERS.run(db, list(users), n=node)
    return [records.Follower(friendid, userid, bool(is_blocked)) for friendid, userid, is_blocked in found]


def blocked_friends(db: Connection, users: Collection[int]) -> list[tuple[int, int]]:
    """Return the pairs (friend, user) in which a friend has blocked one of some users."""
    return [(friendid, userid) for friendid, userid in _BLOCKED_FRIENDS.run(db, list(users))]


def block(db: Connection, sql: Statements, userid: int, blockedid: int) -> None:
    """Keep ``blockedid`` from writing to ``userid``."""
    user(db, blockedid)
    shut_out_of_pair(db, sql, userid, blockedid)
    db.execute(_BLOCK, {"userid": userid, "blockedid": blockedid})


def unblock(db: Connection, userid: int, blockedid: int) -> None:
    """Undo ``block``."""
    db.execute(_UNBLOCK, {"u": userid, "b": blockedid})


def blockers(db: Connection, userid: int) -> set[int]:
    """Return the users that have blocked the user."""
    return {blocker for (blocker,) in _BLOCKERS.run(db, u=userid)}


def contact(db: Connection, sender: int, receiver: int) -> records.Contact:
    """Return the permission of a sender to write to a receiver."""
    found = _IS_BLOCKED.run(db, sender=sender, receiver=receiver)
    if not found:
        return records.Contact.NO_RECEIVER
    return records.Contact.BLOCKED if found[0][0] else records.Contact.OPEN

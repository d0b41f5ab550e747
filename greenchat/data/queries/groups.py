"""The SQL of groups and their members."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from greenchat.data.engine.query import Query
from greenchat.data.engine.statements import Statements
from greenchat.data.queries.log import head
from greenchat.data.queries.permission import shut_out_of_group
from greenchat.data.schema import AllGroup, Cursor, GroupUser, User, insert_row
from greenchat.errors import GroupNameTaken, NoSuchGroup, NotAllowed, NotAMember
from greenchat.model import records
from greenchat.model.instants import later

TOLD_APART = 1_000
"""Members of a group up to which the instants of joinings between the same two messages keep their order,
whatever the clocks say.  All members are read for it; of more, anybody could have them read at will."""

_PLACE = (GroupUser.c.groupid == bindparam("g"), GroupUser.c.userid == bindparam("u"))
_ADD_GROUP = insert(AllGroup)
_ADD_MEMBER = insert(GroupUser)
# Changes of a membership wait for the group's row, where writers run in parallel.
_LOCK = select(AllGroup.c.size).where(AllGroup.c.id == bindparam("g")).with_for_update()
_EXISTS = select(AllGroup.c.id).where(AllGroup.c.id == bindparam("g"))
_COUNT_GROUPS = select(func.count()).select_from(GroupUser).where(GroupUser.c.userid == bindparam("u"))
_MY_PLACE = select(GroupUser.c.grouprole, GroupUser.c.joined_seq).where(*_PLACE)
_ANY_MEMBER = select(GroupUser.c.userid).where(GroupUser.c.groupid == bindparam("g")).limit(1)
_LEAVE = delete(GroupUser).where(*_PLACE)
_FORGET_CURSORS = delete(Cursor).where(
    Cursor.c.userid == bindparam("u"), Cursor.c.conversation == bindparam("c")
)
# By the log first: a clock may have been put back.
_LONGEST = _ANY_MEMBER.order_by(GroupUser.c.joined_seq, GroupUser.c.joined, GroupUser.c.userid)
_LAST_JOINED = select(func.max(GroupUser.c.joined)).where(
    GroupUser.c.groupid == bindparam("g"), GroupUser.c.joined_seq == bindparam("s")
)
_PROMOTE = update(GroupUser).where(*_PLACE).values(grouprole="creator")
_RESIZE = (
    update(AllGroup).where(AllGroup.c.id == bindparam("g")).values(size=AllGroup.c.size + bindparam("by"))
)
_GROUP = select(AllGroup.c.id, AllGroup.c.groupname, AllGroup.c.groupdesc, AllGroup.c.size)
_MEMBERSHIP = select(GroupUser.c.userid, GroupUser.c.joined_seq).where(GroupUser.c.groupid == bindparam("g"))
_JOINED = Query(
    select(GroupUser.c.joined_seq)
    .join_from(
        AllGroup,
        GroupUser,
        (GroupUser.c.groupid == AllGroup.c.id) & (GroupUser.c.userid == bindparam("u")),
        isouter=True,
    )
    .where(AllGroup.c.id == bindparam("g"))
)
_NEW_GROUP = Query(
    select(AllGroup.c.id)
    .join_from(AllGroup, GroupUser, GroupUser.c.groupid == AllGroup.c.id)
    .where(
        AllGroup.c.groupname == bindparam("name"),
        AllGroup.c.groupdesc == bindparam("desc"),
        AllGroup.c.created >= bindparam("since"),
        AllGroup.c.size == 1,
        GroupUser.c.userid == bindparam("u"),
        GroupUser.c.grouprole == "creator",
        GroupUser.c.joined == AllGroup.c.created,
    )
)
_PAGE = (
    select(User.c.id, User.c.name, GroupUser.c.grouprole)
    .join_from(GroupUser, User, User.c.id == GroupUser.c.userid)
    .where(GroupUser.c.groupid == bindparam("g"), GroupUser.c.userid > bindparam("after"))
    .order_by(GroupUser.c.userid)
    .limit(bindparam("limit"))
)


_GROUPS_OF = Query(
    select(AllGroup.c.id, AllGroup.c.groupname, AllGroup.c.groupdesc, AllGroup.c.size, GroupUser.c.grouprole)
    .join_from(GroupUser, AllGroup, AllGroup.c.id == GroupUser.c.groupid)
    .where(GroupUser.c.userid == bindparam("u"))
    .order_by(AllGroup.c.id)
)


def create_group(db: Connection, limit: int, userid: int, name: str, desc: str, now: str) -> int:
    """Create a group with the user as its creator, and return its id; a user may be in ``limit`` groups."""
    try:
        groupid = insert_row(
            db, _ADD_GROUP, {"groupname": name, "groupdesc": desc, "size": 0, "created": now}
        )
    except IntegrityError:
        raise GroupNameTaken from None
    _check_room(db, limit, userid)  # behind the name: it may be the user's last group that is made again
    _add_member(db, groupid, userid, "creator", 0, now)
    return groupid


def new_group(db: Connection, userid: int, name: str, desc: str, since: str) -> int | None:
    """Return the group of this name if the user made it since an instant, and nobody else has joined it."""
    found = _NEW_GROUP.run(db, name=name, desc=desc, since=since, u=userid)
    return found[0][0] if found else None


def join_group(
    db: Connection, limit: int, max_members: int, userid: int, groupid: int, now: str
) -> records.Joining:
    """Make the user a member; a user may be in ``limit`` groups."""
    size = _lock(db, groupid)
    place = db.execute(_MY_PLACE, {"g": groupid, "u": userid}).first()
    if place is not None:
        return records.Joining(place.joined_seq, is_new=False)
    _check_room(db, limit, userid)
    if size >= max_members:
        raise NotAllowed(f"a group may have {max_members} members")
    role = "creator" if db.scalar(_ANY_MEMBER, {"g": groupid}) is None else "normal"
    joined = head(db, -groupid)
    if size <= TOLD_APART:
        now = later(now, db.scalar(_LAST_JOINED, {"g": groupid, "s": joined}) or "")
    _add_member(db, groupid, userid, role, joined, now)
    return records.Joining(joined, is_new=True)


def leave_group(db: Connection, sql: Statements, userid: int, groupid: int) -> None:
    """End a membership and its cursors; the longest-standing member takes over from a creator."""
    _lock(db, groupid)
    place = db.execute(_MY_PLACE, {"g": groupid, "u": userid}).first()
    if place is None:
        raise NotAMember
    shut_out_of_group(db, sql, groupid)
    db.execute(_LEAVE, {"g": groupid, "u": userid})
    db.execute(_RESIZE, {"g": groupid, "by": -1})
    db.execute(_FORGET_CURSORS, {"c": -groupid, "u": userid})
    # Only then: it sorts all members, and anybody may join and leave a large group again and again.
    heir = longest_standing(db, groupid) if place.grouprole == "creator" else None
    if heir is not None:
        db.execute(_PROMOTE, {"g": groupid, "u": heir})


def longest_standing(db: Connection, groupid: int) -> int | None:
    """Return the member that has been in a group for the longest time; None if it is empty."""
    userid: int | None = db.scalar(_LONGEST, {"g": groupid})
    return userid


def group(db: Connection, userid: int, id: int | None, name: str | None) -> records.Group:
    """Return the group with this id or exact name, or raise NoSuchGroup."""
    which = AllGroup.c.id == id if name is None else AllGroup.c.groupname == name
    row = db.execute(_GROUP.where(which)).first()
    if row is None:
        raise NoSuchGroup
    place = db.execute(_MY_PLACE, {"g": row.id, "u": userid}).first()
    groupid, groupname, desc, count = row
    return records.Group(groupid, groupname, desc, count, "normal" if place is None else place.grouprole)


def groups_of(db: Connection, userid: int) -> list[records.Group]:
    """Return the groups that a user is in, by id."""
    return [records.Group(*row) for row in _GROUPS_OF.run(db, u=userid)]


def membership(db: Connection, groupid: int) -> records.Membership:
    """Return the members of a group, or raise NoSuchGroup."""
    joined = {userid: joined_seq for userid, joined_seq in db.execute(_MEMBERSHIP, {"g": groupid})}
    if not joined and db.scalar(_EXISTS, {"g": groupid}) is None:
        raise NoSuchGroup
    return joined


def joined(db: Connection, userid: int, groupid: int) -> int | None:
    """Return the last seq before the user joined a group, None for no member, or raise NoSuchGroup."""
    rows = _JOINED.run(db, g=groupid, u=userid)
    if not rows:
        raise NoSuchGroup
    seq: int | None = rows[0][0]
    return seq


def members(db: Connection, groupid: int, after: int, limit: int) -> list[records.Member]:
    """Return up to ``limit`` members with ids above ``after``, by id."""
    page = db.execute(_PAGE, {"g": groupid, "after": after, "limit": limit})
    return [records.Member(*row) for row in page]


def _lock(db: Connection, groupid: int) -> int:
    """Have other changes of the membership wait, and return how many members there are."""
    size: int | None = db.scalar(_LOCK, {"g": groupid})
    if size is None:
        raise NoSuchGroup
    return size


def _check_room(db: Connection, limit: int, userid: int) -> None:
    if db.execute(_COUNT_GROUPS, {"u": userid}).scalar_one() >= limit:
        raise NotAllowed(f"a user may be in {limit} groups")


def _add_member(db: Connection, groupid: int, userid: int, role: str, joined_seq: int, now: str) -> None:
    place = {"groupid": groupid, "userid": userid, "grouprole": role, "joined_seq": joined_seq, "joined": now}
    db.execute(_ADD_MEMBER, place)
    db.execute(_RESIZE, {"g": groupid, "by": 1})

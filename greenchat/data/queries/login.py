"""The data for the answer to a login, by one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    select,
    union_all,
    update,
)

from greenchat.data.engine.query import Query
from greenchat.data.queries.friends import FRIENDS
from greenchat.data.schema import AllGroup, Conversation, Cursor, Device, GroupUser, User
from greenchat.model import records
from greenchat.model.conversations import PAIR

DEVICE, FRIEND, GROUP, MEMBER, SPAN = range(5)
"""The kinds of its rows."""

_WIDTH = 3
"""Numbers of a row, and texts: all rows have the same columns, or MySQL would make texts of numbers."""

_Columns = Sequence[ColumnElement[Any]]


def _rows(
    kind: int, of: Select[*tuple[Any, ...]], numbers: _Columns, texts: _Columns = ()
) -> Select[*tuple[Any, ...]]:
    """Return a selection with other columns: the kind, its numbers and its texts, both filled up."""
    return of.order_by(None).with_only_columns(
        literal_column(str(kind)),
        *numbers,
        *[literal_column("0")] * (_WIDTH - len(numbers)),
        *texts,
        *[literal_column("''")] * (_WIDTH - len(texts)),
    )


def _pairs(*which: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """Select the pairs' conversations with entries after the device's cursor."""
    cursor = func.coalesce(Cursor.c.delivered_seq, 0)
    of = (
        select(Conversation.c.id)
        .outerjoin_from(Conversation, Cursor, _cursor_of(Conversation.c.id))
        .where(*which, Conversation.c.last_seq != cursor)
    )
    return _rows(SPAN, of, [Conversation.c.id, cursor, Conversation.c.last_seq])


def _groups() -> Select[*tuple[Any, ...]]:
    """Select the same of the user's groups, without the entries before the joining."""
    cursor = func.coalesce(Cursor.c.delivered_seq, 0)
    start = case((cursor > GroupUser.c.joined_seq, cursor), else_=GroupUser.c.joined_seq)
    of = (
        select(Conversation.c.id)
        .join_from(GroupUser, Conversation, Conversation.c.id == -GroupUser.c.groupid)
        .outerjoin(Cursor, _cursor_of(Conversation.c.id))
        .where(GroupUser.c.userid == bindparam("u"), Conversation.c.last_seq != start)
    )
    return _rows(SPAN, of, [Conversation.c.id, start, Conversation.c.last_seq])


def _cursor_of(conversation: ColumnElement[int]) -> ColumnElement[bool]:
    mine = (Cursor.c.userid == bindparam("u")) & (Cursor.c.device == bindparam("d"))
    return mine & (Cursor.c.conversation == conversation)


_DEVICE = (
    select(User.c.id)
    .join_from(User, Device, Device.c.userid == User.c.id)
    .where(User.c.id == bindparam("u"), Device.c.device == bindparam("d"))
)
_MINE = GroupUser.alias()
_GROUPS = (
    select(AllGroup.c.id)
    .join_from(_MINE, AllGroup, AllGroup.c.id == _MINE.c.groupid)
    .where(_MINE.c.userid == bindparam("u"))
)
# An alias, as the statement around it has the table too.
_SMALL = AllGroup.alias()
_THEIRS = GroupUser.alias()
_SMALL_SIZES = (
    select(func.coalesce(func.sum(_SMALL.c.size), 0))
    .join_from(_THEIRS, _SMALL, _SMALL.c.id == _THEIRS.c.groupid)
    .where(_THEIRS.c.userid == bindparam("u"), _SMALL.c.size <= records.SMALL_GROUP)
    .scalar_subquery()
)
_MEMBERS = (
    _GROUPS.join(GroupUser, GroupUser.c.groupid == AllGroup.c.id)
    .join(User, User.c.id == GroupUser.c.userid)
    .where(AllGroup.c.size <= records.SMALL_GROUP, _SMALL_SIZES <= records.SHOWN_MEMBERS)
)
STATE = union_all(
    _rows(
        DEVICE,
        _DEVICE,
        [Device.c.generation],
        [User.c.password, func.coalesce(Device.c.node, ""), Device.c.last_login],
    ),
    _rows(FRIEND, FRIENDS, [User.c.id], [User.c.name]),
    _rows(
        GROUP,
        _GROUPS,
        [AllGroup.c.id, AllGroup.c.size, _MINE.c.joined_seq],
        [AllGroup.c.groupname, AllGroup.c.groupdesc, _MINE.c.grouprole],
    ),
    _rows(MEMBER, _MEMBERS, [GroupUser.c.groupid, User.c.id], [User.c.name, GroupUser.c.grouprole]),
    _pairs(Conversation.c.id >= bindparam("low"), Conversation.c.id < bindparam("high")),
    # A chat to oneself is in the range above already.
    _pairs(Conversation.c.higher == bindparam("u"), Conversation.c.id < bindparam("low")),
    _groups(),
)
_STATE = Query(STATE)
_DRAW_BACK = Query(
    update(Cursor)
    .where(
        Cursor.c.userid == bindparam("u"),
        Cursor.c.device == bindparam("d"),
        Cursor.c.conversation == bindparam("c"),
        Cursor.c.delivered_seq > bindparam("upto"),
    )
    .values(delivered_seq=bindparam("upto"))
)


def login_state(db: Connection, userid: int, device: str, here: str) -> records.LoginState | None:
    """Return the data for the answer to a login, all of one instant; None if the device is unknown.

    Args:
        db: the database.
        userid: the user.
        device: where.
        here: the asking node: ``before`` in the result is another one.
    """
    rows: list[list[Any]] = [[] for _ in range(SPAN + 1)]
    low = userid * PAIR
    row: list[Any]
    found = _STATE.run(db, u=userid, d=device, low=low, high=low + PAIR)
    for kind, *row in found:
        rows[kind].append(row)
    if not rows[DEVICE]:
        return None
    ((generation, _, _, password, node, last_login),) = rows[DEVICE]
    spans = [records.Span(*row[:3]) for row in rows[SPAN]]
    for conversation, after, upto in spans:
        if after > upto:  # the database was set back, and the numbers between are given out again
            _DRAW_BACK.run(db, u=userid, d=device, c=conversation, upto=upto)
    groups = [
        records.Group(id, name, desc, size, role) for id, size, _, name, desc, role in sorted(rows[GROUP])
    ]
    small = [group for group in groups if group.count <= records.SMALL_GROUP]
    members: dict[int, list[records.Member]] = {group.id: [] for group in small}
    if sum(group.count for group in small) > records.SHOWN_MEMBERS:
        members.clear()
    for groupid, member, _, name, role, _ in sorted(rows[MEMBER]):
        members[groupid].append(records.Member(member, name, role))
    return records.LoginState(
        password=password,
        generation=generation,
        friends=sorted([records.User(id, name) for id, _, _, name, _, _ in rows[FRIEND]]),
        groups=groups,
        joined={row[0]: row[2] for row in rows[GROUP]},
        members=members,
        backlog=[span for span in spans if span.after < span.upto],
        before=node if node not in ("", here) else None,
        since=last_login,
        rows=len(found) - 1,
    )

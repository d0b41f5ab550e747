"""Devices going online and offline: the SQL of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    tuple_,
    union,
    update,
)

from greenchat.data.engine.query import Query, pieces
from greenchat.data.queries.accounts import account
from greenchat.data.queries.login import login_state
from greenchat.data.schema import Conversation, Cursor, Device, GroupUser, User, insert_new
from greenchat.errors import AlreadyOnline, BadCredentials
from greenchat.model import records
from greenchat.model.conversations import PAIR
from greenchat.model.instants import later

GENERATION_BITS = 62
"""Of the first generation of a device's tokens; each end of its tokens adds one."""

_MINE = (Device.c.userid == bindparam("u"), Device.c.device == bindparam("d"))
_LAST_LOGIN = select(Device.c.last_login).where(*_MINE)
_DEVICES = (
    select(Device.c.device, Device.c.node)
    .where(Device.c.userid == bindparam("u"))
    .order_by(Device.c.last_login)
)
_ADD = insert_new(Device)
_TAKE = Query(
    update(Device)
    .where(*_MINE)
    .values(node=bindparam("n"), incarnation=bindparam("i"), last_login=bindparam("t"))
)
_COPY_CURSORS = insert(Cursor).from_select(
    ["userid", "device", "conversation", "delivered_seq"],
    select(
        Cursor.c.userid,
        bindparam("d", type_=Device.c.device.type),
        Cursor.c.conversation,
        func.max(Cursor.c.delivered_seq),
    )
    .where(Cursor.c.userid == bindparam("u"))
    .group_by(Cursor.c.userid, Cursor.c.conversation),
)
_FORGET = delete(Device).where(*_MINE)
_FORGET_CURSORS = delete(Cursor).where(Cursor.c.userid == bindparam("u"), Cursor.c.device == bindparam("d"))
_ONLINE = Query(
    update(User)
    .where(User.c.id == bindparam("u"))
    .values(state="online", node=bindparam("n"), last_seen=bindparam("t"))
)
_LOCK_USERS = (
    select(User.c.id)
    .where(User.c.id.in_(bindparam("users", expanding=True)))
    .order_by(User.c.id)
    .with_for_update()
)
_ANY_NODE = (
    select(func.max(Device.c.node)).where(Device.c.userid == User.c.id).correlate(User).scalar_subquery()
)
_PROJECT = update(User).values(
    state=case((_ANY_NODE.is_(None), "offline"), else_="online"), node=_ANY_NODE, last_seen=bindparam("t")
)
_PROJECT_USERS = _PROJECT.where(User.c.id.in_(bindparam("users", expanding=True)))
_AT_NODE = select(Device.c.userid, Device.c.device, Device.c.node, Device.c.incarnation).where(
    Device.c.node == bindparam("n"), Device.c.incarnation <= bindparam("i")
)
_NODES = (
    select(Device.c.node, func.max(Device.c.incarnation))
    .where(Device.c.node.is_not(None))
    .group_by(Device.c.node)
)
_THOSE = tuple_(Device.c.userid, Device.c.device).in_(bindparam("those", expanding=True))
_WHERE = select(Device.c.userid, Device.c.device, Device.c.node, Device.c.incarnation).where(_THOSE)
_CURSORS = select(Cursor.c.userid, Cursor.c.device, Cursor.c.delivered_seq).where(
    Cursor.c.conversation == bindparam("c"),
    tuple_(Cursor.c.userid, Cursor.c.device).in_(bindparam("those", expanding=True)),
)
_CLOSE = (
    update(Device)
    .where(
        tuple_(Device.c.userid, Device.c.device, Device.c.node, Device.c.incarnation).in_(
            bindparam("those", expanding=True)
        )
    )
    .values(node=None, incarnation=None)
)


def _lacking(*joins: Any) -> Select[Any]:
    """Select the conversations, found from devices by some joins, with entries after the cursor."""
    lacking = select(Conversation.c.id, Conversation.c.last_seq).select_from(Device)
    for table, on in joins:
        lacking = lacking.join(table, on)
    cursor = (Cursor.c.userid == Device.c.userid) & (Cursor.c.device == Device.c.device)
    return lacking.outerjoin(Cursor, cursor & (Cursor.c.conversation == Conversation.c.id)).where(
        _THOSE, Conversation.c.last_seq > func.coalesce(Cursor.c.delivered_seq, 0)
    )


_LOW = Device.c.userid * PAIR
_HEADS = union(
    _lacking((Conversation, (Conversation.c.id >= _LOW) & (Conversation.c.id < _LOW + PAIR))),
    _lacking((Conversation, Conversation.c.higher == Device.c.userid)),
    _lacking(
        (GroupUser, GroupUser.c.userid == Device.c.userid),
        (Conversation, Conversation.c.id == -GroupUser.c.groupid),
    ).where(Conversation.c.last_seq > GroupUser.c.joined_seq),
)


def open_device(
    db: Connection,
    max_devices: int,
    userid: int,
    device: str,
    node: records.Node,
    now: str,
    unless_elsewhere: bool,
    if_last: str | None,
) -> records.LoginState:
    """Mark a device of the user online and return the data for the answer to its login."""
    # The user's row first: changes of their devices wait for it, where writers run in parallel.
    _ONLINE.run(db, u=userid, n=node.name, t=now)
    state = login_state(db, userid, device, node.name)
    if state is None:
        _add(db, max_devices, userid, device, now)
        state = login_state(db, userid, device, node.name)
        if state is None:  # the user's row was deleted
            raise BadCredentials
    if (unless_elsewhere and state.before is not None) or if_last not in (None, state.since):
        raise AlreadyOnline
    # The order of the device's logins: later than the last one, whatever this node's clock says.
    since = later(now, state.since)
    _TAKE.run(db, u=userid, d=device, n=node.name, i=node.incarnation, t=since)
    return state._replace(since=since)


def remember(db: Connection, max_devices: int, userid: int, device: str, now: str) -> records.Account:
    """Return an account with the generation of a device's tokens, and add the device if it is new."""
    # The user's row first, as in ``open_device``.
    db.execute(_LOCK_USERS, {"users": [userid]}).all()
    found = account(db, userid, None, device)
    if found is not None and found.generation is None:
        _add(db, max_devices, userid, device, now)
        found = account(db, userid, None, device)
    if found is None:
        raise BadCredentials
    return found


def last_login(db: Connection, userid: int, device: str) -> str | None:
    """Return the instant of a device's last login; None if the device is not remembered."""
    return db.execute(_LAST_LOGIN, {"u": userid, "d": device}).scalar()


def _add(db: Connection, max_devices: int, userid: int, device: str, now: str) -> None:
    """Add a device that stands where the most advanced one does, and forget the longest unused."""
    remembered = db.execute(_DEVICES, {"u": userid}).all()
    # Marks that came after the device was forgotten.
    db.execute(_FORGET_CURSORS, {"u": userid, "d": device})
    # By chance, so that a device that was forgotten does not take its old tokens again.
    generation = secrets.randbits(GENERATION_BITS)
    db.execute(_ADD, {"userid": userid, "device": device, "generation": generation, "last_login": now})
    db.execute(_COPY_CURSORS, {"u": userid, "d": device})
    unused = [row.device for row in remembered if row.node is None]
    for name in unused[: max(0, len(remembered) + 1 - max_devices)]:
        db.execute(_FORGET, {"u": userid, "d": name})
        db.execute(_FORGET_CURSORS, {"u": userid, "d": name})


def close_devices(db: Connection, devices: Iterable[tuple[int, str, str, int]], now: str) -> None:
    """Mark devices offline, and each user with the last of theirs.

    Args:
        devices: userid, device, and the node and incarnation where it was online; one that is
            online elsewhere now stays so.
        now: becomes ``last_seen`` of the users.
    """
    for some in pieces(sorted(devices)):
        users = sorted({close[0] for close in some})
        db.execute(_LOCK_USERS, {"users": users}).all()
        db.execute(_CLOSE, {"those": some})
        db.execute(_PROJECT_USERS, {"users": users, "t": now})


def close_node(db: Connection, node: records.Node, now: str) -> None:
    """Mark the devices and users offline that a node left online, in this incarnation or an earlier one."""
    at_node = db.execute(_AT_NODE, {"n": node.name, "i": node.incarnation})
    close_devices(db, [tuple(row) for row in at_node], now)


def nodes(db: Connection) -> list[records.Node]:
    """Return the nodes that devices are marked online at, each in its newest incarnation."""
    return [records.Node(*row) for row in db.execute(_NODES)]


def check(db: Connection, devices: Sequence[tuple[int, str]], node: records.Node) -> records.DeviceCheck:
    """Return the devices that are not online at a node, and the entries that the others lack."""
    lost: dict[tuple[int, str], str | None] = dict.fromkeys(devices)
    heads: dict[int, int] = {}
    for some in pieces(devices):
        for userid, device, *where in db.execute(_WHERE, {"those": some}):
            if where == list(node):
                del lost[userid, device]
            else:
                lost[userid, device] = where[0]
        heads.update((row.id, row.last_seq) for row in db.execute(_HEADS, {"those": some}))
    return records.DeviceCheck(lost, heads)


def cursors(
    db: Connection, conversation: int, devices: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], int]:
    """Return the cursors of some devices in a conversation, as far as there are any."""
    found = {}
    for some in pieces(devices):
        rows = db.execute(_CURSORS, {"c": conversation, "those": some})
        found.update({(row.userid, row.device): row.delivered_seq for row in rows})
    return found

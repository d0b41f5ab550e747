"""Accounts, their tokens' generations, and settings: the SQL of it."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from greenchat.data.engine.query import Query
from greenchat.data.schema import Device, Setting, User, insert_new, insert_row
from greenchat.errors import BadCredentials, NameTaken, NoSuchUser
from greenchat.model import records

_ADD_SETTING = insert_new(Setting)
_SETTING = select(Setting.c.value).where(Setting.c.name == bindparam("name"))
_ADD_USER = insert(User)
_ACCOUNT = select(User.c.id, User.c.name, User.c.password, Device.c.generation).outerjoin_from(
    User, Device, (Device.c.userid == User.c.id) & (Device.c.device == bindparam("d"))
)
_ACCOUNT_BY_ID = Query(_ACCOUNT.where(User.c.id == bindparam("which")))
_ACCOUNT_BY_NAME = Query(_ACCOUNT.where(User.c.name == bindparam("which")))
_NEW_ACCOUNT = Query(
    _ACCOUNT.where(
        User.c.name == bindparam("which"), User.c.created >= bindparam("since"), User.c.last_seen.is_(None)
    )
)
_USER = select(User.c.id, User.c.name)
_USER_BY_ID = Query(_USER.where(User.c.id == bindparam("which")))
_USER_BY_NAME = Query(_USER.where(User.c.name == bindparam("which")))
_SET_PASSWORD = (
    update(User)
    .where(User.c.id == bindparam("u"), User.c.password == bindparam("old"))
    .values(password=bindparam("new"))
)
_GENERATION = select(Device.c.generation).where(
    Device.c.userid == bindparam("u"), Device.c.device == bindparam("d")
)
_END_ALL_TOKENS = (
    update(Device).where(Device.c.userid == bindparam("u")).values(generation=Device.c.generation + 1)
)
_END_TOKENS = _END_ALL_TOKENS.where(Device.c.device == bindparam("d"))
_LEAVE_OTHERS = (
    update(Device)
    .where(Device.c.userid == bindparam("u"), Device.c.device != bindparam("d"))
    .values(node=None, incarnation=None)
)


def setting(db: Connection, name: str, default: str) -> str:
    """Return a setting, first set to ``default`` if there is none."""
    db.execute(_ADD_SETTING, {"name": name, "value": default})
    value: str = db.execute(_SETTING, {"name": name}).scalar_one()
    return value


def create_user(db: Connection, name: str, password: str, now: str) -> int:
    """Add a user and return the id; NameTaken if somebody has the name."""
    try:
        return insert_row(db, _ADD_USER, {"name": name, "password": password, "created": now})
    except IntegrityError:
        raise NameTaken from None


def account(db: Connection, id: int | None, name: str | None, device: str) -> records.Account | None:
    """Return the account with this id or exact name, or None."""
    if name is None:
        found = _ACCOUNT_BY_ID.run(db, which=id, d=device)
    else:
        found = _ACCOUNT_BY_NAME.run(db, which=name, d=device)
    return records.Account(*found[0]) if found else None


def new_account(db: Connection, name: str, since: str) -> records.Account | None:
    """Return the account of this name if it was made since an instant, and nobody has logged in to it."""
    found = _NEW_ACCOUNT.run(db, which=name, since=since, d="")
    return records.Account(*found[0]) if found else None


def user(db: Connection, id: int | None, name: str | None = None) -> records.User:
    """Return the user with this id or exact name, or raise NoSuchUser."""
    found = _USER_BY_ID.run(db, which=id) if name is None else _USER_BY_NAME.run(db, which=name)
    if not found:
        raise NoSuchUser
    return records.User(*found[0])


def set_password(db: Connection, userid: int, old: str, new: str, device: str) -> int:
    """Set the password hash if it is ``old``, end all tokens and the other devices' being online.

    Returns the device's new generation.
    """
    if db.execute(_SET_PASSWORD, {"u": userid, "old": old, "new": new}).rowcount != 1:
        raise BadCredentials
    db.execute(_END_ALL_TOKENS, {"u": userid})
    db.execute(_LEAVE_OTHERS, {"u": userid, "d": device})
    generation: int = db.execute(_GENERATION, {"u": userid, "d": device}).scalar_one()
    return generation


def replace_hash(db: Connection, userid: int, old: str, new: str) -> None:
    """Keep another hash of the same password, if it is still ``old``."""
    db.execute(_SET_PASSWORD, {"u": userid, "old": old, "new": new})


def end_tokens(db: Connection, userid: int, device: str) -> None:
    """End the tokens of one device."""
    db.execute(_END_TOKENS, {"u": userid, "d": device})

"""Doing a change again whose COMMIT was not answered: what it found the first time counts if it was done.

Each function gets the connection and the result of the first time, and returns the result of the whole.  It
takes the same locks as the first time, and so waits until that transaction has ended, one way or the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from greenchat import ports
from greenchat.data import accounts, groups
from greenchat.errors import BadCredentials, Busy, GroupNameTaken, NameTaken, NoSuchGroup, NotAMember

T = TypeVar("T")

Call = Callable[[Connection], T]
"""The change, as it was made the first time."""

Again = Callable[[Call[T], Connection, T], T]
"""``again(call, connection, first)``: makes a change again, given the result of the first time."""


def same(call: Call[T], db: Connection, first: T) -> T:
    """Make a change that leaves everything as it is when it is made twice."""
    return call(db)


def never(call: Call[T], db: Connection, first: T) -> T:
    """Do not make it again."""
    raise Busy


def create_user(call: Call[int], db: Connection, first: int) -> int:
    """Return the id that was given the first time if it is there."""
    try:
        return call(db)
    except NameTaken:
        if accounts.account(db, first, None, "") is None:
            raise
        return first


def set_password(userid: int, new: str, device: str) -> Again[int]:
    """Return what takes the new hash, which is like no other, for a sign that it was set."""

    def again(call: Call[int], db: Connection, first: int) -> int:
        try:
            return call(db)
        except BadCredentials:
            account = accounts.account(db, userid, None, device)
            if account is None or account.password != new or account.generation is None:
                raise
            return account.generation

    return again


def create_group(call: Call[int], db: Connection, first: int) -> int:
    """Return the id that was given the first time if it is there."""
    try:
        return call(db)
    except GroupNameTaken as taken:
        try:
            groups.membership(db, first)
        except NoSuchGroup:
            raise taken from None
        return first


def join_group(call: Call[ports.Joining], db: Connection, first: ports.Joining) -> ports.Joining:
    """Take a joining for new that was new the first time."""
    joining = call(db)
    return joining._replace(is_new=joining.is_new or joining == first._replace(is_new=False))


def leave_group(call: Call[None], db: Connection, first: None) -> None:
    """Leave, unless that was done."""
    try:
        call(db)
    except NotAMember:
        pass

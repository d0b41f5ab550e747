"""Repeat changes without an answer to their COMMIT, so as to find out if they were made.

Each function makes a change a second time and returns its result, that of the first time if that one was
committed.  It takes the same locks as the first time, and so waits until that transaction has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from greenchat.data.queries import accounts, devices, groups
from greenchat.errors import AlreadyOnline, BadCredentials, GroupNameTaken, NameTaken, NoSuchGroup, NotAMember
from greenchat.model import records

T = TypeVar("T")

Call = Callable[[Connection], T]
"""Makes the change in a transaction, as the first time."""

Again = Callable[[Call[T], Connection, T], T]
"""``again(call, connection, first)``: makes a change again, given the result of the first time."""


def same(call: Call[T], db: Connection, first: T) -> T:
    """Make a change that has the same effect and result when it is made twice."""
    return call(db)


def open_device(userid: int, device: str) -> Again[records.LoginState]:
    """Return the change that marks a device online again, and tells the node that had it first."""

    def again(
        call: Call[records.LoginState], db: Connection, first: records.LoginState
    ) -> records.LoginState:
        try:
            state = call(db)
        except AlreadyOnline:  # by the first time itself, where the last login had to be a certain one
            if devices.last_login(db, userid, device) != first.since:
                raise
            return first
        return state._replace(before=state.before or first.before)

    return again


def create_user(call: Call[int], db: Connection, first: int) -> int:
    """Return the id that was given the first time if it is there."""
    try:
        return call(db)
    except NameTaken:
        if accounts.account(db, first, None, "") is None:
            raise
        return first


def set_password(userid: int, new: str, device: str) -> Again[int]:
    """Return a function that takes the new hash for the proof that it was set: no other hash has its salt."""

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


def join_group(call: Call[records.Joining], db: Connection, first: records.Joining) -> records.Joining:
    """Call a joining new if the first time made it."""
    joining = call(db)
    return joining._replace(is_new=joining.is_new or joining == first._replace(is_new=False))


def leave_group(call: Call[None], db: Connection, first: None) -> None:
    """Take a user that is no member for one that left the first time."""
    try:
        call(db)
    except NotAMember:
        pass


def remove_hook(call: Call[bool], db: Connection, first: bool) -> bool:
    """Take a hook that is not there for one that was removed the first time."""
    return call(db) or first

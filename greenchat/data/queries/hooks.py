"""Hooks, and what outgoing ones could not deliver: the SQL of it."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from greenchat.data.engine.query import Query
from greenchat.data.engine.statements import Statements
from greenchat.data.queries import accounts, marks
from greenchat.data.schema import Cursor, Device, Hook, HookFailure, User, insert_new
from greenchat.model import records

_ADD = insert_new(Hook)
_HOOKS = select(
    Hook.c.id,
    Hook.c.code,
    Hook.c.userid,
    User.c.name,
    Hook.c.conversation,
    Hook.c.url,
    Hook.c.secret,
    Hook.c.ended,
    Hook.c.created,
).outerjoin_from(Hook, User, User.c.id == Hook.c.userid)
_ALL = Query(_HOOKS.order_by(Hook.c.id))
_BY_KEY = Query(_HOOKS.where(Hook.c.code == bindparam("key")))
_BY_ID = Query(_HOOKS.where(Hook.c.id == bindparam("hook")))
_REMOVE = delete(Hook).where(Hook.c.id == bindparam("hook"))
_END = update(Hook).where(Hook.c.id == bindparam("hook")).values(ended=bindparam("reason"))
_FAILURES = Query(
    select(
        HookFailure.c.conversation,
        HookFailure.c.since,
        HookFailure.c.tries,
        HookFailure.c.next_try,
        HookFailure.c.reason,
    ).where(HookFailure.c.hookid == bindparam("hook"))
)
_FORGET_ALL = delete(HookFailure).where(HookFailure.c.hookid == bindparam("hook"))
_FORGET = _FORGET_ALL.where(HookFailure.c.conversation == bindparam("c"))
_FAILED = insert(HookFailure)


def add_hook(db: Connection, hook: records.NewHook, now: str) -> records.Hook:
    """Add a hook and return it; NoSuchUser if there is no such bot."""
    accounts.user(db, hook.userid)
    key, userid, conversation, url, secret = hook
    row = {"userid": userid, "conversation": conversation, "url": url, "secret": secret}
    db.execute(_ADD, row | {"code": key, "ended": "", "created": now})
    return _hook(_BY_KEY.run(db, key=key)[0])


def hooks(db: Connection) -> list[records.Hook]:
    """Return all hooks, by id."""
    return [_hook(row) for row in _ALL.run(db)]


def hook(db: Connection, key: str) -> records.Hook | None:
    """Return the hook with this key, or None."""
    found = _BY_KEY.run(db, key=key)
    return _hook(found[0]) if found else None


def _hook(row: object) -> records.Hook:
    hook = records.Hook(*row)  # type: ignore[misc]  # a row of _HOOKS
    return hook if hook.name else hook._replace(name=records.DELETED)


def remove_hook(db: Connection, hookid: int) -> bool:
    """Remove a hook, its failures, and its device with the cursors; return False if there is none."""
    found = _BY_ID.run(db, hook=hookid)
    if not found:
        return False
    gone = _hook(found[0])
    db.execute(_REMOVE, {"hook": hookid})
    db.execute(_FORGET_ALL, {"hook": hookid})
    for table in (Device, Cursor):
        db.execute(delete(table).where(table.c.userid == gone.userid, table.c.device == gone.device))
    return True


def end_hook(db: Connection, hookid: int, reason: str) -> None:
    """Switch a hook off, or on with an empty reason, and then without failures."""
    db.execute(_END, {"hook": hookid, "reason": reason})
    if not reason:
        db.execute(_FORGET_ALL, {"hook": hookid})


def failures(db: Connection, hookid: int) -> dict[int, records.Failure]:
    """Return the failures of a hook by conversation."""
    return {row[0]: records.Failure(*row[1:]) for row in _FAILURES.run(db, hook=hookid)}


def failed(db: Connection, hookid: int, conversation: int, failure: records.Failure) -> None:
    """Keep the failure of a conversation in place of the one before."""
    db.execute(_FORGET, {"hook": hookid, "c": conversation})
    db.execute(_FAILED, {"hookid": hookid, "conversation": conversation, **failure._asdict()})


def delivered(db: Connection, sql: Statements, hook: records.Hook, conversation: int, seq: int) -> None:
    """Move the cursor of a hook's device, and drop the failure of the conversation."""
    cursor = {(hook.userid, hook.device, conversation): (seq, 0, 0)}
    marks.write(db, sql, marks.Unwritten(cursor, {}, {}))
    db.execute(_FORGET, {"hook": hook.id, "c": conversation})

"""The store: each method of ``ports.Store``, run off the loop as a read or as a part of a group commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from greenchat.data.commit import GroupCommit, InDoubt, Operation, run_all
from greenchat.data.engine.database import CommitUnknown, Database, LockedOut
from greenchat.data.engine.health import TROUBLE, Health
from greenchat.data.engine.runner import Runner
from greenchat.data.engine.statements import Statements
from greenchat.data.lease import Lease
from greenchat.data.migrations.upgrade import Terms
from greenchat.data.queries import accounts, devices, doubt, friends, groups, hooks, log, marks
from greenchat.data.queries.append import (
    Doubtful,
    Outcome,
    append_any,
    append_free,
    append_new,
    first_stored,
    was_committed,
)
from greenchat.data.upgrade import Upgrade
from greenchat.errors import Busy, RequestError, Uncertain
from greenchat.model import records
from greenchat.ports.store import Delivery, Store

logger = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MARKS_WAIT = 0.5
"""Seconds that marks gather before they are written: half of the second that is promised."""

APPENDS = (append_new, append_any, append_any, append_any)
"""The ways to append a batch, in order: fast, then careful, and again if another server was faster."""


class SqlStore(Store):
    """The store over SQL.

    Args:
        database: which one.
        runner: runs the calls that block.
        max_friends: friends that a user may have.
        max_groups: groups that a user may be in.
        max_members: members that a group may have.
        max_devices: devices of a user that are remembered.
        max_batch: messages and writes of one transaction.
        max_queue: messages and writes that may wait; more are refused with Busy.
        upgrade_grace: seconds after a sign of an older server before the database is closed to such.

    Attributes:
        database: as given.
        upgrade: of a database of an older version.
    """

    append: Callable[[records.NewEntry, Delivery], bool]

    def __init__(
        self,
        database: Database,
        runner: Runner,
        *,
        max_friends: int = 2000,
        max_groups: int = 200,
        max_members: int = 10_000,
        max_devices: int = 16,
        max_batch: int = 1024,
        max_queue: int = 8192,
        upgrade_grace: float = 3600.0,
    ) -> None:
        self.database = database
        self._sql = database.statements
        self._runner = runner
        self._max_friends = max_friends
        self._max_groups = max_groups
        self._max_members = max_members
        self._max_devices = max_devices
        transact = database.retrying(self._transact)
        self._commit = GroupCommit(transact, runner, max_batch=max_batch, max_queue=max_queue)
        self.append = self._commit.append  # once for each message: without a call between
        self._marks = marks.Marks(runner.waiter)
        self._marks_timer = False
        self._closed = False
        self._lease: Lease | None = None
        self.upgrade = Upgrade(Terms(upgrade_grace, database.exclusive), runner, self.write)
        self._reading = Health("reading from")
        self._changing = Health("changing")

    # docs of the public methods: ports.Store

    def start(self) -> None:
        self._runner.start(self._commit.commit_waiting)
        try:
            is_older = self._runner.write(self.database.open)
        except BaseException:
            self._runner.close()
            raise
        if is_older:
            self.upgrade.begin()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.upgrade.close()
        self.write_marks()
        self._commit.close()
        self._runner.close()
        if self._lease is not None:
            self._lease.release()
        self.database.close()

    def claim(self, alone: bool, lost: Callable[[], object]) -> None:
        if not self.database.exclusive:
            self._lease = Lease(alone, self.write, lost)
            self._lease.claim()

    def commit_waiting(self) -> None:
        """Commit the queue; for a runner that does nothing by itself."""
        self._commit.commit_waiting()

    def write_marks(self) -> None:
        """Write the marks that wait; if that fails they wait on.  May switch."""
        try:
            if self._marks:
                with self._marks.taken() as unwritten:
                    self.write(marks.write, self._sql, unwritten)
        except Busy:
            pass  # the log has been told
        except Exception:
            logger.exception("a bug in writing the marks")
        finally:
            self._marks_timer = False
            self._write_marks_soon()

    def setting(self, name: str, default: str) -> str:
        return self.write(accounts.setting, name, default)

    # Accounts

    def create_user(self, name: str, password: str, now: str) -> int:
        return self.write(accounts.create_user, name, password, now, again=doubt.create_user)

    def new_account(self, name: str, since: str) -> records.Account | None:
        return self.read(accounts.new_account, name, since)

    def account(
        self, *, id: int | None = None, name: str | None = None, device: str = ""
    ) -> records.Account | None:
        return self.read(accounts.account, id, name, device)

    def set_password(self, userid: int, old: str, new: str, device: str) -> int:
        again = doubt.set_password(userid, new, device)
        return self.write(accounts.set_password, userid, old, new, device, again=again)

    def replace_hash(self, userid: int, old: str, new: str) -> None:
        self.write(accounts.replace_hash, userid, old, new)

    def end_tokens(self, userid: int, device: str) -> None:
        self.write(accounts.end_tokens, userid, device)

    def remember_device(self, userid: int, device: str, now: str) -> records.Account:
        self.write_marks()  # the new device starts where they say
        return self.write(devices.remember, self._max_devices, userid, device, now)

    def open_device(
        self,
        userid: int,
        device: str,
        node: records.Node,
        now: str,
        unless_elsewhere: bool = False,
        if_last: str | None = None,
    ) -> records.LoginState:
        if self.database.parallel:
            self._marks.wait_for(userid, device)
        try:
            with self._marks.taken(opening=(userid, device)) as unwritten:
                return self.write(
                    _open_device,
                    self._sql,
                    unwritten,
                    self._max_devices,
                    userid,
                    device,
                    node,
                    now,
                    unless_elsewhere,
                    if_last,
                    again=doubt.open_device(userid, device),
                )
        finally:
            self._write_marks_soon()

    def close_device(self, userid: int, device: str, node: records.Node, now: str) -> None:
        self._marks.close(userid, device, node, now)
        self._write_marks_soon()

    def close_node(self, node: records.Node, now: str) -> None:
        self._commit.run(_nothing)  # the messages appended before count for the closing
        self.write(devices.close_node, node, now)

    def nodes(self) -> list[records.Node]:
        return self.write(devices.nodes)  # of a large database it takes long

    def check_devices(self, online: Sequence[tuple[int, str]], node: records.Node) -> records.DeviceCheck:
        return self.read(devices.check, online, node)

    def cursors(self, conversation: int, online: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
        return self.read(devices.cursors, conversation, online)

    # Friends

    def user(self, *, id: int | None = None, name: str | None = None) -> records.User:
        return self.read(accounts.user, id, name)

    def add_friend(self, userid: int, friendid: int, now: str) -> records.User:
        return self.write(friends.add_friend, self._max_friends, userid, friendid, now)

    def remove_friend(self, userid: int, friendid: int) -> None:
        self.write(friends.remove_friend, userid, friendid)

    def friends(self, userid: int) -> list[records.User]:
        return self.read(friends.friends, userid)

    def followers(self, users: Collection[int], node: records.Node) -> list[records.Follower]:
        return self.read(friends.followers, users, node.name)

    def blocked_friends(self, users: Collection[int]) -> list[tuple[int, int]]:
        return self.read(friends.blocked_friends, users)

    def block(self, userid: int, blockedid: int) -> None:
        self.write(friends.block, self._sql, userid, blockedid)

    def unblock(self, userid: int, blockedid: int) -> None:
        self.write(friends.unblock, userid, blockedid)

    def blockers(self, userid: int) -> set[int]:
        return self.read(friends.blockers, userid)

    def contact(self, sender: int, receiver: int) -> records.Contact:
        return self.read(friends.contact, sender, receiver)

    # Groups

    def create_group(self, userid: int, name: str, desc: str, now: str) -> int:
        limit = self._max_groups
        return self.write(groups.create_group, limit, userid, name, desc, now, again=doubt.create_group)

    def new_group(self, userid: int, name: str, desc: str, since: str) -> int | None:
        return self.read(groups.new_group, userid, name, desc, since)

    def join_group(self, userid: int, groupid: int, now: str) -> records.Joining:
        limits = self._max_groups, self._max_members
        return self.write(groups.join_group, *limits, userid, groupid, now, again=doubt.join_group)

    def leave_group(self, userid: int, groupid: int) -> None:
        self._marks.forget(userid, -groupid)
        self.write(groups.leave_group, self._sql, userid, groupid, again=doubt.leave_group)

    def group(self, userid: int, *, id: int | None = None, name: str | None = None) -> records.Group:
        return self.read(groups.group, userid, id, name)

    def groups(self, userid: int) -> list[records.Group]:
        return self.read(groups.groups_of, userid)

    def membership(self, groupid: int) -> records.Membership:
        return self.read(groups.membership, groupid)

    def joined(self, userid: int, groupid: int) -> int | None:
        return self.read(groups.joined, userid, groupid)

    def members(self, groupid: int, after: int, limit: int) -> list[records.Member]:
        return self.read(groups.members, groupid, after, limit)

    # The log

    def first_stored(self, message: records.NewEntry) -> records.First | None:
        return self.read(first_stored, message)

    @property
    def queued(self) -> int:
        return self._commit.queued

    def entry(self, conversation: int, seq: int) -> records.Entry:
        return self.read(log.entry, conversation, seq)

    def head(self, conversation: int) -> int:
        return self.read(log.head, conversation)

    def entries(self, spans: Iterable[records.Span], limit: int = records.ALL) -> list[records.Entry]:
        return self.read(log.entries, list(spans), limit)

    def history(
        self, conversation: int, after: int, before: int | None, day: tuple[str, str] | None, limit: int
    ) -> tuple[list[records.Entry], bool]:
        return self.read(log.history, conversation, after, before, day, limit)

    # Marks

    def move_cursor(
        self, userid: int, device: str, conversation: int, received: int, own_from: int, own_to: int
    ) -> None:
        self._marks.unwritten.cursors[userid, device, conversation] = (received, own_from, own_to)
        if not self._marks_timer:
            self._write_marks_soon()

    def set_back(self, conversation: int, users: Collection[int], upto: int) -> None:
        self._marks.set_back(conversation, upto)
        self.write(marks.set_back, conversation, users, upto)

    def mark_read(self, userid: int, conversation: int, seq: int) -> None:
        self._marks.read(userid, conversation, seq)
        self._write_marks_soon()

    def read_mark(self, userid: int, conversation: int) -> int:
        # The database last: a mark that is written meanwhile is in one of the two.
        unwritten = self._marks.read_mark(userid, conversation)
        return max(unwritten, self.read(marks.read_mark, userid, conversation))

    # Hooks

    def add_hook(self, hook: records.NewHook, now: str) -> records.Hook:
        return self.write(hooks.add_hook, hook, now)

    def hooks(self) -> list[records.Hook]:
        return self.read(hooks.hooks)

    def hook(self, key: str) -> records.Hook | None:
        return self.read(hooks.hook, key)

    def remove_hook(self, hookid: int) -> bool:
        return self.write(hooks.remove_hook, hookid, again=doubt.remove_hook)

    def end_hook(self, hookid: int, reason: str) -> None:
        self.write(hooks.end_hook, hookid, reason)

    def hook_failures(self, hookid: int) -> dict[int, records.Failure]:
        return self.read(hooks.failures, hookid)

    def hook_failed(self, hookid: int, conversation: int, failure: records.Failure) -> None:
        self.write(hooks.failed, hookid, conversation, failure)

    def hook_delivered(self, hook: records.Hook, conversation: int, seq: int) -> None:
        self.write(hooks.delivered, self._sql, hook, conversation, seq)

    # How it runs

    def read(self, call: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        """Call ``call(connection, *args)`` off the loop, in a transaction that reads.  May switch.

        Raises:
            Busy: the database is away.
        """
        read: T = _attempt(self._reading, self._runner.read, self._within, self.database.reading, call, *args)
        return read

    def write(
        self, call: Callable[[Connection, *Ts], T], *args: *Ts, again: doubt.Again[T] = doubt.same
    ) -> T:
        """Call ``call(connection, *args)`` in a transaction that writes: its own, or the committer's next.

        Args:
            call: the change.
            args: its arguments.
            again: does it again if nobody knows whether it was committed.

        Raises:
            Busy: the database is away, or too much waits.
        """
        if self.database.parallel:
            written: T = _attempt(self._changing, self._operate, lambda db: call(db, *args), again)
            return written
        written = self._commit.run(call, *args)
        return written

    def _operate(self, call: doubt.Call[T], again: doubt.Again[T]) -> T:
        """Call in a transaction of its own, and again if the answer to its COMMIT is lost."""
        done: list[T] = []

        def first(db: Connection) -> T:
            done[:] = [call(db)]
            return done[0]

        try:
            return self._within(self.database.operating, first)
        except CommitUnknown as lost:
            self._changing.failed(lost)
        try:
            return self._within(self.database.operating, lambda db: again(call, db, done[0]))
        except TROUBLE as error:
            self._changing.failed(error)
            raise Uncertain(partial(self._resolve, call)) from None

    def _resolve(self, call: doubt.Call[T]) -> None:
        """Wait for the end of a transaction that may be going on, by taking the same locks.  May switch.

        Raises:
            Busy: the database is away.
        """

        def rehearse(db: Connection) -> None:
            with suppress(RequestError):
                call(db)
            raise _Rehearsed

        with suppress(_Rehearsed):
            _attempt(self._changing, self._within, self.database.operating, rehearse)

    def _within(
        self,
        transaction: Callable[[], AbstractContextManager[Connection]],
        call: Callable[[Connection, *Ts], T],
        *args: *Ts,
    ) -> T:
        """Call ``call(connection, *args)`` in a transaction, and again while that may help and is safe."""

        def attempt() -> T:
            with transaction() as db:
                result = call(db, *args)
            return result

        return self.database.retrying(attempt)()

    def _write_marks_soon(self) -> None:
        if not self._marks_timer and self._marks and not self._closed:
            self._marks_timer = True
            self._runner.later(MARKS_WAIT, self.write_marks)

    def _transact(
        self, messages: Sequence[records.NewEntry], operations: Sequence[Operation], apart: bool
    ) -> tuple[list[Outcome], list[Any]]:
        """Do one transaction, where the runner writes."""
        clash: Exception | None = None
        for append in APPENDS:
            way = partial(append_free, append=append) if apart else append
            try:
                with self.database.writing() as db:
                    outcomes = way(db, self._sql, messages) if messages else []
                    results = run_all(db, operations) if operations else []
            except (IntegrityError, Doubtful) as error:
                clash = error
            except LockedOut as error:
                if apart:
                    raise
                apart, clash = True, error
            except CommitUnknown as lost:
                find_out = partial(self._within, self.database.writing, was_committed, messages, outcomes)
                raise InDoubt(lost, outcomes, results, find_out) from lost
            else:
                return outcomes, results
        assert clash is not None
        raise clash


def _attempt(health: Health, run: Callable[..., T], *args: Any) -> T:
    """Call ``run(*args)``, note how the database does, and raise Busy if it is in trouble."""
    try:
        result = run(*args)
    except TROUBLE as error:
        health.failed(error)
        raise Busy from None
    health.well()
    return result


class _Rehearsed(Exception):
    """Raised so that a transaction is rolled back."""


def _nothing(db: Connection) -> None:
    """Be an operation that is done when all before it is."""


def _open_device(
    db: Connection,
    sql: Statements,
    unwritten: marks.Unwritten,
    max_devices: int,
    userid: int,
    device: str,
    node: records.Node,
    now: str,
    unless_elsewhere: bool,
    if_last: str | None,
) -> records.LoginState:
    marks.write(db, sql, unwritten)
    return devices.open_device(db, max_devices, userid, device, node, now, unless_elsewhere, if_last)

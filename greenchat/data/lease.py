"""Keeps servers off a database that would not know of each other: those without a bus, beside any other.

The lease is a row of ``Setting``.  A server without a bus holds it alone, the nodes of a cluster hold it
together.  Each renews it once a second, that is, writes another value.  A newcomer of another kind reads it
for some seconds: a value that changes has a living holder; one that stays was left behind by a crash, and the
newcomer replaces it, if it is still the same.  So no clocks are compared, and no connection has to last
(GET_LOCK ends with its connection, and each node of Galera gives it away by itself).

The values of a cluster's nodes are ``cluster VERSION RANDOM``, those of nodes before version 3 of the schema
``cluster RANDOM``.  As each node reads the value before it writes its own, each older node is noticed: an
upgrade of the schema has to wait for its end (``migrations``).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from time import time
from typing import Any

import gevent
from sqlalchemy import Connection, delete, select, update

from greenchat.data.migrations.upgrade import note_older_server, version
from greenchat.data.schema import VERSION, Setting, insert_new
from greenchat.errors import Busy, DatabaseAway, StartupError
from greenchat.model.instants import to_instant

NAME = "server"
"""Of the setting."""

RENEWAL = 1.0
"""Seconds between renewals."""

LOOKS, LOOK_PAUSE = 11, 0.5
"""Looks of a new server at the lease, and the seconds between: five renewals must have failed.
Looks are counted and not seconds: while the database hangs, it hangs for the holder too."""

_MINE = Setting.c.name == NAME

_log = logging.getLogger(__name__)


class Lease:
    """A server's hold on its database.

    Args:
        alone: this server has no bus: no other may be there.
        write: calls ``call(connection, *args)`` in a transaction that writes; may switch.
        lost: called once, by a greenlet, if another server has taken the lease.
    """

    def __init__(self, alone: bool, write: Callable[..., Any], lost: Callable[[], object]) -> None:
        self._kind = "alone" if alone else "cluster"
        self._holder = f"{self._kind} {secrets.token_hex(8)}" if alone else self._kind
        self._write = write
        self._lost = lost
        self._renewing: gevent.Greenlet | None = None

    def claim(self) -> None:
        """Take the lease, and renew it from now on.  May switch, for some seconds after a crash.

        Raises:
            DatabaseAway: the database does not answer, or takes no writes.
            StartupError: another server is there.
        """
        try:
            self._claim()
        except Busy:
            raise DatabaseAway("the database does not answer, or is read-only") from None
        self._renewing = gevent.spawn(self._renew)

    def release(self) -> None:
        """Let go of the lease; the nodes of a cluster leave it to the others.  May switch."""
        if self._renewing is None:
            return
        self._renewing.kill()
        self._renewing = None
        try:
            self._write(_release, self._holder)
        except Busy:
            pass  # the next server waits as after a crash

    def _claim(self) -> None:
        found: str | None = None
        for look in range(LOOKS):
            seen: str | None = self._write(_read)
            if seen is None or (seen.startswith("cluster") and self._kind == "cluster"):
                found = seen
                break
            if look and seen != found:
                raise StartupError(self._refusal(seen))
            found = seen
            gevent.sleep(LOOK_PAUSE)
        if not self._write(take, found, self._value()):
            raise DatabaseAway("another server has just begun to use the database")

    def _refusal(self, seen: str) -> str:
        if self._kind == "cluster":
            return "the database is in use by a server without --bus"
        other = "another server" if seen.startswith("alone") else "a cluster"
        return f"the database is in use by {other}: several servers on one database all need --bus"

    def _value(self) -> str:
        shared = f" {VERSION}" if self._kind == "cluster" else ""
        return f"{self._holder}{shared} {secrets.token_hex(4)}"

    def _renew(self) -> None:
        while True:
            gevent.sleep(RENEWAL)
            try:
                is_mine = self._write(renew, self._holder, self._value())
            except Busy:
                continue
            except StartupError as newer:
                _log.error("%s; this one ends", newer)
                self._lost()
                return
            except Exception:
                _log.exception("a bug in the lease of the database")
                continue
            if not is_mine:
                _log.error("another server has taken the database: this one ends")
                self._lost()
                return


def _read(db: Connection) -> str | None:
    value: str | None = db.scalar(select(Setting.c.value).where(_MINE))
    return value


def take(db: Connection, old: str | None, new: str) -> bool:
    """Set the lease if it is still ``old``, or any of a cluster's; return True if it was."""
    if old is None:
        return db.execute(insert_new(Setting), {"name": NAME, "value": new}).rowcount == 1
    # Other nodes of the cluster renew it meanwhile.
    is_shared = old.startswith("cluster") and new.startswith("cluster")
    is_old = Setting.c.value.startswith("cluster") if is_shared else Setting.c.value == old
    return db.execute(update(Setting).where(_MINE, is_old).values(value=new)).rowcount == 1


def renew(db: Connection, holder: str, new: str) -> bool:
    """Write another value; return False if the lease is somebody else's.  One that is gone is made anew.

    Raises:
        StartupError: the database has become one that this version of the program cannot read.
    """
    version(db)
    if _is_older(db.scalar(select(Setting.c.value).where(_MINE).with_for_update())):
        note_older_server(db, to_instant(time()))
    ours = update(Setting).where(_MINE, Setting.c.value.startswith(f"{holder} ")).values(value=new)
    if db.execute(ours).rowcount == 1:
        return True
    return db.execute(insert_new(Setting), {"name": NAME, "value": new}).rowcount == 1


def _is_older(value: str | None) -> bool:
    """Return True if a cluster's node of an older version wrote this value."""
    kind, *rest = value.split() if value else ("gone",)
    return kind == "cluster" and (len(rest) < 2 or int(rest[0]) < VERSION)


def _release(db: Connection, holder: str) -> None:
    if holder != "cluster":
        db.execute(delete(Setting).where(_MINE, Setting.c.value.startswith(f"{holder} ")))

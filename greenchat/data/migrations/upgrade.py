"""The steps of an upgrade, each in one transaction; ``migrations`` has the theory.

The state is a row of ``Setting``, there from the first start of a server of this version on an older database
until the contract.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from sqlalchemy import Connection, delete, select, update

from greenchat.data.migrations import after
from greenchat.data.migrations.migration import Alter
from greenchat.data.schema import OLDEST, VERSION, Setting, insert_new
from greenchat.errors import StartupError
from greenchat.model.instants import shifted

NAME = "upgrade"
"""Of the setting."""

QUIET = 10
"""Seconds without a sign of an older server, after which there is none."""

LOOK = 5.0
"""Seconds between two looks at a state that waits."""

PAUSE = 0.05
"""Seconds between two batches."""

DONE = 0
"""The number in place of a migration's when a pass is over."""

_log = logging.getLogger(__name__)


class Terms(NamedTuple):
    """The conditions of a contract.

    Attributes:
        grace: seconds after the last sign of an older server before the contract.
        is_exclusive: no other server can use the database now.
    """

    grace: float
    is_exclusive: bool


class State(NamedTuple):
    """The state of an upgrade.

    Attributes:
        since: the last instant at which an older server may have used the database.
        begun: the instant at which the present, or last, pass of the move began.
        number: the migration that moves rows now; ``DONE`` when the pass is over.
        position: of its move.
    """

    since: str
    begun: str
    number: int
    position: str

    def __str__(self) -> str:
        return "|".join(map(str, self))


def version(db: Connection) -> int:
    """Return the version of the schema that the database needs its servers to know.

    Raises:
        StartupError: this program does not know it, or there is none.
    """
    found = db.scalar(select(Setting.c.value).where(Setting.c.name == "schema_version"))
    if found is None or not found.isdecimal():
        raise StartupError("the database has no readable schema version")
    if int(found) > VERSION:
        raise StartupError(
            f"the database has schema version {found}, this program knows {VERSION}: run a newer greenchat"
        )
    if int(found) < OLDEST:
        raise StartupError(
            f"the database has schema version {found}, this program reads {OLDEST} to {VERSION}:"
            " run an older greenchat first"
        )
    return int(found)


def expand(db: Connection, alter: Alter, now: str) -> bool:
    """Add what the database lacks; return True if an upgrade is under way from now on."""
    pending = after(version(db))
    for migration in pending:
        migration.expand(db, alter)
    if pending:
        begun = _state(db) or State(now, now, pending[0].number, "")
        _keep(db, begun._replace(since=now))
    return bool(pending)


def note_older_server(db: Connection, now: str) -> None:
    """Note that a server of an older version is alive."""
    state = _state(db)
    if state is not None:
        _keep(db, state._replace(since=max(now, state.since)))


def step(db: Connection, terms: Terms, now: str) -> float | None:
    """Do the next step; return the seconds until the one after it, None when there is none any more."""
    state = _state(db)
    if state is None:
        return None  # another server was here last
    pending = after(version(db))
    if not pending:
        # Race: a server that read the version before another's contract, and the state after it, made one.
        db.execute(delete(Setting).where(Setting.c.name == NAME))
        return None
    if state.number != DONE:
        _keep(db, _moved(db, state))
        return PAUSE
    quiet = 0 if terms.is_exclusive else QUIET
    if now < shifted(state.since, quiet):
        return LOOK
    if state.begun < state.since:
        _keep(db, state._replace(begun=now, number=pending[0].number, position=""))
        return PAUSE
    if now < shifted(state.since, round(terms.grace)):
        return LOOK
    db.execute(update(Setting).where(Setting.c.name == "schema_version").values(value=str(VERSION)))
    db.execute(delete(Setting).where(Setting.c.name == NAME))
    _log.warning("the database has schema version %d now: servers of older versions are refused", VERSION)
    return None


def _moved(db: Connection, state: State) -> State:
    """Move a batch, and return the state after it."""
    pending = {migration.number: migration for migration in after(state.number - 1)}
    position = pending[state.number].move(db, state.position)
    if position is not None:
        return state._replace(position=position)
    return state._replace(number=min(pending.keys() - {state.number}, default=DONE), position="")


def _state(db: Connection) -> State | None:
    """Read the state, and lock it; None if no upgrade is under way."""
    found = db.scalar(select(Setting.c.value).where(Setting.c.name == NAME).with_for_update())
    if found is None:
        return None
    since, begun, number, position = found.split("|")
    return State(since, begun, int(number), position)


def _keep(db: Connection, state: State) -> None:
    if not db.execute(update(Setting).where(Setting.c.name == NAME).values(value=str(state))).rowcount:
        db.execute(insert_new(Setting), {"name": NAME, "value": str(state)})

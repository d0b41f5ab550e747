"""The interface of a database to the store; one class for each kind of database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from greenchat.data.engine.runner import Runner
from greenchat.data.engine.statements import Statements

P = ParamSpec("P")
T = TypeVar("T")


class CommitUnknown(SQLAlchemyError):
    """Raised if the connection was lost in COMMIT: nobody knows yet whether the database did it."""


class LockedOut(SQLAlchemyError):
    """Raised if a row that the transaction needs stayed locked by somebody else; it was rolled back."""


class Database(Protocol):
    """A database that keeps the tables of ``schema``.

    Attributes:
        statements: the multi-row statements in its dialect.
        parallel: operations run beside the committer, each in its own greenlet and transaction.
        exclusive: no other server can open it while this one has it.
    """

    statements: Statements
    parallel: bool
    exclusive: bool

    def runner(self) -> Runner:
        """Return the runner that suits this kind of database."""

    def open(self) -> bool:
        """Connect, set the database up if it is empty, and expand one of an older version.

        Returns:
            True if it is of an older version still: an upgrade is under way.

        Raises:
            DatabaseAway: it cannot be reached; ``open`` may be called again.
            StartupError: it cannot be opened or written, or has a version that this program cannot read.
        """

    def close(self) -> None:
        """Disconnect; nothing happens if it is not open."""

    def writing(self) -> AbstractContextManager[Connection]:
        """Return a transaction of the committer; it is rolled back if the block raises.

        Raises:
            CommitUnknown: at the end of the block.
            LockedOut: out of the block.
        """

    def operating(self) -> AbstractContextManager[Connection]:
        """Return a transaction for one operation; as ``writing`` where the database is not ``parallel``."""

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a transaction that reads; it may see more and more of a log that grows meanwhile."""

    def retrying(self, transaction: Callable[P, T]) -> Callable[P, T]:
        """Return a function that does one transaction, and again while that may help and is safe."""

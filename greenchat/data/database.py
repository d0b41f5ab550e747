"""What a database must offer to the store; one class for each kind of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection

from greenchat.data.statements import Statements


class Database(Protocol):
    """A database that keeps the tables of ``schema``."""

    @property
    def statements(self) -> Statements:
        """The multi-row statements in its dialect."""

    @property
    def alone(self) -> bool:
        """Whether it has one connection for all, so that reads must wait for writes."""

    def open(self) -> None:
        """Connect, and set the database up if it is empty.

        Raises:
            StartupError: it cannot be opened or written, or is newer than this program.
        """

    def close(self) -> None:
        """Disconnect; nothing happens if it is not open."""

    def writing(self) -> AbstractContextManager[Connection]:
        """Return a transaction that writes; it is rolled back if the block raises."""

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a transaction that reads, all from one snapshot."""

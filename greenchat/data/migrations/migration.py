"""The parts of a migration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Connection

Alter = Callable[[Connection, str, str], None]
"""``alter(db, table, "ADD COLUMN …")`` changes a table at once, whatever its size, or raises.

It may commit, and may wait a few seconds for transactions that use the table.
"""

Expand = Callable[[Connection, Alter], None]
"""Adds tables and columns that are not there yet."""

Move = Callable[[Connection, str], str | None]
"""``move(db, position)`` moves some milliseconds' worth of rows, in one transaction.

The position is empty at first; the result is the next one (up to 200 characters), None when all rows are
moved.
"""


def nothing_to_move(db: Connection, position: str) -> str | None:
    """Be the move of a migration that only adds."""
    return None


class Migration(NamedTuple):
    """The way to one version of the schema from the version before.

    Attributes:
        number: the version.
        expand: adds the new form beside the old one.
        move: gives rows in the old form the new one.
    """

    number: int
    expand: Expand
    move: Move = nothing_to_move

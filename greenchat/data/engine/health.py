"""Telling the log that the database fails, and that it is well again: once each, not per message."""

from __future__ import annotations

import logging
import re

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

log = logging.getLogger(__name__)

_QUOTED = re.compile("'.*'", re.DOTALL)
"""Matches from the first quote to the last: a quotation may have quotes in it."""

TROUBLE = (SQLAlchemyError, OSError)
"""The exceptions of a database that is away or broken; anything else is a bug."""


class Health:
    """The state of one use of the database, for the log.

    Args:
        doing: the use: "reading from", "writing to" …

    Attributes:
        failing: True since a failure until the next success.
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self.failing = False

    def failed(self, error: BaseException) -> None:
        """Note a failure.  MUST be called on the loop: loggers have locks that greenlets share."""
        if not isinstance(error, TROUBLE):
            log.error("a bug in %s the database", self._doing, exc_info=error)
        elif not self.failing:
            self.failing = True
            log.error("%s the database fails: %s", self._doing, explain(error))

    def well(self) -> None:
        """Note a success."""
        if self.failing:
            self.failing = False
            log.warning("%s the database works again", self._doing)


def explain(error: BaseException) -> str:
    """Return the driver's words, without texts of people.

    The statement is left out, and of MySQL's words about one all quotations: "Duplicate entry
    'the message'", "Incorrect string value: 'its beginning'".  Errors of connecting are whole.
    """
    if not isinstance(error, DBAPIError):
        return str(error)
    said = " ".join(map(str, error.orig.args)) if error.orig else ""
    return _QUOTED.sub("'…'", said) if error.statement else said

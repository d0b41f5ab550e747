"""Runs the upgrade of an older database in the background, until it is done."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import time
from typing import Any

from greenchat.data.engine.runner import Runner
from greenchat.data.migrations.upgrade import LOOK, Terms, step
from greenchat.errors import Busy
from greenchat.model.instants import to_instant

_log = logging.getLogger(__name__)


class Upgrade:
    """The upgrade of a database, as this server takes part in it.

    All servers of this version do: a step locks the state, so that they take turns.

    Args:
        terms: the conditions of its end.
        runner: waits between the steps.
        write: calls ``call(connection, *args)`` in a transaction that writes; may switch.

    Attributes:
        is_over: no older server can read or write the database any more.
    """

    def __init__(self, terms: Terms, runner: Runner, write: Callable[..., Any]) -> None:
        self._terms = terms
        self._runner = runner
        self._write = write
        self._is_closed = False
        self.is_over = True

    def begin(self) -> None:
        """Take part from now on."""
        self.is_over = False
        self._runner.later(0, self.step)

    def close(self) -> None:
        """Do no more steps."""
        self._is_closed = True

    def step(self) -> None:
        """Do the next step, and have the one after it done later.  May switch."""
        if self._is_closed or self.is_over:
            return
        seconds: float | None = LOOK
        try:
            seconds = self._write(step, self._terms, to_instant(time()))
        except Busy:
            pass  # the log has been told
        except Exception:
            _log.exception("a bug in the upgrade of the database")
        if seconds is None:
            self.is_over = True
        else:
            self._runner.later(seconds, self.step)

"""Group commit: what waits together is written in one transaction."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from greenchat.data.append import Outcome
from greenchat.data.health import TROUBLE, Health
from greenchat.data.runner import Runner, Waiter
from greenchat.errors import Busy, RequestError
from greenchat.ports import Delivery, Message

log = logging.getLogger(__name__)

BREATH = 256
"""Continuations after which the loop may turn: about 3 ms of work."""


class Operation(NamedTuple):
    """A write that is no message: ``call(connection, *args)``, and where its result goes."""

    call: Callable[..., Any]
    args: tuple[Any, ...]
    waiter: Waiter


class Append(NamedTuple):
    """A message, and what is to happen once it is stored."""

    message: Message
    delivery: Delivery


Transact = Callable[[Sequence[Message], Sequence[Operation]], tuple[list[Outcome], list[Any]]]
"""Write messages and operations in one transaction, messages first, and return what came of each.

An operation that failed alone has an exception as its result.
"""


class GroupCommit:
    """The queue to the database.

    Messages are appended before the operations of the same batch are run: the operations wait for
    nothing but each other, and none can tell that it was overtaken.

    Args:
        transact: does one transaction; called through ``runner.write``.
        runner: where it runs.
        max_batch: entries of one transaction.
        max_queue: entries that may wait; more are refused with Busy.
    """

    def __init__(
        self, transact: Transact, runner: Runner, *, max_batch: int = 1024, max_queue: int = 8192
    ) -> None:
        self._transact = transact
        self._runner = runner
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._queue: deque[Append | Operation] = deque()
        self._health = Health("writing to")

    @property
    def full(self) -> bool:
        """Whether more than half of what may wait waits."""
        return len(self._queue) > self._max_queue // 2

    def close(self) -> None:
        """Take nothing more: from now on all is refused with Busy; what waits is still committed."""
        self._max_queue = 0

    def append(self, message: Message, delivery: Delivery) -> None:
        """Queue a message; ``delivery`` is told what came of it.  Never raises or switches."""
        if len(self._queue) >= self._max_queue:
            _tell(delivery, Busy())
            return
        self._queue.append(Append(message, delivery))
        self._runner.wake()

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Queue ``call(connection, *args)``, wait, and return or raise what it does.  May switch.

        Raises:
            Busy: the database is away, or the queue is full; nothing was changed.
        """
        if len(self._queue) >= self._max_queue:
            raise Busy
        operation = Operation(call, args, self._runner.waiter())
        self._queue.append(operation)
        self._runner.wake()
        return operation.waiter.get()

    def commit_waiting(self) -> None:
        """Commit what waits, in one transaction if it is at most ``max_batch``, and tell of it."""
        while self._queue:
            self._commit([self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))])

    def _commit(self, batch: list[Append | Operation]) -> None:
        appends = [entry for entry in batch if isinstance(entry, Append)]
        operations = [entry for entry in batch if isinstance(entry, Operation)]
        messages = [entry.message for entry in appends]
        try:
            outcomes, results = self._runner.write(self._transact, messages, operations)
        except Exception as error:
            self._health.failed(error)
            self._fail(batch)
        else:
            self._note(results)
            self._finish(appends, outcomes, operations, results)

    def _note(self, results: list[Any]) -> None:
        troubles = [result for result in results if isinstance(result, TROUBLE)]
        for trouble in troubles:
            self._health.failed(trouble)
        if not troubles:
            self._health.well()

    def _finish(
        self, appends: list[Append], outcomes: list[Outcome], operations: list[Operation], results: list[Any]
    ) -> None:
        for place, (entry, outcome) in enumerate(zip(appends, outcomes, strict=True), 1):
            _tell(entry.delivery, outcome)
            if place % BREATH == 0:
                self._runner.breathe()
        for operation, result in zip(operations, results, strict=True):
            if isinstance(result, TROUBLE):
                operation.waiter.set_exception(Busy())
            elif isinstance(result, Exception):
                operation.waiter.set_exception(result)
            else:
                operation.waiter.set(result)

    def _fail(self, batch: list[Append | Operation]) -> None:
        """Fail a batch and all that waits behind it now.

        Behind it too, so that no message is stored whose forerunner was refused.  What comes while
        this goes on is tried: else those who try again at once would keep the database untried.
        """
        failing = [*batch, *self._queue]
        self._queue.clear()
        for place, entry in enumerate(failing, 1):
            if isinstance(entry, Append):
                _tell(entry.delivery, Busy())
            else:
                entry.waiter.set_exception(Busy())
            if place % BREATH == 0:
                self._runner.breathe()


def _tell(delivery: Delivery, outcome: Outcome) -> None:
    try:
        if isinstance(outcome, RequestError):
            delivery.failed(outcome)
        else:
            delivery.stored(*outcome)
    except Exception:
        log.exception("a bug in a delivery")


def run_alone(db: Connection, operation: Operation) -> Any:
    """Run an operation in a savepoint and return its result, or the exception that undid it.

    An error that ends the whole transaction is raised: then the savepoint is gone too.
    """
    db.exec_driver_sql("SAVEPOINT operation")
    try:
        result = operation.call(db, *operation.args)
    except Exception as error:
        _undo(db, error)
        result = error
    db.exec_driver_sql("RELEASE SAVEPOINT operation")
    return result


def _undo(db: Connection, error: Exception) -> None:
    try:
        db.exec_driver_sql("ROLLBACK TO SAVEPOINT operation")
    except DBAPIError:
        raise error from None

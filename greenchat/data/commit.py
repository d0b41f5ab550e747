"""Group commit: entries that wait together are written in one transaction."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from time import monotonic
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from greenchat.data.engine.health import TROUBLE, Health
from greenchat.data.engine.query import run_text
from greenchat.data.engine.runner import Runner, Waiter
from greenchat.data.queries.append import Locked, Outcome, Stored
from greenchat.errors import Busy, RequestError
from greenchat.metrics import COMMIT_BATCH, COMMIT_SECONDS, DELIVERY_SECONDS
from greenchat.model.records import NewEntry
from greenchat.ports.store import Delivery

log = logging.getLogger(__name__)

LOOK_AGAIN = 0.5
"""Seconds between two tries to find out if a transaction in doubt was committed."""

LOCK_PAUSE = 0.2
"""Seconds between tries of messages of locked conversations."""

LOCK_PATIENCE = 5.0
"""Seconds after which such messages are refused with Busy."""

_BUG = "a bug in a delivery"

BREATH = 256
"""Continuations after which the loop may turn: about 3 ms of work."""


class Operation(NamedTuple):
    """A write that is no message: ``call(connection, *args)``, and where its result goes."""

    call: Callable[..., Any]
    args: tuple[Any, ...]
    waiter: Waiter


# For ``map``: no Python call for each message.
_MESSAGE: Callable[[Append], NewEntry] = itemgetter(0)

Append = tuple[NewEntry, Delivery]
"""A message and its continuation: a plain tuple, as there is one for each message."""


class Batch(NamedTuple):
    """The entries of one transaction.

    Attributes:
        appends: messages.
        operations: other changes.
        since: the moment at which the first of them was queued, on the monotonic clock; None if unknown.
        apart: the transaction leaves out, instead of waiting for them, conversations that others have locked.
    """

    appends: list[Append]
    operations: list[Operation]
    since: float | None = None
    apart: bool = False


class InDoubt(Exception):
    """Raised if a transaction may have been committed.

    Args:
        reason: why nobody knows.
        outcomes: the outcomes of its messages, if it was.
        results: the results of its operations, if it was.
        was_committed: returns True if it was; raises if the database is away.
    """

    def __init__(
        self,
        reason: Exception,
        outcomes: list[Outcome],
        results: list[Any],
        was_committed: Callable[[], bool],
    ) -> None:
        super().__init__("a transaction may have been committed")
        self.reason = reason
        self.outcomes = outcomes
        self.results = results
        self.was_committed = was_committed


Transact = Callable[[Sequence[NewEntry], Sequence[Operation], bool], tuple[list[Outcome], list[Any]]]
"""Write messages and operations in one transaction, messages first, and return the outcome of each.

The flag is ``Batch.apart``; a message that was left out has ``Locked`` as its outcome, an operation that
failed alone its exception.  Raises InDoubt.
"""


class GroupCommit:
    """The queue to the database.

    Messages are appended before the operations of the same batch are run: the operations wait for
    nothing but each other, and none can tell that it was overtaken.

    A transaction that may have been committed is told of when that is known, and nothing else is
    committed before: its messages are stored, and then must be delivered, or they are not.

    Messages of a conversation that another program has locked in the database (a transaction left open
    in a shell, a backup) are set aside, with all that follow in that conversation, and tried again in
    transactions of their own, so that they delay no others.

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
        self._closing = False
        self._queue: deque[Append | Operation] = deque()
        self._since = 0.0  # when an entry last came into an empty queue
        self._doubt: tuple[Batch, InDoubt] | None = None
        self._aside: list[Append] = []
        self._locked: dict[int, float] = {}  # until when messages of a locked conversation may wait
        self._aside_is_due = False
        self._health = Health("writing to")

    @property
    def queued(self) -> int:
        """Entries that are not in a transaction yet."""
        return len(self._queue) + len(self._aside)

    def close(self) -> None:
        """Refuse everything with Busy from now on; the queue is still committed."""
        self._closing = True
        # Once more, and then they are refused: see ``_put_aside``.
        self._aside_is_due = True
        # By the comparison that each entry passes in any case.
        self._max_queue = 0

    def append(self, message: NewEntry, delivery: Delivery) -> bool:
        """Queue a message; ``delivery`` is told its outcome.  Never raises or switches.

        Returns:
            True if the queue was more than half full before.
        """
        # As in ``queued``, which would be one more call for each message.
        queued = len(self._queue) + len(self._aside)
        if queued >= self._max_queue:
            _refuse(delivery, Busy())
            return False
        if not self._queue:
            self._since = monotonic()
        self._queue.append((message, delivery))
        self._runner.wake()
        return queued > self._max_queue // 2

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Queue ``call(connection, *args)``, wait, and return its result or raise its exception.  May switch.

        Raises:
            Busy: the database is away, or the queue is full; nothing was changed.
        """
        if self.queued >= self._max_queue:
            raise Busy
        if not self._queue:
            self._since = monotonic()
        operation = Operation(call, args, self._runner.waiter())
        self._queue.append(operation)
        self._runner.wake()
        return operation.waiter.get()

    def commit_waiting(self) -> None:
        """Commit the queue, at most ``max_batch`` entries in a transaction, and tell the outcomes."""
        while self._doubt or self._queue or self._aside_is_due:
            if self._doubt is None:
                # Clients that were just acknowledged may send again, and be in it too (window 1: + 9 %).
                self._runner.breathe()
                self._commit(self._take_aside() if self._aside_is_due else self._take(self._max_batch))
            # The order of the queue is that of each conversation: nothing may pass a transaction in doubt.
            elif not self._resolve(*self._doubt):
                return

    def _take(self, most: int) -> Batch:
        batch = Batch([], [], self._since)
        self._since = monotonic()  # for entries that are left; they came while the last batch was written
        for _ in range(min(len(self._queue), most)):
            entry = self._queue.popleft()
            if isinstance(entry, Operation):
                batch.operations.append(entry)
            # Behind those that are aside already: a conversation keeps the order in which its messages came.
            elif self._locked and entry[0].conversation in self._locked:
                self._set_aside(entry)
            else:
                batch.appends.append(entry)
        return batch

    # -- Locked conversations

    def _set_aside(self, entry: Append) -> None:
        if not self._aside:
            self._runner.later(LOCK_PAUSE, self._try_aside)
        self._aside.append(entry)

    def _try_aside(self) -> None:
        self._aside_is_due = True
        self._runner.wake()

    def _take_aside(self) -> Batch:
        self._aside_is_due = False
        aside, self._aside = self._aside, []
        return Batch(aside, [], apart=True)

    def _put_aside(self, batch: Batch, outcomes: list[Outcome]) -> list[tuple[Append, Outcome]]:
        """Set the messages aside that were left out, refuse those that waited too long; return the others."""
        now = monotonic()
        told: list[tuple[Append, Outcome]] = []
        for entry, outcome in zip(batch.appends, outcomes, strict=True):
            conversation = entry[0].conversation
            if not isinstance(outcome, Locked):
                told.append((entry, outcome))
                if self._locked.pop(conversation, None) is not None:
                    log.warning("conversation %d is free again", conversation)
                continue
            if conversation not in self._locked:
                log.warning("conversation %d is locked in the database by another program", conversation)
                self._locked[conversation] = now + LOCK_PATIENCE
            if self._closing or self._locked[conversation] < now:
                told.append((entry, Busy()))
            else:
                self._set_aside(entry)
        for conversation, until in self._locked.items():
            if until < now:  # for messages that are sent again
                self._locked[conversation] = now + LOCK_PATIENCE
        return told

    def _commit(self, batch: Batch) -> None:
        messages = list(map(_MESSAGE, batch.appends))
        # All of it was set aside.
        if not messages and not batch.operations:
            return
        begun = monotonic()
        try:
            outcomes, results = self._runner.write(self._transact, messages, batch.operations, batch.apart)
        except InDoubt as doubt:
            self._health.failed(doubt.reason)
            self._doubt = batch, doubt
        except Exception as error:
            self._health.failed(error)
            self._fail(batch)
        else:
            COMMIT_SECONDS.observe(monotonic() - begun)
            COMMIT_BATCH.observe(len(messages))
            if results or self._health.failing:
                self._note(results)
            self._finish(batch, outcomes, results)

    def _resolve(self, batch: Batch, doubt: InDoubt) -> bool:
        """Find out if a transaction in doubt was committed, and tell; return False if it is unknown yet."""
        try:
            committed = self._runner.write(doubt.was_committed)
        except Exception as error:
            self._health.failed(error)
            if not self._closing:
                self._fail_waiting()
                self._runner.later(LOOK_AGAIN, self._runner.wake)
                return False
            # The process ends without knowing.  Busy is right in both cases: the client sends the message
            # again, and its ``cid`` finds the first seq if it was stored.
            committed = False
        else:
            self._health.well()
        self._doubt = None
        if committed:
            self._finish(batch, doubt.outcomes, doubt.results)
        else:
            self._fail(batch)
        return True

    def _note(self, results: list[Any]) -> None:
        troubled = False
        for result in results:
            # The batch was committed all the same: this operation alone was undone, for a reason that may hit
            # the next one too.
            if isinstance(result, TROUBLE):
                self._health.failed(result)
                troubled = True
        if not troubled:
            self._health.well()

    def _finish(self, batch: Batch, outcomes: list[Outcome], results: list[Any]) -> None:
        told: Iterable[tuple[Append, Outcome]] = zip(batch.appends, outcomes, strict=True)
        if self._locked or Locked in map(type, outcomes):
            told = self._put_aside(batch, outcomes)
        # Messages before operations, as in the transaction: the answer to a leaving comes after the entries
        # that were committed before it.
        for place, ((_, delivery), outcome) in enumerate(told, 1):
            if isinstance(outcome, RequestError):
                _refuse(delivery, outcome)
            elif isinstance(outcome, Stored):
                try:
                    delivery.stored(*outcome)
                except Exception:
                    log.exception(_BUG)
            if place % BREATH == 0:
                self._runner.breathe()
        if batch.appends and batch.since is not None:
            # Of the first entry, the longest: one observation a batch, not one for each message.
            DELIVERY_SECONDS.observe(monotonic() - batch.since)
        for operation, result in zip(batch.operations, results, strict=True):
            if isinstance(result, TROUBLE):
                operation.waiter.set_exception(Busy())
            elif isinstance(result, Exception):
                operation.waiter.set_exception(result)
            else:
                operation.waiter.set(result)

    def _fail_waiting(self) -> None:
        """Fail all that waits now."""
        self._fail(Batch([], []))

    def _fail(self, batch: Batch) -> None:
        """Fail a batch and all that waits behind it now.

        Behind it too, so that no message is stored after an earlier one of its sender was refused.
        Messages that arrive meanwhile are tried: else clients that send again at once would keep the
        database untried.
        """
        aside = self._take_aside().appends
        self._locked.clear()  # so that all behind is taken
        behind = self._take(len(self._queue))
        behind.appends[:0] = aside
        for place, (_, delivery) in enumerate(batch.appends + behind.appends, 1):
            _refuse(delivery, Busy())
            if place % BREATH == 0:
                self._runner.breathe()
        for operation in batch.operations + behind.operations:
            operation.waiter.set_exception(Busy())


def _refuse(delivery: Delivery, error: RequestError) -> None:
    try:
        delivery.failed(error)
    except Exception:
        log.exception(_BUG)


def run_all(db: Connection, operations: Sequence[Operation]) -> list[Any]:
    """Run operations and return the result of each, or the exception that undid it alone.

    They share a savepoint: that no operation fails is the rule, and each would need two statements for
    one of its own.  If one does, all are undone and run again, each in its own.
    """
    if len(operations) > 1:
        results = _run(db, lambda: [operation.call(db, *operation.args) for operation in operations])
        if isinstance(results, list):
            return results
    return [_run(db, partial(operation.call, db, *operation.args)) for operation in operations]


def _run(db: Connection, call: Callable[[], Any]) -> Any:
    """Call in a savepoint and return the result, or the exception that undid it.

    An error that ends the whole transaction is raised: then the savepoint is gone too.
    """
    run_text(db, "SAVEPOINT operation")
    try:
        result = call()
    except Exception as error:
        _undo(db, error)
        result = error
    run_text(db, "RELEASE SAVEPOINT operation")
    return result


def _undo(db: Connection, error: Exception) -> None:
    try:
        run_text(db, "ROLLBACK TO SAVEPOINT operation")
    except DBAPIError:
        # The savepoint is gone, because the error has rolled back the whole transaction.
        raise error from None

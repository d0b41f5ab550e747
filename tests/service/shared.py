"""A database in memory that all nodes of a cluster use, each in turns of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, make_url, select

from greenchat.data.engine.database import CommitUnknown
from greenchat.data.engine.runner import Runner
from greenchat.data.engine.sqlite import SqliteDatabase
from greenchat.data.queries.log import head
from greenchat.data.schema import Device
from greenchat.model.conversations import of_pair
from tests.service.turns import Turns

P = ParamSpec("P")
T = TypeVar("T")


class _Undone(Exception):
    """Undoes a transaction."""


class SharedDatabase(SqliteDatabase):
    """A database in memory that all nodes use, in transactions between which others have theirs."""

    parallel = True
    _engine: ClassVar[Engine | None] = None
    """Of all such databases, so that no statement is compiled twice."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(make_url("sqlite://"))
        self._turns = turns
        self.away = False
        self.unanswered: bool | None = None
        """What becomes of the next change: it is committed and not answered (True), or undone (False)."""
        self.stays = False
        """The database is not away after that."""

    @contextmanager
    def operating(self) -> Iterator[Connection]:
        lost, self.unanswered = self.unanswered, None
        if lost is None:
            with self.writing() as db:
                yield db
            return
        self.away = not self.stays
        with suppress(_Undone), self.writing() as db:
            yield db
            if not lost:
                raise _Undone
        raise CommitUnknown("the test lost the answer")

    def open(self) -> bool:
        return not self._connections and super().open()

    def _connect(self) -> Connection:
        if self._engine is None:
            SharedDatabase._engine = super()._connect().engine
            assert self._engine
        return self._engine.connect()

    def close(self) -> None:
        """It outlives each node."""

    def head(self, one: int, other: int) -> int:
        """Return the last seq of the conversation of two users, in no turn."""
        with self.reading() as db:
            return head(db, of_pair(one, other))

    def online(self) -> dict[tuple[int, str], str]:
        """Return which devices are marked online, and at which node, in no turn."""
        with self.reading() as db:
            rows = db.execute(select(Device.c.userid, Device.c.device, Device.c.node))
            return {(userid, device): node for userid, device, node in rows if node}

    def retrying(self, transaction: Callable[P, T]) -> Callable[P, T]:
        def attempt(*args: P.args, **kwargs: P.kwargs) -> T:
            self._turns.switch()
            if self.away:
                raise OSError(5, "the test broke the database")
            result = transaction(*args, **kwargs)
            self._turns.switch()
            return result

        return attempt


class _Waiter:
    """Where an operation of the committer leaves its result."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._outcome: tuple[Any, BaseException | None] | None = None

    def set(self, value: Any) -> None:
        self._outcome = value, None

    def set_exception(self, exception: BaseException) -> None:
        self._outcome = None, exception

    def get(self) -> Any:
        self._turns.wait(lambda: self._outcome)
        assert self._outcome
        value, error = self._outcome
        if error is not None:
            raise error
        return value


class NodeRunner(Runner):
    """Runs the store of a node in turns."""

    def __init__(self, turns: Turns, owner: object) -> None:
        self._turns = turns
        self._owner = owner
        self._works = False

    def start(self, work: Callable[[], object]) -> None:
        self._work = work

    def wake(self) -> None:
        if not self._works:
            self._works = True
            self._turns.spawn(self._run, owner=self._owner)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._works = False

    def waiter(self) -> _Waiter:
        return _Waiter(self._turns)

    def read(self, call: Callable[..., T], *args: Any) -> T:
        return call(*args)

    def write(self, call: Callable[..., T], *args: Any) -> T:
        return call(*args)

    def breathe(self) -> None:
        self._turns.switch()

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        self._turns.later(seconds, call, owner=self._owner)

    def close(self) -> None:
        self._work()

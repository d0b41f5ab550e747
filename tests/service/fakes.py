"""What stands in for the network, the threads of the store, and slow passwords."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, make_url

from greenchat.data import Inline
from greenchat.data.engine.database import CommitUnknown
from greenchat.data.engine.sqlite import SqliteDatabase
from greenchat.model.records import Share
from greenchat.ports.peer import Peer

T = TypeVar("T")


class Switches(Inline):
    """Runs the store in place, and lets a test act where a real store would switch greenlets.

    Attributes:
        hooks: each is called once, one at each point where a call of the store may switch: before
            a read, after a read, after a write.
        broken: a database that is away: ``"read"``, ``"write"`` or both.
    """

    def __init__(self) -> None:
        self.hooks: list[Callable[[], object]] = []
        self.broken: set[str] = set()

    def read(self, call: Callable[..., T], *args: Any) -> T:
        """Call it between two switches."""
        self.switch()
        self.check("read")
        found = call(*args)
        self.switch()
        return found

    def write(self, call: Callable[..., T], *args: Any) -> T:
        """Call it."""
        self.check("write")
        return call(*args)

    def waiter(self) -> Any:
        """Return a waiter that switches once it has its result."""
        waiter: Any = super().waiter()
        get = waiter.get

        def get_and_switch() -> Any:
            found = get()
            self.switch()
            return found

        waiter.get = get_and_switch
        return waiter

    def switch(self) -> None:
        """Let the next hook act."""
        if self.hooks:
            self.hooks.pop(0)()

    def check(self, doing: str) -> None:
        """Raise what a database raises that is away, if it is."""
        if doing in self.broken:
            raise OSError(5, f"the test broke the {doing}")


class DoubtfulDatabase(SqliteDatabase):
    """A database in memory whose operations run beside the committer, and that may lose the answer to COMMIT.

    Args:
        runner: of its store.

    Attributes:
        doubt: what becomes of the next transaction that writes: True if it is carried out and its answer
            lost, False if it is not and nobody can know; None if all is well.
        goes: the database is away after that.
    """

    parallel = True

    def __init__(self, runner: Switches) -> None:
        super().__init__(make_url("sqlite://"))
        self.doubt: bool | None = None
        self.goes = False
        self._away = False
        self._runner = runner

    def come_back(self) -> None:
        """Be well again."""
        self.doubt, self._away = None, False

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self._look()
        doubt, self.doubt = self.doubt, None
        self._away = self.goes and doubt is not None
        with super().writing() as db:
            yield db
            if doubt is False:
                raise CommitUnknown("the test lost the COMMIT")
        if doubt:
            raise CommitUnknown("the test lost the answer to COMMIT")

    @contextmanager
    def operating(self) -> Iterator[Connection]:
        self._runner.switch()
        self._runner.check("write")
        with self.writing() as db:
            yield db
        self._runner.switch()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        self._look()
        with super().writing() as db:
            yield db

    def _look(self) -> None:
        if self._away:
            raise OSError(5, "the test broke the database")


class PlainPasswords:
    """Passwords that cost nothing; test_passwords.py is about the real ones."""

    def __init__(self) -> None:
        self.hooks: list[Callable[[], object]] = []

    def hash(self, password: str, share: Share) -> str:
        return password

    def outdated(self, hashed: str) -> bool:
        return False

    def verify(self, hashed: str | None, password: str, share: Share) -> bool:
        """Compare; a hook acts where a real hash would switch greenlets."""
        if self.hooks:
            self.hooks.pop(0)()
        return hashed == password


class FakePeer(Peer):
    """A peer that takes everything at once (unless it is stuck) and remembers it.

    Attributes:
        raw: what was sent, without the terminators.
        frames: the same, as objects.
    """

    address: str = ""
    present: bool = True

    def __init__(self, terminator: bytes = b"\n", address: str = "127.0.0.1:1") -> None:
        self._terminator = terminator
        self.room = 1_000
        self.drained = 0
        self.address = address
        self.frames: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.closed: str | None = None
        self.paused = False
        self.present = True
        self.stuck = False
        self._unwritten: list[Callable[[], None]] = []

    def send(self, frame: bytes) -> None:
        assert frame.endswith(self._terminator), "a frame is not complete"
        frame = frame[: -len(self._terminator)]
        assert self._terminator not in frame, "a frame is several"
        if self.closed is None:
            self.raw.append(frame)
            self.frames.append(json.loads(frame))

    def close(self, reason: str, retry_after: float | None = None) -> None:
        self.closed = self.closed or reason

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def when_written(self, call: Callable[[], None]) -> None:
        self._unwritten.append(call)
        if not self.stuck:
            self.write()

    def write(self) -> None:
        """Write what was sent, if the connection still stands."""
        calls, self._unwritten = self._unwritten, []
        for call in calls:
            if self.closed is None:
                call()

    def has_room(self, frames: int, before: int = 0) -> bool:
        return before + frames <= self.room

    def drop_paced(self) -> None:
        pass

    def drain(self) -> bool:
        self.drained += 1
        return self.closed is None

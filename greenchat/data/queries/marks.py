"""Marks: cursors, read marks and devices gone offline, kept in memory until they are written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, select, tuple_, update

from greenchat.data.engine.query import Query, pieces
from greenchat.data.engine.runner import Waiter
from greenchat.data.engine.statements import Statements
from greenchat.data.queries.devices import close_devices
from greenchat.data.schema import Cursor, GroupUser, ReadMark
from greenchat.model.records import Node

CursorKey = tuple[int, str, int]
"""User, device, conversation."""


Position = tuple[int, int, int]
"""A device's receipts of a conversation: received, own_from, own_to (see ``ports.Store.move_cursor``)."""


class Close(NamedTuple):
    """A device's end of being online."""

    node: Node
    now: str
    turn: int


class Unwritten(NamedTuple):
    """Marks that wait to be written."""

    cursors: dict[CursorKey, Position]
    read: dict[tuple[int, int], int]
    closes: dict[tuple[int, str], Close]

    def __bool__(self) -> bool:
        return any(self)

    def of(self, userid: int, device: str) -> bool:
        """Return whether any of them is of this device."""
        return (userid, device) in self.closes or any(key[:2] == (userid, device) for key in self.cursors)


NOTHING = Unwritten({}, {}, {})


class Marks:
    """The marks that are not yet in the database.

    They are taken out to be written, and kept again if that fails.

    Args:
        waiter: makes an event that others wait for while a block writes (``Runner.waiter``).

    Attributes:
        unwritten: the marks that no block has taken; the store adds cursors to it directly, since there is
            one for each message.
        turn: of the last close; they are numbered.
        under_way: the blocks that are writing marks.
    """

    def __init__(self, waiter: Callable[[], Waiter]) -> None:
        self.waiter = waiter
        self.unwritten = Unwritten({}, {}, {})
        self.turn = 0
        self.under_way: set[Taken] = set()

    def __bool__(self) -> bool:
        return any(self.unwritten)

    def read(self, userid: int, conversation: int, seq: int) -> None:
        """Keep the user's furthest read mark."""
        marks = self.unwritten.read
        marks[userid, conversation] = max(seq, marks.get((userid, conversation), 0))

    def read_mark(self, userid: int, conversation: int) -> int:
        """Return the user's read mark that waits or is being written, 0 if none is."""
        all_marks = (self.unwritten, *[block.marks for block in self.under_way])
        return max(marks.read.get((userid, conversation), 0) for marks in all_marks)

    def close(self, userid: int, device: str, node: Node, now: str) -> None:
        """Keep that a device went offline."""
        self.turn += 1
        self.unwritten.closes[userid, device] = Close(node, now, self.turn)

    def taken(self, opening: tuple[int, str] | None = None) -> Taken:
        """Take all marks out for a block to write; if it raises, they are kept again.

        Args:
            opening: user and device that the block marks online after it has written the marks: if
                it does, their older close is done with, even if it was another block that failed
                to write it.
        """
        return Taken(self, opening)

    def wait_for(self, userid: int, device: str) -> None:
        """Wait until no block is writing marks of a device.  May switch."""
        while blocks := [block for block in self.under_way if block.marks.of(userid, device)]:
            blocks[0].landed.get()

    def put_back(self, taken: Unwritten) -> None:
        """Keep marks that could not be written; those that came since are newer."""
        since = self.unwritten
        read = {key: max(taken.read.get(key, 0), since.read.get(key, 0)) for key in taken.read | since.read}
        self.unwritten = Unwritten(taken.cursors | since.cursors, read, taken.closes | since.closes)

    def set_back(self, conversation: int, upto: int) -> None:
        """Draw cursors and read marks of a conversation back to ``upto``."""
        cursors, read = self.unwritten.cursors, self.unwritten.read
        for cursor in [key for key in cursors if key[2] == conversation]:
            received, own_from, own_to = cursors[cursor]
            own = (own_from, own_to) if own_to <= upto else (0, 0)
            cursors[cursor] = (min(received, upto), *own)
        for mark in [key for key in read if key[1] == conversation]:
            read[mark] = min(read[mark], upto)

    def forget(self, userid: int, conversation: int) -> None:
        """Drop the user's cursors of a conversation."""
        cursors = self.unwritten.cursors
        for key in [key for key in cursors if key[0] == userid and key[2] == conversation]:
            del cursors[key]


class Taken:
    """The context manager of ``Marks.taken``.

    Attributes:
        marks: the marks that the block writes.
        landed: set once it has; there only if it has any.
    """

    __slots__ = ("_keeper", "_opening", "_turn", "landed", "marks")

    def __init__(self, keeper: Marks, opening: tuple[int, str] | None) -> None:
        self._keeper = keeper
        self._opening = opening

    def __enter__(self) -> Unwritten:
        keeper = self._keeper
        self._turn = keeper.turn
        if not any(keeper.unwritten):  # as for most logins
            self.marks = NOTHING
            return NOTHING
        self.marks, keeper.unwritten = keeper.unwritten, Unwritten({}, {}, {})
        self.landed = keeper.waiter()
        keeper.under_way.add(self)
        return self.marks

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        keeper = self._keeper
        if self.marks is not NOTHING:
            if kind is not None:
                keeper.put_back(self.marks)
            keeper.under_way.discard(self)
            self.landed.set(None)
        if kind is None and self._opening is not None:
            close = keeper.unwritten.closes.get(self._opening)
            if close and close.turn <= self._turn:
                del keeper.unwritten.closes[self._opening]


_READ_MARK = Query(
    select(ReadMark.c.read_seq).where(
        ReadMark.c.userid == bindparam("u"), ReadMark.c.conversation == bindparam("c")
    )
)
_DELIVERED = select(Cursor).where(
    tuple_(Cursor.c.userid, Cursor.c.device, Cursor.c.conversation).in_(bindparam("those", expanding=True))
)
_JOINED = select(GroupUser.c.userid, GroupUser.c.groupid, GroupUser.c.joined_seq).where(
    tuple_(GroupUser.c.userid, GroupUser.c.groupid).in_(bindparam("those", expanding=True))
)


def read_mark(db: Connection, userid: int, conversation: int) -> int:
    """Return the user's read mark in a conversation, 0 if there is none."""
    found = _READ_MARK.run(db, u=userid, c=conversation)
    return int(found[0][0]) if found else 0


_DRAW_BACK = [
    update(table)
    .where(
        table.c.userid.in_(bindparam("users", expanding=True)),
        table.c.conversation == bindparam("c"),
        column > bindparam("upto"),
    )
    .values({column: bindparam("upto")})
    for table, column in ((Cursor, Cursor.c.delivered_seq), (ReadMark, ReadMark.c.read_seq))
]


def set_back(db: Connection, conversation: int, users: Collection[int], upto: int) -> None:
    """Draw the cursors and read marks of some users in a conversation back."""
    for some in pieces(sorted(users)):
        for draw_back in _DRAW_BACK:
            db.execute(draw_back, {"users": some, "c": conversation, "upto": upto})


def write(db: Connection, sql: Statements, marks: Unwritten) -> None:
    """Write marks: no cursor or read mark back or past its log's end, none where there is no log."""
    if not marks:
        return
    heads = sql.heads(db, {key[2] for key in marks.cursors} | {key[1] for key in marks.read})
    sql.raise_cursors.run(db, sorted(_cursors(db, marks.cursors, heads)))
    read = [(*key, min(seq, heads[key[1]])) for key, seq in marks.read.items() if key[1] in heads]
    sql.raise_read_marks.run(db, sorted(read))
    if marks.closes:
        closing = [(*key, *close.node) for key, close in marks.closes.items()]
        close_devices(db, closing, max(close.now for close in marks.closes.values()))


def _cursors(
    db: Connection, positions: dict[CursorKey, Position], heads: dict[int, int]
) -> Iterator[tuple[int, str, int, int]]:
    """Work out the rows; where the cursor stands matters only to a run of own messages ahead of it."""
    ahead = {}
    for key, (received, own_from, own_to) in positions.items():
        head = heads.get(key[2], 0)
        reached, own = min(received, head), min(own_to, head)
        if reached < own and reached < own_from - 1:
            ahead[key] = (own_from, own)
        elif own_from:
            reached = max(reached, own)
        if reached:
            yield (*key, reached)
    stands = _stands(db, list(ahead))
    for key, (own_from, own) in ahead.items():
        if stands[key] >= own_from - 1:
            yield (*key, own)


def _stands(db: Connection, keys: list[CursorKey]) -> dict[CursorKey, int]:
    """Return where these cursors are; those of groups start where their user joined."""
    delivered = {row[:3]: row[3] for row in _look_up(db, _DELIVERED, keys)}
    places = sorted({(key[0], -key[2]) for key in keys if key[2] < 0})
    joined = {(row[0], -row[1]): row[2] for row in _look_up(db, _JOINED, places)}
    return {key: max(delivered.get(key, 0), joined.get((key[0], key[2]), 0)) for key in keys}


def _look_up(db: Connection, statement: Select[Any], keys: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    for some in pieces(keys):
        yield from db.execute(statement, {"those": some})

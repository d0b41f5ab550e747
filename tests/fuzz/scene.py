"""A small world that begins the same each time, and what must hold whatever its people send."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections import Counter
from collections.abc import Container
from typing import Any

from greenchat.bus import open_backend
from greenchat.data.engine.sqlite import SqliteStatements
from greenchat.errors import Busy, MalformedFrame
from greenchat.metrics import HANDLER_ERRORS
from greenchat.model.records import Node
from greenchat.protocol.classic.dialects import FIRST_OF_OLDER
from greenchat.protocol.lines import MAX_REQUEST_FRAME
from greenchat.protocol.messages import UNANSWERED, MsgId, msgid_of
from greenchat.protocol.native import NATIVE, TOLD_OF_UNANSWERED
from greenchat.service.session import MAX_BAD_FRAMES
from tests.fuzz.wire import check_classic_frame, check_frame, is_answer
from tests.service.world import NOON, Person, World

OLDER = FIRST_OF_OLDER - MsgId.LOGIN
"""By how much the msgids of the older lineage differ from today's."""

ROUNDS = 20
"""Turns in which all that was put off must be done, once the database is well."""

USERS = range(1, 10)
"""Whoever there is, with those who register."""

BROKEN = {b"rw": ("read", "write"), b"w": ("write",)}
"""What ``!`` breaks of the database; anything else mends it."""

IMPOSSIBLE = (
    """
    SELECT conversation, COUNT(*), MIN(seq), MAX(seq), last_seq
    FROM Message LEFT JOIN Conversation ON id = conversation GROUP BY conversation
    HAVING MIN(seq) <> 1 OR COUNT(*) <> MAX(seq) OR COUNT(*) IS NOT last_seq
    """,
    """
    SELECT groupid, size, COUNT(*) FROM GroupUser JOIN AllGroup ON id = groupid GROUP BY groupid
    HAVING COUNT(*) <> size OR SUM(grouprole = 'creator') <> 1
    """,
    "SELECT id, state FROM User WHERE state <> 'offline'",
    "SELECT userid, device, node FROM Device WHERE node IS NOT NULL",
)
"""What must find nothing once everybody has left."""


_MSGID = re.compile(rb'("msgid": ?)(-?\d{1,6})(?=[,}])')


class Bugs(logging.Handler):
    """Keeps the tracebacks that are logged within its ``with`` block: each is of a bug."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._formatter = logging.Formatter()

    def __enter__(self) -> None:
        self.found.clear()
        logging.getLogger("greenchat").addHandler(self)

    def __exit__(self, *exception: object) -> None:
        logging.getLogger("greenchat").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(f"{record.getMessage()}\n{self._formatter.formatException(record.exc_info)}")


class Scene(World):
    """Ann, Bob and Cem, with friends, groups, a block and a past; Ann and Bob are online.

    Making a database takes ten times as long as a conversation, so it is made once and copied.
    """

    def __init__(self) -> None:
        super().__init__(None)
        ann, bob, cem = self.users("ann", "bob", "cem")
        ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
        bob.ok(MsgId.ADD_FRIEND, friendid=ann.id)
        cem.ok(MsgId.BLOCK, userid=ann.id)
        ours, theirs = ann.group("ours", bob, cem), bob.group("theirs", cem)
        ann.say(ours, "to all")
        bob.say(ours, "\N{GRINNING FACE}")
        bob.say(theirs, "to Cem")
        for msg in ("first", "second", "third"):
            ann.chat(bob, msg)
        ann.ok(MsgId.RECALL, peerid=bob.id, target=2)
        for person in (ann, bob, cem):
            person.leave()
        self.store.write_marks()
        self._beginning = self._database().serialize()
        self.bugs = Bugs()

    def begin(self, alone: bool = True) -> None:
        """Set all back to how it was; ``alone`` says whether there are no other nodes."""
        self.runner.broken.clear()
        self._database().deserialize(self._beginning)
        statements = self.store.database.statements
        assert isinstance(statements, SqliteStatements)
        statements.forget_heads()  # it trusts that nobody else writes to the database
        self.time = NOON + 60
        self._later.clear()
        backend = open_backend("local://")
        backend.bus.alone = alone
        self.serve(backend, Node("n", 1), lambda seconds, call: self._later.append(call))

    def check(self) -> None:
        """Hold that no bug has shown."""
        assert self.bugs.found == []

    def check_database(self) -> None:
        """Hold what is true of every database when nobody is online."""
        db = self._database()
        for impossible in IMPOSSIBLE:
            assert db.execute(impossible).fetchall() == []

    def finish(self) -> None:
        """Let all that was put off be done."""
        self.runner.broken.clear()
        for _ in range(ROUNDS):
            self.commit()
            if not self._later:
                break
        self.store.write_marks()

    def _database(self) -> sqlite3.Connection:
        """Return SQLite's own connection, of which there is one for a database in memory."""
        database: Any = self.store.read(lambda db: db.connection.driver_connection)
        assert isinstance(database, sqlite3.Connection)
        return database


class Link:
    """A connection, what was sent over it, and what must come back.

    Attributes:
        person: who sits there.
        user: who is, or was last, logged in.
        shift: by how much the msgids of an original client of the older lineage differ from today's.
    """

    def __init__(self, person: Person, user: int | None = None, shift: int = 0) -> None:
        self.person = person
        self.user = user
        self.shift = shift
        self._due = 0
        self._optional = 0
        self._asked: Counter[str] = Counter()
        self._errors = 0
        self._ended = False

    @property
    def closed(self) -> str | None:
        """Why the server closed the connection; None while it stands."""
        return self.person.peer.closed

    def send(self, frame: bytes) -> None:
        """Send a frame, and note which answer is due."""
        msgid, cid = _read(frame)
        if msgid in UNANSWERED:
            self._optional += 1
        else:
            self._due += 1
        if cid is not None:
            self._asked[cid] += 1
        self.person.session.receive(_shifted(frame, self.shift) if self.shift else frame)

    def take(self) -> list[dict[str, Any]]:
        """Return what came, having checked it."""
        raw, self.person.peer.raw = self.person.peer.raw, []
        self.person.peer.frames.clear()
        if self.person.classic:
            frames = [check_classic_frame(frame, self.shift) for frame in raw]
        else:
            frames = list(map(check_frame, raw))
        for frame in frames:
            self._note(frame)
        return frames

    def check_answered(self) -> None:
        """Hold that nothing is due any more."""
        if self.closed is None and not self.person.classic:
            assert self._due == 0, "a request was not answered"

    def _note(self, frame: dict[str, Any]) -> None:
        if not is_answer(frame):
            return
        if frame.get("re") in UNANSWERED:
            assert frame["errno"] in TOLD_OF_UNANSWERED
            self._optional -= 1
            assert self._optional >= 0, "more answers than requests"
        else:
            self._due -= 1
            assert self._due >= 0 or self.person.classic, "more answers than requests"
        if "cid" in frame:
            self._asked[frame["cid"]] -= 1
            assert self._asked[frame["cid"]] >= 0, "more replies than requests with this cid"
        if frame["msgid"] == MsgId.ERROR:
            self._errors += 1
        if frame["msgid"] == MsgId.LOGIN_ACK and not frame["errno"]:
            self.user = frame["id"]

    def check_end(self, replaced: Container[int]) -> None:
        """Hold that the connection was closed, if so, for one of its reasons.

        Args:
            replaced: users of whom a device was taken over, or the password changed.
        """
        if self.closed == "replaced":
            assert self.user
            assert self.user in replaced, "nobody took this device or changed the password"
        elif self.person.classic:
            assert self.closed in (None, "protocol", "another protocol")
        else:
            assert self.closed == ("protocol" if self._errors == MAX_BAD_FRAMES else None)

    def leave(self) -> None:
        """Lose the connection."""
        self.person.peer.close("closed by peer")
        self.end()

    def end(self) -> None:
        """Tell the session that the connection has ended, if it has."""
        if self.closed is not None and not self._ended:
            self._ended = True
            self.person.session.closed(self.closed)


def _shifted(frame: bytes, shift: int) -> bytes:
    """Return a frame with the msgid of the older lineage, if it has any."""
    return _MSGID.sub(lambda found: b"%s%d" % (found[1], int(found[2]) + shift), frame)


def _read(frame: bytes) -> tuple[int | None, str | None]:
    """Return the msgid and cid of a frame, as far as they can be seen in it."""
    try:
        request = NATIVE.request(frame)
    except MalformedFrame as malformed:
        return malformed.re, malformed.cid
    return msgid_of(request), request.cid


class Conversation:
    """People of a scene who send whatever they like.

    A step is a line of bytes.  Its first byte says who sends the rest: Ann, Bob, her phone, a
    newcomer or an original client (``c``; of the older lineage ``o``), as a capital to have it wait
    for a later commit.  ``!`` takes the database away or brings it back, ``~`` lets time pass, and
    ``/`` ends a connection and opens another.  ``<token>`` stands for the newest token that was
    given out.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        scene.begin()
        ann, bob, phone = (scene.connect() for _ in range(3))
        ann.login(id=1)
        bob.login(id=2)
        phone.login(id=1, device="phone")
        self.links = {
            "a": Link(ann, 1),
            "b": Link(bob, 2),
            "p": Link(phone, 1),
            "n": Link(scene.connect()),
            "c": Link(scene.connect(classic=True)),
            "o": Link(scene.connect(classic=True), shift=OLDER),
        }
        for person in (ann, bob, phone):
            person.pushed()
            person.peer.raw.clear()
        self._token = ann.token
        self._replaced: set[int] = set()
        self._errors = HANDLER_ERRORS.value

    def step(self, line: bytes) -> None:
        """Do what a line says, and hold what must hold after it."""
        first, rest = line[:1].decode("latin-1"), line[1:]
        if first == "!":
            self._scene.runner.broken = set(BROKEN.get(rest, ()))
        elif first == "~":
            self._scene.time += 100
        elif first == "/":
            self._reconnect(rest[:1].decode("latin-1"))
        elif first.lower() in self.links:
            self.say(first.lower(), rest, commit=first.islower())

    def say(self, who: str, frame: bytes, commit: bool = True) -> None:
        """Have somebody send a frame."""
        if self.links[who].closed == "another protocol":
            self._reconnect(who)
        link = self.links[who]
        frame = frame.replace(b"<token>", self._token.encode())
        if link.closed is None and 0 < len(frame) <= MAX_REQUEST_FRAME:
            link.send(frame)
        if commit:
            self._scene.commit()
        self._look()
        if commit:
            for link in self.links.values():
                link.check_answered()

    def end(self) -> None:
        """Have everybody leave, and look at what is left."""
        self._scene.finish()
        self._look()
        for link in self.links.values():
            link.check_answered()
            link.leave()
        self._scene.finish()
        self._scene.check()
        self._scene.check_database()

    def _reconnect(self, who: str) -> None:
        if who in self.links:
            self.links[who].leave()
            shift = self.links[who].shift
            self.links[who] = Link(self._scene.connect(classic=who in "co"), shift=shift)

    def _look(self) -> None:
        """Read what came, and hold that no bug has shown and nobody was cut off without a reason."""
        for link in self.links.values():
            for frame in link.take():
                self._note(link, frame)
        assert HANDLER_ERRORS.value == self._errors, self._scene.bugs.found
        self._scene.check()
        for link in self.links.values():
            link.check_end(self._replaced)
            link.end()

    def _note(self, link: Link, frame: dict[str, Any]) -> None:
        done = is_answer(frame) and not frame.get("errno")
        if done and (frame["msgid"] == MsgId.LOGIN_ACK or frame.get("re") == MsgId.CHANGE_PASSWORD):
            self._token = frame.get("token", self._token)
            assert link.user
            self._replaced.add(link.user)
        elif frame["msgid"] == MsgId.LOGIN_ACK and frame["errno"] == Busy.errno:
            # It has taken a place before the database failed; of whom it does not say.
            self._replaced.update(USERS)

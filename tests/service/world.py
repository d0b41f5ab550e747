"""A service over a real SQLite store, without sockets, greenlets or waiting: for the service's tests."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

from greenchat.bus import Backend, open_backend
from greenchat.config import Settings
from greenchat.data import SqlStore, open_store
from greenchat.errors import RequestError
from greenchat.model.records import Node
from greenchat.ports.timer import Later
from greenchat.protocol.classic.clients import ClassicClients
from greenchat.protocol.classic.wire import NUL, ClassicWire
from greenchat.protocol.lines import NEWLINE
from greenchat.protocol.messages import HeartbeatTerms, MsgId
from greenchat.protocol.native import NATIVE
from greenchat.service.service import Service
from greenchat.service.session import Session
from tests.service.fakes import FakePeer, PlainPasswords, Switches

NOON = 1_800_000_000.0
"""2027-01-15T08:00:00Z, where the clock of a world stands at first."""

ERRORS = {0: "ok"} | {kind.errno: kind.error for kind in RequestError.__subclasses__() if kind.errno > 1}

LOG_FRAMES = (MsgId.ONE_CHAT, MsgId.GROUP_CHAT, MsgId.RECALL)


def seqs(entries: list[dict[str, Any]]) -> list[int]:
    """Return the seqs of some entries."""
    return [entry["seq"] for entry in entries]


def compact(value: object) -> bytes:
    """Return JSON as the server writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Person:
    """A connection to the service and who sits behind it."""

    _numbers = itertools.count(1)

    def __init__(self, world: World, classic: bool = False, **peer: str) -> None:
        self.world = world
        self.classic = classic
        self.terminator = NUL if classic else NEWLINE
        self.peer = FakePeer(self.terminator, **peer)
        wire = ClassicWire(world.classics, self.peer.address) if classic else NATIVE
        self.session = Session(world.service, self.peer, wire)
        self.id = 0
        self.token = ""
        self.ack: dict[str, Any] = {}

    # -- Asking

    def put(self, msgid: int, **fields: Any) -> None:
        """Send a frame, and leave what it appends uncommitted."""
        self.session.receive(json.dumps({"msgid": msgid} | fields).encode())

    def send(self, msgid: int, **fields: Any) -> None:
        self.put(msgid, **fields)
        self.world.commit()

    def raw(self, frame: bytes) -> None:
        self.session.receive(frame)
        self.world.commit()

    def ask(self, msgid: int, **fields: Any) -> dict[str, Any]:
        """Send a request and return its reply."""
        cid = fields.setdefault("cid", f"q{next(self._numbers)}")
        self.send(msgid, **fields)
        return self.reply(cid)

    def reply(self, cid: str) -> dict[str, Any]:
        """Take the reply that echoes a cid out of what came."""
        replies = [frame for frame in self.peer.frames if frame.get("cid") == cid and "errno" in frame]
        assert len(replies) == 1, f"not one reply to {cid}: {self.peer.frames[-3:]}"
        self.peer.frames.remove(replies[0])
        return replies[0]

    def ok(self, msgid: int, **fields: Any) -> dict[str, Any]:
        """Send a request that must succeed, and return its reply."""
        reply = self.ask(msgid, **fields)
        assert reply["errno"] == 0, reply
        assert "error" not in reply
        return reply

    def refused(self, errno: int, msgid: int, **fields: Any) -> dict[str, Any]:
        """Send a request that must fail with a code, and return its reply."""
        reply = self.ask(msgid, **fields)
        assert reply["errno"] == errno, reply
        assert reply["errmsg"]
        assert errno == 1 or reply["error"] == ERRORS[errno]
        assert reply["msgid"] == {1: 2, 4: 5, 15: 16}.get(msgid, MsgId.ACK)
        assert reply["msgid"] != MsgId.ACK or reply["re"] == msgid
        return reply

    # -- Doing

    def login(self, **fields: Any) -> dict[str, Any]:
        if "token" not in fields:
            fields.setdefault("password", "pw")
        ack = self.ok(MsgId.LOGIN, **fields)
        self.id, self.token, self.ack = ack["id"], ack["token"], ack
        return ack

    def chat(self, other: Person, msg: str = "hi", **fields: Any) -> int:
        """Send a message to somebody and return its seq."""
        seq: int = self.ok(MsgId.ONE_CHAT, toid=other.id, msg=msg, **fields)["seq"]
        return seq

    def say(self, groupid: int, msg: str = "hi", **fields: Any) -> int:
        """Send a message to a group and return its seq."""
        seq: int = self.ok(MsgId.GROUP_CHAT, groupid=groupid, msg=msg, **fields)["seq"]
        return seq

    def fill(self, count: int, msg: str = "hi", **where: int) -> None:
        """Have many messages stored in one commit."""
        for _ in range(count):
            self.put(MsgId.GROUP_CHAT if "groupid" in where else MsgId.ONE_CHAT, msg=msg, **where)
        self.world.commit()
        self.pushed()

    def group(self, name: str, *members: Person) -> int:
        """Create a group, let others join, and return its id."""
        groupid: int = self.ok(MsgId.CREATE_GROUP, groupname=name)["groupid"]
        for member in members:
            member.ok(MsgId.ADD_GROUP, groupid=groupid)
        return groupid

    def history(self, **fields: Any) -> list[dict[str, Any]]:
        """Return a page of a conversation's past."""
        messages: list[dict[str, Any]] = self.ok(MsgId.HISTORY, **fields)["messages"]
        return messages

    def leave(self) -> None:
        """Lose the connection."""
        self.peer.close("closed by peer")
        self.session.closed("closed by peer")

    # -- Seeing

    def pushed(self, *msgids: int) -> list[dict[str, Any]]:
        """Return the frames that came unasked, all or those of some msgids, and forget all."""
        frames = [frame for frame in self.peer.frames if not msgids or frame["msgid"] in msgids]
        self.peer.frames.clear()
        return frames

    def live(self) -> list[int]:
        """Return the seqs of the entries that came live, and forget all that came."""
        return [frame["seq"] for frame in self.pushed(*LOG_FRAMES)]

    def sync_all(self) -> list[dict[str, Any]]:
        """Return what the LOGIN_ACK had of missed messages and what SYNC gives until there is no more."""
        page, missed = self.ack, list(self.ack["offlinemsg"])
        while page["more"]:
            page = self.ok(MsgId.SYNC)
            assert page["offlinemsg"], "an empty page that says that there is more"
            missed += page["offlinemsg"]
            assert len(missed) < 10_000, "pages without an end"
        return missed


def presence(person: Person) -> list[tuple[int, str]]:
    """Return the states of friends that somebody was told, and forget them."""
    person.world.commit()
    return [(frame["id"], frame["state"]) for frame in person.pushed(MsgId.PRESENCE)]


class World:
    """A node with a database in a folder.

    Args:
        folder: where the database is; None for one in memory.
        limits: settings that differ from the defaults.
    """

    def __init__(self, folder: Path | None, **limits: Any) -> None:
        self.time = NOON
        self.settings = Settings(**limits)
        self.url = f"sqlite:///{folder}/chat.db" if folder else "sqlite://"
        self.start()

    def start(self) -> None:
        limits = self.settings
        self._later: list[Callable[[], object]] = []
        self.runner = Switches()
        self.store = self.open(
            max_friends=limits.max_friends,
            max_groups=limits.max_groups,
            max_members=limits.max_members,
            max_devices=limits.max_devices,
            max_queue=limits.commit_queue,
        )
        self.store.start()
        self.serve(open_backend("local://"), Node("n", 1), lambda seconds, call: self._later.append(call))

    def open(self, **limits: int) -> SqlStore:
        """Return the store, not yet started."""
        return open_store(self.url, runner=self.runner, **limits)

    def serve(self, backend: Backend, node: Node, later: Later) -> None:
        """Begin to serve people."""
        self.classics = ClassicClients(UTC, lambda: self.time)
        self.service = Service(
            store=self.store,
            bus=backend.bus,
            counters=backend.counters,
            friends=backend.friends,
            node=node,
            limits=self.settings,
            heartbeat=HeartbeatTerms(1.0, 5),
            clock=lambda: self.time,
            monotonic=lambda: self.time,
            offload=lambda share, function, *args: function(*args),
            later=later,
            pause=self.pause,
        )
        self.passwords = self.service.passwords = PlainPasswords()  # type: ignore[assignment]

    def pause(self, seconds: float) -> None:
        """Wait, where a real service lets others go on."""
        self.runner.switch()

    def commit(self) -> None:
        """Commit what was appended and let it be delivered."""
        self.store.commit_waiting()
        later, self._later = self._later, []
        for call in later:
            call()

    def close(self) -> None:
        self.runner.broken.clear()
        self.store.close()

    def restart(self) -> None:
        """Stop the node and start it anew; everybody's connection is gone."""
        self.store.close_node(Node("n", 1), self.service.now())
        self.close()
        self.start()

    def switching(self, *hooks: Callable[[], object]) -> None:
        """Have each hook called at one of the next points where the store may switch."""
        self.runner.hooks.extend(hooks)

    def when(self, ready: Callable[[], object], act: Callable[[], object]) -> None:
        """Have something done at the first point where the store may switch and something is so."""

        def look() -> None:
            if ready():
                act()
            else:
                self.runner.hooks.insert(0, look)

        self.runner.hooks.append(look)

    # -- People

    def connect(self, classic: bool = False, **peer: str) -> Person:
        return Person(self, classic, **peer)

    def user(self, name: str, **fields: Any) -> Person:
        """Return a new user who is logged in."""
        person = self.connect()
        person.ok(MsgId.REG, name=name, password="pw")
        person.login(name=name, **fields)
        return person

    def users(self, *names: str) -> list[Person]:
        """Return new users who are logged in."""
        return [self.user(name) for name in names]

    def absent(self, name: str) -> Person:
        """Return a new user who has been here once and is offline."""
        person = self.user(name)
        person.leave()
        return person

    def log_in(self, who: Person | int, **fields: Any) -> Person:
        """Log a user in on a new connection."""
        person = self.connect()
        person.login(id=who if isinstance(who, int) else who.id, **fields)
        return person

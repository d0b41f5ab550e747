"""One connection of a device: the login, then frames, heartbeats and pages, until it is over.

A reading of docs/protocol.md of its own, in JSON and sockets, that shares no code with server or client.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple, Protocol

from lab.record import (
    LIVE,
    PAGE,
    PAST,
    RECALL,
    TEXT,
    Arrival,
    Attempt,
    Connection,
    Past,
    Record,
    of_pair,
)

LOGIN, ONE_CHAT, GROUP_CHAT, RECEIVED = 1, 6, 10, 13
ACK, HEARTBEAT, HISTORY, HISTORY_ACK, RECALLED, PRESENCE, BYE, SYNC = 11, 12, 15, 16, 17, 23, 24, 25

ALREADY_ONLINE, NOT_LOGGED_IN, BUSY = 2, 5, 13

TICK = 0.1
"""Seconds between two ticks of a device."""

CONNECTING = 3.0
"""Seconds that connecting may take."""

ANSWERING = 15.0
"""Seconds that the answer to a login may take."""

SLOW = 0.05
"""Seconds without its echo from which on a HEARTBEAT is written down."""

LIMIT = 2**21
"""Bytes of the longest line from the server, and some."""

RESET = struct.pack("ii", 1, 0)

Frame = dict[str, Any]


class Place(Protocol):
    """The address of a server."""

    node: str
    host: str
    port: int


class Gone(Exception):
    """Raised if a connection is over; its text says why."""


class Proof(NamedTuple):
    """The proof of a login: fields of LOGIN, and the time at which its token was issued."""

    fields: Frame
    issued: float


class Owner(Protocol):
    """The device of a connection."""

    record: Record

    def proof(self) -> Proof:
        """Return how the next login is proved."""

    def refused(self, errno: int, proof: Proof) -> None:
        """Take note that a login was."""

    def welcome(self, visit: Visit, ack: Frame, proof: Proof) -> None:
        """Take note that a login was not."""

    def arrived(self, arrival: Arrival) -> None:
        """Take note of an entry, live or of a page."""

    def answered(self, visit: Visit, frame: Frame) -> bool:
        """Take an ACK; return False if nobody waits for it."""

    def tick(self, visit: Visit, now: float) -> None:
        """Do the work of a tick."""


class Visit:
    """A connection of a device.

    Args:
        owner: the device.
        place: where it leads.

    Attributes:
        place: as given.
        link: its record, from the LOGIN_ACK on.
        retry_after: seconds that the server asked to wait.
    """

    def __init__(self, owner: Owner, place: Place) -> None:
        self.place = place
        self.link: Connection | None = None
        self.retry_after = 0.0
        self._owner = owner
        self._record = owner.record
        self._writer: asyncio.StreamWriter | None = None
        self._gave_up = ""
        self._heard = self._beat_sent = self._page_asked = 0.0
        self._beats: dict[str, float] = {}
        self._pasts: dict[str, tuple[float, int, int]] = {}
        self._terms: tuple[float, int] = (1.0, 5)

    async def run(self) -> None:
        """Connect, log in, and stay while the connection lasts."""
        reason = await self._stay()
        now = monotonic()
        if self.link:
            self.link.ended, self.link.reason = now, reason
            self.link.echoes += [(sent, now - sent) for sent in self._beats.values() if now - sent > SLOW]

    def vanish(self, why: str = "") -> None:
        """Lose the connection without a word.  On the loop.

        Args:
            why: written down as the reason.
        """
        self._gave_up = self._gave_up or why
        if self._writer:
            place = self._writer.get_extra_info("socket")
            with suppress(OSError):
                place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._writer.transport.abort()

    def send(self, msgid: int, **fields: object) -> None:
        """Send a frame."""
        if self._writer:
            self._writer.write(json.dumps({"msgid": msgid, **fields}).encode() + b"\n")

    def ask_past(self, conversation: int, before: int, limit: int, whom: Frame) -> None:
        """Ask for a page of the history."""
        cid = f"past{len(self._pasts)}.{monotonic()}"
        self._pasts[cid] = monotonic(), conversation, before
        since = {"before": before} if before else {}
        self.send(HISTORY, cid=cid, limit=limit, **whom, **since)

    # -- From the login to the end

    async def _stay(self) -> str:
        try:
            async with asyncio.timeout(CONNECTING):
                reader, self._writer = await asyncio.open_connection(
                    self.place.host, self.place.port, limit=LIMIT
                )
        except OSError as error:
            return str(error) or "connecting took too long"
        ticking = None
        try:
            await self._log_in(reader)
            ticking = asyncio.create_task(self._tick_on())
            while True:
                self._take(await self._read(reader))
        except Gone as end:
            return str(end)
        except TimeoutError:
            return "the login was not answered"
        except OSError as error:
            return self._gave_up or str(error)
        except (ValueError, LookupError) as error:
            self._record.oddities.append(f"not understood: {error!r}")
            return repr(error)
        finally:
            if ticking:
                ticking.cancel()
            self.vanish()
            self._writer = None

    async def _log_in(self, reader: asyncio.StreamReader) -> None:
        proof, asked = self._owner.proof(), monotonic()
        errno = -1
        try:
            self.send(LOGIN, device=self._record.device, cid="login", **proof.fields)
            async with asyncio.timeout(ANSWERING):
                while (frame := await self._read(reader)).get("cid") != "login":
                    if frame["msgid"] == BYE:
                        self.retry_after = frame.get("retry_after", 0.0)
                        raise Gone(f"bye {frame['reason']} before the login")
            errno = frame["errno"]
        finally:
            force = bool(proof.fields.get("force"))
            self._record.attempts.append(
                Attempt(self.place.node, asked, monotonic(), errno, force, proof.issued)
            )
        if errno:
            self.retry_after = frame.get("retry_after", 0.0)
            self._owner.refused(errno, proof)
            raise Gone(f"the login was refused: {frame['error']}")
        self._begin(frame, proof, asked)

    def _begin(self, ack: Frame, proof: Proof, asked: float) -> None:
        now = monotonic()
        self._terms = ack["heartbeat"]["interval"], ack["heartbeat"]["max_missed"]
        self._heard = self._beat_sent = now
        self.link = Connection(self.place.node, now)
        self._record.connections.append(self.link)
        self.link.told += [(now, friend["id"], friend["state"]) for friend in ack["friends"]]
        self._page_asked = asked
        self._take_page(ack)
        self._owner.welcome(self, ack, proof)

    async def _read(self, reader: asyncio.StreamReader) -> Frame:
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise Gone(self._gave_up or "the server closed")
        frame: Frame = json.loads(line)
        return frame

    # -- Input

    def _take(self, frame: Frame) -> None:
        assert self.link
        self._heard = monotonic()
        msgid = frame["msgid"]
        if msgid in (ONE_CHAT, GROUP_CHAT, RECALLED):
            self._arrived(self._entry(frame, LIVE, 0.0))
        elif msgid == HEARTBEAT:
            self._echoed(frame["cid"])
        elif msgid == PRESENCE:
            self.link.told.append((self._heard, frame["id"], frame["state"]))
        elif msgid == HISTORY_ACK:
            self._take_past(frame)
        elif msgid == ACK and frame["re"] == SYNC:
            if frame["errno"] in (BUSY, NOT_LOGGED_IN):
                raise Gone("the page could not be read")
            self._take_page(frame)
        elif msgid == ACK and (frame["re"], frame["errno"]) == (RECEIVED, NOT_LOGGED_IN):
            self.link.unreceived.append(self._heard)
        elif msgid == ACK and self._owner.answered(self, frame):
            pass
        elif msgid == BYE:
            self.link.retry_after = self.retry_after = frame.get("retry_after", -1.0)
            raise Gone(f"bye {frame['reason']}")
        else:
            self._record.oddities.append(f"got {frame}")

    def _echoed(self, cid: str) -> None:
        assert self.link
        sent = self._beats.pop(cid)
        took = self._heard - sent
        self.link.echo = max(self.link.echo, took)
        if took > SLOW:
            self.link.echoes.append((sent, took))

    def _take_page(self, frame: Frame) -> None:
        for entry in frame["offlinemsg"]:
            self._arrived(self._entry(entry, PAGE, self._page_asked))
        if frame["more"]:
            self._page_asked = monotonic()
            self.send(SYNC, cid="sync")

    def _take_past(self, frame: Frame) -> None:
        assert self.link
        asked, conversation, before = self._pasts.pop(frame["cid"])
        entries = [self._entry(entry, PAST, asked) for entry in frame.get("messages", ())]
        errno, more = frame["errno"], frame.get("more", False)
        self.link.pasts.append(Past(conversation, before, asked, monotonic(), errno, tuple(entries), more))

    def _arrived(self, arrival: Arrival) -> None:
        assert self.link
        self.link.arrivals.append(arrival)
        self._owner.arrived(arrival)

    def _entry(self, entry: Frame, how: str, asked: float) -> Arrival:
        if "groupid" in entry:
            conversation = -entry["groupid"]
        elif entry["msgid"] == RECALLED:
            conversation = of_pair(self._record.user, entry["peerid"])
        else:
            conversation = of_pair(entry["id"], entry["toid"])
        if entry["msgid"] == RECALLED:
            kind, body = RECALL, str(entry["target"])
        else:
            kind, body = TEXT, "" if entry.get("recalled") else entry["msg"]
        return Arrival(conversation, entry["seq"], entry["id"], body, how, monotonic(), kind, asked)

    # -- Tasks

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = monotonic()
            interval, missed = self._terms
            if now - self._heard > interval * (missed + 2):
                self.vanish("no sign of life")
                return
            if now - self._beat_sent >= interval * 0.9:
                self._beat_sent = self._beats[f"{now}"] = now
                self.send(HEARTBEAT, cid=f"{now}")
            self._owner.tick(self, now)

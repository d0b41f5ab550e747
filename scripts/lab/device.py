"""One device of a user under load: it writes, takes everything down, and comes back whatever happens.

A reading of docs/protocol.md of its own, in JSON and sockets, that shares no code with server or client.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

from scripts.lab.record import LIVE, PAGE, Arrival, Connection, Record, Sent, of_pair

LOGIN, ONE_CHAT, GROUP_CHAT = 1, 6, 10
ACK, HEARTBEAT, RECEIVED, BYE, SYNC = 11, 12, 13, 24, 25

BUSY = 13

PASSWORD = "pw"

TICK = 0.1
"""Seconds between two looks at what a device has to do."""

WINDOW = 4
"""Messages to one conversation that a device has under way."""

AGAIN = 0.3
"""Seconds after which a message that was refused is sent again."""

MARK_CHANCE = 0.3
"""Of a RECEIVED at a tick: what is not marked is offered again after a reconnect."""

UNANSWERED = 40.0
"""Seconds without an ACK on a connection that lives, after which something is wrong with the server."""

CONNECTING = 3.0
"""Seconds that connecting may take."""

ANSWERING = 15.0
"""Seconds that the answer to a login may take."""

LEAST_PAUSE, MOST_PAUSE = 0.1, 1.0
"""Seconds between two attempts to connect."""

LIMIT = 2**21
"""Bytes of the longest line from the server, and some."""

RESET = struct.pack("ii", 1, 0)

Frame = dict[str, Any]


class Place(Protocol):
    """Where a server is."""

    node: str
    host: str
    port: int


class Gone(Exception):
    """Raised if a connection is over; its text says why."""


class Device:
    """One device of a user: a connection after the other, each to another node than the last.

    Args:
        places: the nodes.
        home: the number of that where it begins.
        record: what it writes down.
        name: of the user.
        token: for the first login; without one it is by password.
        rate: messages a second.
        chance: the dice.

    Attributes:
        record, name: as given.
        sending: whether it writes new messages.
    """

    def __init__(
        self,
        places: Sequence[Place],
        home: int,
        record: Record,
        name: str,
        token: str,
        rate: float,
        chance: random.Random,
    ) -> None:
        self.record = record
        self.sending = False
        self._places = places
        self._at = home
        self.name = name
        self._rate = rate
        self._chance = chance
        self._token = token
        self._over = False
        self._writer: asyncio.StreamWriter | None = None
        self._unacked: dict[int, dict[str, Sent]] = {one: {} for one in sorted(record.conversations)}
        self._again: dict[int, float] = {}
        self._marks: dict[int, int] = {}
        self._has: dict[int, int] = {}
        self._next = 0.0
        self._retry_after = 0.0
        self._gave_up = ""
        self._heard = 0.0
        self._beat_sent = 0.0
        self._beats: dict[str, float] = {}
        self._terms: tuple[float, int] = (1.0, 5)

    # -- What others ask it

    @property
    def online(self) -> bool:
        """Whether it is logged in."""
        links = self.record.connections
        return bool(links) and not links[-1].ended

    @property
    def node(self) -> str:
        """Where it is logged in, or was last."""
        return self.record.connections[-1].node

    @property
    def under_way(self) -> int:
        """How many of its messages are not acknowledged."""
        return sum(map(len, self._unacked.values()))

    def vanish(self) -> None:
        """Lose the connection without a word; it comes back elsewhere.  On the loop."""
        if self._writer:
            place = self._writer.get_extra_info("socket")
            with suppress(OSError):
                place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._writer.transport.abort()

    def end(self) -> None:
        """Come back no more.  On the loop."""
        self._over = True
        self.vanish()

    # -- One connection after the other

    async def run(self) -> None:
        """Be online until ``end``."""
        failures = 0
        while not self._over:
            began = len(self.record.connections)
            reason = await self._visit(self._places[self._at])
            if self.online:
                link = self.record.connections[-1]
                link.ended, link.reason = monotonic(), reason
            failures = 0 if len(self.record.connections) > began else failures + 1
            self._at = self._chance.choice([n for n in range(len(self._places)) if n != self._at] or [0])
            pause = self._chance.uniform(0, min(MOST_PAUSE, LEAST_PAUSE * 2**failures))
            await asyncio.sleep(max(pause, self._retry_after))
            self._retry_after = 0.0

    async def _visit(self, place: Place) -> str:
        """Connect, log in, and stay while the connection lasts; return why it ended."""
        try:
            async with asyncio.timeout(CONNECTING):
                reader, self._writer = await asyncio.open_connection(place.host, place.port, limit=LIMIT)
        except OSError as error:
            return str(error) or "connecting took too long"
        ticking = None
        try:
            ack = await self._log_in(reader)
            self._welcome(place.node, ack)
            ticking = asyncio.create_task(self._tick_on())
            while True:
                self._take(await self._read(reader))
        except Gone as end:
            return str(end)
        except TimeoutError:
            return "the login was not answered"
        except OSError as error:
            return str(error)
        except (ValueError, LookupError) as error:
            self.record.oddities.append(f"not understood: {error!r}")
            return repr(error)
        finally:
            if ticking:
                ticking.cancel()
            self.vanish()
            self._writer = None

    async def _log_in(self, reader: asyncio.StreamReader) -> Frame:
        proof = {"token": self._token, "force": True} if self._token else {"password": PASSWORD}
        self._send(LOGIN, name=self.name, device=self.record.device, cid="login", **proof)
        async with asyncio.timeout(ANSWERING):
            while (frame := await self._read(reader)).get("cid") != "login":
                if frame["msgid"] == BYE:
                    self._retry_after = frame.get("retry_after", 0.0)
                    raise Gone(f"bye {frame['reason']} before the login")
        if frame["errno"] not in (0, BUSY):
            self.record.oddities.append(f"the login at {self._places[self._at].node} got {frame}")
        if frame["errno"]:
            raise Gone(f"the login was refused: {frame['error']}")
        return frame

    def _welcome(self, node: str, ack: Frame) -> None:
        self._token = ack["token"]
        self._terms = ack["heartbeat"]["interval"], ack["heartbeat"]["max_missed"]
        self._gave_up = ""
        self._heard = self._beat_sent = monotonic()
        self._beats.clear()
        self._marks.clear()
        self.record.connections.append(Connection(node, monotonic()))
        self._take_page(ack)
        for conversation in self._unacked:
            self._send_again(conversation)

    async def _read(self, reader: asyncio.StreamReader) -> Frame:
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise Gone(self._gave_up or "the server closed")
        frame: Frame = json.loads(line)
        return frame

    def _send(self, msgid: int, **fields: object) -> None:
        if self._writer:
            self._writer.write(json.dumps({"msgid": msgid, **fields}).encode() + b"\n")

    # -- What comes

    def _take(self, frame: Frame) -> None:
        self._heard = monotonic()
        msgid = frame["msgid"]
        if msgid in (ONE_CHAT, GROUP_CHAT):
            self._arrived(frame, LIVE)
        elif msgid == HEARTBEAT:
            link = self.record.connections[-1]
            link.echo = max(link.echo, self._heard - self._beats.pop(frame["cid"]))
        elif msgid == ACK and frame["re"] == SYNC and not frame["errno"]:
            self._take_page(frame)
        elif msgid == ACK and frame["re"] == SYNC and frame["errno"] == BUSY:
            raise Gone("the page could not be read")
        elif msgid == ACK and frame.get("cid") in self.record.sent:
            self._answered(self.record.sent[frame["cid"]], frame)
        elif msgid == BYE:
            self.record.connections[-1].retry_after = self._retry_after = frame.get("retry_after", -1.0)
            raise Gone(f"bye {frame['reason']}")
        else:
            self.record.oddities.append(f"got {frame}")

    def _take_page(self, frame: Frame) -> None:
        for entry in frame["offlinemsg"]:
            self._arrived(entry, PAGE)
        if frame["more"]:
            self._send(SYNC, cid="sync")

    def _arrived(self, entry: Frame, how: str) -> None:
        if entry["msgid"] == GROUP_CHAT:
            conversation = -entry["groupid"]
        else:
            conversation = of_pair(entry["id"], entry["toid"])
        seq = entry["seq"]
        arrival = Arrival(conversation, seq, entry["id"], entry["msg"], how, monotonic())
        self.record.connections[-1].arrivals.append(arrival)
        self._has[conversation] = self._marks[conversation] = max(seq, self._has.get(conversation, 0))

    def _answered(self, message: Sent, ack: Frame) -> None:
        waiting = self._unacked[message.conversation]
        if ack["errno"] == 0:
            message.acks.append((ack["seq"], monotonic()))
            waiting.pop(message.cid, None)
        elif ack["errno"] == BUSY:
            message.refused += 1
            if not message.acks:
                self._again.setdefault(message.conversation, monotonic() + AGAIN)
        else:
            self.record.oddities.append(f"{message.cid} got {ack}")
            waiting.pop(message.cid, None)

    # -- What is to be done

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._tick(monotonic())

    def _tick(self, now: float) -> None:
        interval, missed = self._terms
        if now - self._heard > interval * (missed + 2):
            self._gave_up = "no sign of life"
            self.vanish()
            return
        if now - self._beat_sent >= interval * 0.9:
            self._beat_sent = self._beats[f"{now}"] = now
            self._send(HEARTBEAT, cid=f"{now}")
        if self._marks and self._chance.random() < MARK_CHANCE:
            self._mark()
        for conversation in [one for one, when in self._again.items() if when <= now]:
            self._send_again(conversation)
        self._complain_of_silence(now)
        while self.sending and now >= self._next:
            self._next = max(self._next, now - TICK) + self._chance.expovariate(self._rate)
            self._chat(self._whither(), now)

    def _whither(self) -> int:
        """Return where to write next: to each conversation once, then anywhere."""
        conversations = list(self._unacked)
        fresh = conversations[len(self.record.sent) :]
        return fresh[0] if fresh else self._chance.choice(conversations)

    def _complain_of_silence(self, now: float) -> None:
        since = self.record.connections[-1].began
        for waiting in self._unacked.values():
            for message in waiting.values():
                if now - max(message.at, since) > UNANSWERED:
                    self._gave_up = f"no answer to {message.cid} on a connection that lives"
                    self.record.oddities.append(self._gave_up)
                    self.vanish()
                    return

    def _mark(self) -> None:
        for conversation, seq in self._marks.items():
            self._send(RECEIVED, seq=seq, **self._whom(conversation, "peerid"))
        self._marks.clear()

    def _chat(self, conversation: int, now: float) -> None:
        """Write a new message, unless too many are under way or the old ones are to be sent first."""
        waiting = self._unacked[conversation]
        if len(waiting) >= WINDOW or conversation in self._again:
            return
        number = len(self.record.sent) + 1
        cid = f"{self.record}.{number}"
        body = f"{cid} {'.' * self._chance.randrange(200)}"
        node = self.record.connections[-1].node
        message = waiting[cid] = Sent(cid, conversation, number, body, node, now)
        self.record.sent[cid] = message
        self._write(message)

    def _send_again(self, conversation: int) -> None:
        self._again.pop(conversation, None)
        for message in self._unacked[conversation].values():
            self._write(message)

    def _write(self, message: Sent) -> None:
        message.tries += 1
        whom = self._whom(message.conversation, "toid")
        self._send(ONE_CHAT if "toid" in whom else GROUP_CHAT, **whom, msg=message.body, cid=message.cid)

    def _whom(self, conversation: int, pair: str) -> dict[str, int]:
        if conversation < 0:
            return {"groupid": -conversation}
        low, high = conversation >> 32, conversation & 0xFFFFFFFF
        return {pair: high if self.record.user == low else low}

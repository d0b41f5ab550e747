"""The seam between the service and the ways in which clients speak.

A request is typed from the moment it has been read, and so is everything that the service says, until the
connection's ``Wire`` encodes it.  The service knows no bytes, and asks a wire only for its attributes: does
the client confirm, ask for pages, send heartbeats?

::

    socket  --bytes-->  Framing  --frames-->  Wire.request  --Request-->  service
    socket  <--frames--  Wire.reply, failed, entry, push, bye  <--typed--  service

The frames that a wire returns are complete, with their terminator or header: so they are made once for all
receivers that share the wire's ``slot`` (see ``Shared``), and the network joins them as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple, Protocol

from greenchat.errors import RequestError
from greenchat.model.records import Entry
from greenchat.protocol.framing import Framing
from greenchat.protocol.messages import Answer, LoginAck, Push, Request

Frames = Sequence[bytes]
"""The frames of one message: none where the wire shows nothing, several where it takes several."""


class OtherProtocol(Exception):
    """Raised if a client speaks a protocol that this port does not; the message describes it.

    It has been logged.  The connection is to be closed, with nothing but the answer: the client would not
    understand BYE.

    Attributes:
        answer: bytes that the client understands; none if there are no such.
    """

    answer = b""


class StreamEnded(Exception):
    """Raised if nothing more can be read of a client, by a framing that has words of its own for that.

    Attributes:
        reason: for the session and the log.
        frames: the complete frames that came before, still to be handled.
        last_words: with which the server ends the connection.
    """

    def __init__(self, reason: str, frames: list[bytes], last_words: Frames) -> None:
        super().__init__(reason)
        self.reason = reason
        self.frames = frames
        self.last_words = last_words


class Wire(Protocol):
    """The protocol of one client: frames to requests, and answers, entries and pushes to frames.

    Attributes:
        slot: where this wire's frames stand in a ``Shared`` message.  Wires with the same slot MUST return
            the same frames for the same entry and reader, and for the same push.
        confirms: the client sends RECEIVED; without it, an entry counts as received once it is written.
        pages: the client asks for its backlog with SYNC; without it, the server sends the backlog by itself.
        beats: the client sends heartbeats; without it, silence ends no connection.
        echoes: a chat to oneself is sent back as an entry: the client shows it only then.
        unhurried: a person types each request; the connection has ``silent_timeout`` to log in.
        pace: least seconds between two frames; 0 for none: frames are sent together.
        ping: a frame that the client answers by itself; empty if it knows none.
        pongs: the client answers ``ping``; without it, silence ends no connection.
        ping_after: seconds of silence after which the server sends ``ping``; 0 if it never does.
    """

    __slots__ = ()

    slot: int
    confirms: bool
    pages: bool
    beats: bool
    echoes: bool
    unhurried: bool
    pace: float
    ping: bytes = b""
    pongs: bool = True
    ping_after: float = 0.0

    def request(self, frame: bytes) -> Request:
        """Return the request in a frame.

        Raises:
            MalformedFrame: it is no valid request; the client's fault.
            OtherProtocol: the client speaks another protocol.
        """

    def reply(self, request: Request, answer: Answer) -> Frames:
        """Return the answer to a request that was done."""

    def failed(self, error: RequestError, re: int | None, cid: str | None) -> Frames:
        """Return the answer to a request that failed.

        Args:
            error: the reason.
            re: the request's msgid; None for a frame in which no request could be seen.
            cid: the request's cid.
        """

    def login_room(self, request: Request, ack: LoginAck) -> Fit:
        """Return how many entries of the backlog the answer to a login has room for, as a function.

        Drops from the answer, which has no entries yet, the parts for which this wire has no room anyway.
        """

    def entry(self, entry: Entry, reader: int) -> Frames:
        """Return an entry of the log as a user gets it: the same live, offline and in a history.

        Args:
            entry: the entry of the log.
            reader: the user; only the sender sees the ``cid``.
        """

    def push(self, push: Push) -> Frames:
        """Return a message that is no entry: presence, typing, read marks."""

    def bye(self, reason: str, retry_after: float | None) -> Frames:
        """Return the frames with which the server ends a client's connection.

        Args:
            reason: for which it ends; none is told that is not one of BYE.
            retry_after: seconds after which the client may come back.
        """

    def refused(self, error: RequestError, first: bytes | None) -> Frames:
        """Return the frames with which a client is refused.

        Args:
            error: the reason.
            first: its first frame; None if it has sent none yet.
        """


class Speech(NamedTuple):
    """The wire and framing of a client, once they are known."""

    framing: Framing
    wire: Wire


class Opening(Protocol):
    """The beginning of a connection, until its first bytes tell how the client speaks.

    Attributes:
        wire: how a client is spoken to that has not shown it yet.
    """

    __slots__ = ()

    @property
    def wire(self) -> Wire: ...

    @property
    def is_unused(self) -> bool:
        """True if the client has said nothing yet."""

    def hear(self, data: bytes) -> tuple[Speech, bytes] | None:
        """Take the next bytes.

        Returns:
            How the client speaks, and all that it has said so far; None while that is not known.

        Raises:
            FrameTooLarge: its first frame is longer than its limit.
            OtherProtocol: it speaks none of the protocols of this port.
        """

    def ended(self) -> None:
        """Take note that the server has ended the connection before that was known."""


# -- Messages to several clients

_slots = count()


def new_slot() -> int:
    """Return a slot for a new way to encode."""
    return next(_slots)


class Shared:
    """A message for any number of clients, encoded once for each kind of wire among them.

    The path of a delivery asks ``frames`` itself and calls ``encode`` where that has none, since a group of
    2,000 gets each message 2,000 times::

        frames = shared.frames.get(wire.slot)
        if frames is None:
            frames = shared.encode(wire)

    Attributes:
        frames: by the slots of wires.
    """

    __slots__ = ("frames",)

    def __init__(self) -> None:
        self.frames: dict[int, Frames] = {}

    def encode(self, wire: Wire) -> Frames:
        """Return the frames for clients with this wire, and keep them."""
        raise NotImplementedError


class SharedEntry(Shared):
    """An entry of the log for one reader, or for all in a group but its sender.

    Attributes:
        entry: the entry of the log.
        reader: the user, as for ``Wire.entry``; ``NOBODY`` for all others of a group.
    """

    __slots__ = ("entry", "reader")

    def __init__(self, entry: Entry, reader: int) -> None:
        self.frames = {}  # in place of super().__init__(): this is made for each message
        self.entry = entry
        self.reader = reader

    def encode(self, wire: Wire) -> Frames:
        frames = self.frames[wire.slot] = wire.entry(self.entry, self.reader)
        return frames


class SharedPush(Shared):
    """A push for any number of users."""

    __slots__ = ("push",)

    def __init__(self, push: Push) -> None:
        super().__init__()
        self.push = push

    def encode(self, wire: Wire) -> Frames:
        frames = self.frames[wire.slot] = wire.push(self.push)
        return frames


NOBODY = 0
"""The reader of an entry that is the same for all but its sender."""

Fit = Callable[[list[SharedEntry]], list[SharedEntry]]
"""Return as many of the first entries as there is room for."""

PAGE_BYTES = 256 * 1024
"""Bytes of an array of entries at most (docs/protocol.md)."""


def fitting(entries: list[SharedEntry], wire: Wire, room: int = PAGE_BYTES) -> list[SharedEntry]:
    """Return as many of the first entries as an array of so many bytes has room for."""
    for number, shared in enumerate(entries):
        for frame in shared.frames.get(wire.slot) or shared.encode(wire):
            room -= len(frame)
        if room < 1:
            return entries[:number]
    return entries

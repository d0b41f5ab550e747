"""The frames from one node to another: numbered, so that the receiver detects a loss.  No sockets.

Channels lose frames silently.  So a node numbers its frames to each other node: a frame with content has the
next number, and a frame without content, a *position*, repeats the number of the last one.  The receiver
compares, and after a loss reads the registry and the database (see ``nodes``).  Positions are sent several
times a second, so that the loss of the last frame with content is detected, too.

``Incoming`` is the receiver's state for one other node: the incarnation ``node``, and the ``number`` of the
last frame taken.

=====================================  =========  ====================================================
frame                                  taken      counts as a loss
=====================================  =========  ====================================================
of an earlier incarnation              no         no
of a later incarnation, or the first   yes        yes: earlier frames of that incarnation may be lost
content, number + 1                    yes        no
content, any higher number             yes        yes
content, number or lower               no         no: a duplicate
position, number                       yes        no
position, higher number                yes        yes: the frames up to it
position, lower number                 no         no: late
=====================================  =========  ====================================================

``Outgoing`` is the sender's state.  A sender that cannot deliver its events, or has not told the other node
something, leaves out a number on purpose: the receiver then detects a loss.

==================  ==================================  ==========================================
event               queue                               number
==================  ==================================  ==========================================
``add``, ``tell``   grows; over ``MOST_EVENTS``: lost   unchanged; + 1 if the queue is dropped
``next``            emptied into the frame              + 1, unchanged for a position
``lose``            dropped                             + 1, unchanged if the queue was empty
``skip``            unchanged                           + 1
==================  ==================================  ==========================================

A frame is a line of JSON and, behind it, the events as they are::

    {"src": …, "epoch": …, "v": …, "n": …, "seen": [epoch, n], "here": […], "left": […], "sizes": […]}

``n`` counts the frames of a node (``src``, in its incarnation ``epoch``) to one other.
``seen`` is the last frame taken in the other direction, ``here`` and ``left`` are the users that
have come online at the sender or gone since the frame before.  ``v`` is the version of the events that the
sender understands; nodes that send none have version 1.
"""

from __future__ import annotations

import json
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from greenchat.model.records import Node

VERSION = 2
"""The version of the events that this node understands, besides that before it."""


class Frame(NamedTuple):
    """A unit of transport from one node to another."""

    source: Node
    number: int
    seen: Node
    """The incarnation of the receiver whose frames the sender has taken, …"""
    seen_number: int
    """… and how far."""
    here: list[int]
    left: list[int]
    leaving: bool
    """True if the sender leaves the cluster."""
    events: list[bytes]
    version: int

    @property
    def is_position(self) -> bool:
        """True if it has no content: then its number is that of the frame before."""
        return not (self.events or self.here or self.left or self.leaving)


def encode(frame: Frame) -> bytes:
    """Return a frame as bytes."""
    head = {
        "src": frame.source.name,
        "epoch": frame.source.incarnation,
        "v": frame.version,
        "n": frame.number,
        "seen": [frame.seen.incarnation, frame.seen_number],
    }
    for name, value in (("here", frame.here), ("left", frame.left), ("leaving", frame.leaving)):
        # Left out if empty: a position is a line of a hundred bytes, four times a second and pair of nodes.
        if value:
            head[name] = value
    if frame.events:
        # Events stay MessagePack behind the line: as JSON they would be decoded and escaped twice.
        head["sizes"] = [len(event) for event in frame.events]
    return b"\n".join((json.dumps(head, separators=(",", ":")).encode(), b"".join(frame.events)))


def decode(data: bytes, receiver: str) -> Frame:
    """Return the frame in some bytes.

    Args:
        data: the bytes from this node's channel.
        receiver: the name of this node.

    Raises:
        ValueError: they are no frame; another program uses this channel.
    """
    line, _, body = data.partition(b"\n")
    try:
        # Any program that reaches the broker can write to this channel: types are checked here, once.
        return _frame(json.loads(line), body, receiver)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a frame of a greenchat server: {error}") from None


def _frame(head: Any, body: bytes, receiver: str) -> Frame:
    epoch, number, seen, seen_number = _numbers([head["epoch"], head["n"], *_numbers(head["seen"])])
    return Frame(
        Node(_name(head["src"]), epoch),
        number,
        Node(receiver, seen),
        seen_number,
        _numbers(head.get("here", [])),
        _numbers(head.get("left", [])),
        _flag(head.get("leaving", False)),
        _events(body, _numbers(head.get("sizes", []))),
        # Nodes before version 2 send none.
        _numbers([head.get("v", 1)])[0],
    )


def _events(body: bytes, sizes: list[int]) -> list[bytes]:
    # Cut off or padded: taking a part of it would hide the loss.
    if sum(sizes) != len(body):
        raise ValueError("the events have other sizes")
    ends = [0, *accumulate(sizes)]
    return [body[start:end] for start, end in pairwise(ends)]


def _numbers(value: Any) -> list[int]:
    # ``type``, not ``isinstance``: JSON true is an int to Python.
    if type(value) is not list or not all(type(number) is int and number >= 0 for number in value):
        raise TypeError("a list of numbers is needed")
    return value


def _name(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("a name is needed")
    value.encode()  # raises for a lone surrogate: a channel is named for it
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("true or false is needed")
    return value


MOST_EVENTS = 100_000
"""Events in the queue for a node at most.  Beyond, all are dropped, and the node reads the database."""


class Outgoing:
    """The sender's state for one other node.

    Attributes:
        number: the number of the last frame, or of the last one left out.
    """

    def __init__(self) -> None:
        self.number = 0
        self._events: list[bytes] = []
        self._here: dict[int, bool] = {}

    def add(self, event: bytes) -> None:
        """Put an event into the next frame."""
        # The broker is stuck.  Reading the log later is cheaper than any longer queue, and bounded.
        if len(self._events) >= MOST_EVENTS:
            self.lose()
        self._events.append(event)

    def tell(self, userid: int, here: bool) -> None:
        """Put into the next frame that a user is online here, or no longer."""
        # The last word for each user, however often they came and went since the frame before.
        self._here[userid] = here

    @property
    def waits(self) -> bool:
        """True if there is any content to send."""
        return bool(self._events or self._here)

    def next(self, source: Node, seen: Node, seen_number: int, leaving: bool = False) -> Frame:
        """Return the next frame; a position if there is no content."""
        here = [userid for userid, is_here in self._here.items() if is_here]
        left = [userid for userid, is_here in self._here.items() if not is_here]
        frame = Frame(source, 0, seen, seen_number, here, left, leaving, self._events, VERSION)
        if not frame.is_position:
            self.number += 1
        # Given away with the frame, so replaced and not emptied.
        self._events, self._here = [], {}
        return frame._replace(number=self.number)

    def lose(self) -> None:
        """Drop the queue, so that the receiver detects a loss."""
        if self.waits:
            self.skip()
            self._events, self._here = [], {}

    def skip(self) -> None:
        """Leave out a number, so that the receiver detects a loss."""
        self.number += 1


class Incoming:
    """The receiver's state for one other node.

    Attributes:
        node: the incarnation whose frames are taken; None before the first frame.
        number: the number of the last frame that was taken.
    """

    def __init__(self) -> None:
        self.node: Node | None = None
        self.number = 0

    def take(self, frame: Frame) -> bool:
        """Take a frame that is ``fresh``; return True if a frame before it was lost, or may have been."""
        # A position repeats the number of the last frame with content.
        expected = self.number if frame.is_position else self.number + 1
        lost = frame.source != self.node or frame.number != expected
        self.node, self.number = frame.source, frame.number
        return lost

    def fresh(self, frame: Frame) -> bool:
        """Return True unless a frame is of an earlier incarnation, late, or taken already."""
        if self.node is None or frame.source.incarnation > self.node.incarnation:
            return True
        same = frame.source == self.node
        return same and (frame.number > self.number or (frame.is_position and frame.number == self.number))

"""What a load writes down: what was sent, what came of it, and what each device got, in order.

A conversation is named as in the database: a·2³² + b for the users a ≤ b, -g for group g.  Times are
seconds on the monotonic clock of the load's process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

LIVE = "live"
PAGE = "page"


class Arrival(NamedTuple):
    """An entry that a device was sent: by itself (``LIVE``) or in a page of what was missed (``PAGE``)."""

    conversation: int
    seq: int
    sender: int
    body: str
    how: str
    at: float


@dataclass
class Connection:
    """One connection of a device, from its LOGIN_ACK on.

    Attributes:
        node: where it led.
        began, ended: when it was logged in, and when it was over (0 while it lasts).
        arrivals: all entries that came, in order.
        reason: why it ended; BYE's reason if there was one.
        retry_after: of the BYE; -1 if there was none.
        echo: the greatest time that a HEARTBEAT was without its echo, in seconds.
    """

    node: str
    began: float
    ended: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list)
    reason: str = ""
    retry_after: float = -1.0
    echo: float = 0.0


@dataclass
class Sent:
    """A message that a device sent, under the same cid until it was acknowledged.

    Attributes:
        node: where the first try went.
        at: when that was.
        tries: how often it was sent.
        refused: how often the answer was ``busy``.
        acks: seq and time of each ACK.
    """

    cid: str
    conversation: int
    number: int
    body: str
    node: str
    at: float
    tries: int = 0
    refused: int = 0
    acks: list[tuple[int, float]] = field(default_factory=list)


@dataclass
class Record:
    """All that a device has done and seen.

    Attributes:
        user, device: who it is.
        conversations: those it is in, from before the first message.
        sent: its messages by cid, in the order of their first try.
        connections: one after the other.
        oddities: answers that no fault excuses.
    """

    user: int
    device: str
    conversations: frozenset[int]
    sent: dict[str, Sent] = field(default_factory=dict)
    connections: list[Connection] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.user}/{self.device}" if self.device else str(self.user)


class Row(NamedTuple):
    """A row of the table Message."""

    conversation: int
    seq: int
    sender: int
    cid: str
    body: str


def of_pair(one: int, other: int) -> int:
    """Return the conversation of two users."""
    return (min(one, other) << 32) + max(one, other)

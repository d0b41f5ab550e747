"""The notes of a load: messages and requests with their outcomes, and the arrivals of each device in order.

A conversation is named as in the database: a·2³² + b for the users a ≤ b, -g for group g.  Times are
seconds on the monotonic clock of the load's process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

LIVE = "live"
PAGE = "page"
PAST = "past"

TEXT = "text"
RECALL = "recall"

JOIN, LEAVE = "join", "leave"
BLOCK, UNBLOCK = "block", "unblock"
PASSWORD, LOGOUT = "password", "logout"


class Arrival(NamedTuple):
    """An entry that a device was sent.

    Attributes:
        body: of a recalled message empty; of a recall the seq that it takes back.
        how: by itself (``LIVE``), in a page of undelivered ones (``PAGE``) or in one of HISTORY (``PAST``).
        at: when it came.
        asked: when the page was asked for; 0 of live entries.
    """

    conversation: int
    seq: int
    sender: int
    body: str
    how: str
    at: float
    kind: str = TEXT
    asked: float = 0.0


class Past(NamedTuple):
    """An answer to HISTORY.

    Attributes:
        before: as asked; 0 for the newest.
        arrivals: its entries, in the order of the page; empty if it was refused.
    """

    conversation: int
    before: int
    asked: float
    at: float
    errno: int
    arrivals: tuple[Arrival, ...]
    more: bool


@dataclass
class Connection:
    """One connection of a device, from its LOGIN_ACK on.

    Attributes:
        node: where it led.
        began, ended: when it was logged in, and when it was over (0 while it lasts).
        arrivals: all entries that came live or in pages of undelivered ones, in order.
        reason: why it ended; BYE's reason if there was one.
        retry_after: of the BYE; -1 if there was none.
        echo: the greatest time that a HEARTBEAT was without its echo, in seconds.
        echoes: when a HEARTBEAT was sent, and how long it was without its echo, where that was long.
        pasts: the answers to HISTORY.
        told: when the device was told of a friend, the friend's id, and the state.
        unreceived: when a RECEIVED was answered with "not logged in".
    """

    node: str
    began: float
    ended: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list)
    reason: str = ""
    retry_after: float = -1.0
    echo: float = 0.0
    echoes: list[tuple[float, float]] = field(default_factory=list)
    pasts: list[Past] = field(default_factory=list)
    told: list[tuple[float, int, str]] = field(default_factory=list)
    unreceived: list[float] = field(default_factory=list)


@dataclass
class Sent:
    """A message or recall that a device sent, under the same cid until it was acknowledged or refused.

    Attributes:
        body: of a recall the seq that it takes back.
        node: where the first try went.
        at: when that was.
        tries: how often it was sent.
        refused: how often the answer was ``busy``.
        acks: seq and time of each ACK.
        refusal: errno and time of an answer that is final.
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
    kind: str = TEXT
    refusal: tuple[int, float] | None = None


@dataclass
class Act:
    """A request that changes something, repeated until its answer is sure.

    Attributes:
        kind: ``JOIN``, ``LEAVE``, ``BLOCK``, ``UNBLOCK``, ``PASSWORD`` or ``LOGOUT``.
        subject: the group or user.
        node: where the first try went.
        asked: when that was.
        settled: when it was sure that it is done; infinite as long as it is not.
        tries: how often it was sent.
        lost: the connection of a try ended without an answer: that one may yet be carried out, so an
            answer counts only in calm times.
    """

    kind: str
    subject: int
    node: str
    asked: float
    settled: float = float("inf")
    tries: int = 0
    lost: bool = False


class Attempt(NamedTuple):
    """A login and its answer.

    Attributes:
        answered: when the answer came or the connection ended.
        errno: of the answer; -1 if there was none.
        issued: when its token was; 0 of a login by password.
    """

    node: str
    asked: float
    answered: float
    errno: int
    force: bool
    issued: float


@dataclass
class Record:
    """All that a device has done and seen.

    Attributes:
        user, device: which it is.
        conversations: those it is in, from before the first message to the end.
        sent: its messages and recalls by cid, in the order of their first try.
        connections: in the order of their logins.
        oddities: answers that no fault excuses.
        groups: those that its user joins and leaves.
        friends: the users of whose states its user is told.
        acts: its requests that change something, in the order of the first tries.
        attempts: its logins.
    """

    user: int
    device: str
    conversations: frozenset[int]
    sent: dict[str, Sent] = field(default_factory=dict)
    connections: list[Connection] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)
    groups: frozenset[int] = frozenset()
    friends: frozenset[int] = frozenset()
    acts: list[Act] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.user}/{self.device}" if self.device else str(self.user)


class Row(NamedTuple):
    """A row of the table Message."""

    conversation: int
    seq: int
    sender: int
    cid: str
    body: str
    kind: str = TEXT


def of_pair(one: int, other: int) -> int:
    """Return the conversation of two users."""
    return (min(one, other) << 32) + max(one, other)


def peer_of(conversation: int, user: int) -> int:
    """Return the other user of a pair."""
    low, high = conversation >> 32, conversation & 0xFFFFFFFF
    return high if user == low else low

"""Records: stored data as the rooms hand it to each other."""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple

MAX_ID = 2**31 - 1
"""The largest id of a user or group: positive 32-bit integers."""

MAX_SEQ = 2**63 - 1
"""The largest seq that a database can hold."""


class Share(NamedTuple):
    """The owner of a computation, for a queue that serves addresses and accounts in turn.

    Attributes:
        address: the network of the peer.
        account: distinguishes the accounts of that address.
    """

    address: str
    account: str


SMALL_GROUP = 100
"""Groups of up to so many members are shown with them (docs/protocol.md, LOGIN_ACK)."""

SHOWN_MEMBERS = 15_000
"""Members of all these groups that a login reads at most.  Of more the frame would pass 1 MiB, and they would
be left out of it: each takes 52 bytes or more, beside a page of messages of 256 KiB."""

DELETED = "(deleted)"
"""The name that is shown for a user without a row; nobody can register it."""

ALL = 1 << 31
"""A limit that is none."""


class User(NamedTuple):
    """A user, as others may know them."""

    id: int
    name: str


class Account(NamedTuple):
    """A user to be logged in.

    ``password`` is an argon2id PHC string; ``generation`` that of the tokens of the device that was
    asked about, None if it is unknown.
    """

    id: int
    name: str
    password: str
    generation: int | None


class Member(NamedTuple):
    """A member of a group."""

    id: int
    name: str
    role: Literal["creator", "normal"]


class Group(NamedTuple):
    """A group; ``role`` is that of the asking user (``normal`` for one that is no member)."""

    id: int
    name: str
    desc: str
    count: int  # type: ignore[assignment]  # a field, not tuple.count
    role: Literal["creator", "normal"]


Membership = dict[int, int]
"""The members of a group: by user, the last seq before the joining."""


class NewEntry(NamedTuple):
    """An entry to be appended to a conversation.

    ``conversation`` is ``a·2³² + b`` for the users a ≤ b, ``-g`` for group g.  ``cid`` is None or
    unique among the sender's.  ``kind`` is the name of one of ``kinds.KINDS``.
    """

    conversation: int
    sender: int
    cid: str | None
    kind: str
    body: str
    time: str


class First(NamedTuple):
    """The first storing of a message: seq and time."""

    seq: int
    time: str


class Entry(NamedTuple):
    """An entry of a conversation's log; ``kind`` is the name of one of ``kinds.KINDS``."""

    conversation: int
    seq: int
    sender: int
    name: str
    """The sender's; ``DELETED`` if there is no such user any more."""
    cid: str | None
    kind: str
    body: str
    time: str
    recalled: int = 0
    """1 for a message that was recalled; its body is empty."""


class Span(NamedTuple):
    """The entries of a conversation with ``after < seq <= upto``."""

    conversation: int
    after: int
    upto: int


class Joining(NamedTuple):
    """The joining of a user to a group."""

    joined: int
    """The last seq of the group before."""
    is_new: bool
    """True if the user was no member before."""


class LoginState(NamedTuple):
    """The data for the answer to a login, all of one instant."""

    password: str
    """As in ``Account``: with ``generation``, it shows changes since that was read."""
    generation: int
    friends: list[User]
    groups: list[Group]
    joined: dict[int, int]
    """Of each group, the last seq before the user joined it."""
    members: dict[int, list[Member]]
    """The members of each group of up to 100; of none if these are more than ``SHOWN_MEMBERS`` in all."""
    backlog: list[Span]
    """The entries that the device has not received, as a span for each conversation."""
    before: str | None = None
    """The node where the device was marked online before, if that was another one."""
    since: str = ""
    """The instant of this login, later than that of each login of the device before it."""
    rows: int = 0
    """Rows of the database that it was read from, besides those of the user and the device."""


class Follower(NamedTuple):
    """A user that has another user as a friend."""

    friend: int
    user: int
    is_blocked: bool
    """The friend has blocked the user: then the user sees the friend offline."""


class Contact(Enum):
    """The permission of one user to write to another."""

    OPEN = "open"
    BLOCKED = "blocked"
    NO_RECEIVER = "no receiver"
    """The other user does not exist."""


class Node(NamedTuple):
    """This server in the cluster: its name, and a number that grows with each of its starts."""

    name: str
    incarnation: int


class DeviceCheck(NamedTuple):
    """A comparison of some devices that are online at a node with the database."""

    lost: dict[tuple[int, str], str | None]
    """Those (user, device) that the database does not show there any more, and where it does."""
    heads: dict[int, int]
    """Of each conversation in which one of the devices lacks something, the last seq."""


class Seat(NamedTuple):
    """A device that is online at another node."""

    node: str
    device: str


class Hook(NamedTuple):
    """An incoming or an outgoing hook.

    Attributes:
        id: positive.
        key: SHA-256 of its random code, as 64 hexadecimal digits.
        userid: the bot.
        name: the bot's.
        conversation: where the messages of an incoming hook go; 0 for an outgoing one.
        url: where an outgoing hook sends the bot's entries; empty for an incoming one.
        secret: with which an outgoing hook signs.
        ended: the reason for which an outgoing hook was switched off; empty while it is on.
        created: when it was made.
    """

    id: int
    key: str
    userid: int
    name: str
    conversation: int
    url: str
    secret: str
    ended: str
    created: str

    @property
    def device(self) -> str:
        """The name of the bot's device that an outgoing hook is; never that of another hook."""
        return f"hook-{self.key[:16]}"


class NewHook(NamedTuple):
    """A hook to be made; as in ``Hook``."""

    key: str
    userid: int
    conversation: int = 0
    url: str = ""
    secret: str = ""


class Failure(NamedTuple):
    """The failure of an outgoing hook to deliver the next entry of a conversation.

    Attributes:
        since: the instant of the first try.
        tries: how many there were.
        next_try: the instant of the next one.
        reason: why the last one failed.
    """

    since: str
    tries: int
    next_try: str
    reason: str

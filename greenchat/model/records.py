"""Records of what is stored, and of what the rooms hand each other."""

from __future__ import annotations

from typing import Literal, NamedTuple

MAX_ID = 2**31 - 1
"""The largest id of a user or group: positive 32-bit integers."""

MAX_SEQ = 2**63 - 1
"""The largest seq that a database can hold."""


class Share(NamedTuple):
    """Whose computation it is, for a queue that serves addresses and accounts in turn.

    Attributes:
        address: the network of the peer.
        account: what tells one account from the others of that address.
    """

    address: str
    account: str


SMALL_GROUP = 100
"""Groups of up to so many members are shown with them (docs/protocol.md, LOGIN_ACK)."""

SHOWN_MEMBERS = 15_000
"""Members of all these groups that a login reads at most.  Of more the frame would pass 1 MiB, and they would
be left out of it: each takes 52 bytes or more, beside a page of messages of 256 KiB."""

DELETED = "(deleted)"
"""The name that is shown of a user whose row is gone; nobody can register it."""

ALL = 1 << 31
"""A limit that is none."""


class User(NamedTuple):
    """A user, as others may know them."""

    id: int
    name: str


class Account(NamedTuple):
    """A user who wants to log in.

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
    """A group; ``role`` is that of the user who asked (``normal`` for a stranger)."""

    id: int
    name: str
    desc: str
    count: int  # type: ignore[assignment]  # a field, not tuple.count
    role: Literal["creator", "normal"]


Membership = dict[int, int]
"""Who is in a group: the last seq before each of them joined, by user."""


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
    """Where and when a message was first stored."""

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


class Span(NamedTuple):
    """The entries of a conversation with ``after < seq <= upto``."""

    conversation: int
    after: int
    upto: int


class Joining(NamedTuple):
    """When a user joined a group."""

    joined: int
    """The last seq of the group before."""
    is_new: bool
    """Whether it was just now."""


class LoginState(NamedTuple):
    """What a device is to know when its user logs in, all of one instant."""

    password: str
    """As in ``Account``: with ``generation``, it shows what has changed since that was read."""
    generation: int
    friends: list[User]
    groups: list[Group]
    joined: dict[int, int]
    """Of each group, the last seq before the user joined it."""
    members: dict[int, list[Member]]
    """The members of each group of up to 100; of none if these are more than ``SHOWN_MEMBERS`` in all."""
    backlog: list[Span]
    """What each conversation holds that this device has not received."""
    before: str | None = None
    """The node where the device was marked online before, if that was another one."""
    since: str = ""
    """The instant of this login, later than that of each login of the device before it."""
    rows: int = 0
    """Rows of the database that it was read from, besides those of the user and the device."""


class Follower(NamedTuple):
    """A user who has another as a friend."""

    friend: int
    user: int
    is_blocked: bool
    """The friend has blocked the user: then the user sees the friend offline."""


class Node(NamedTuple):
    """This server in the cluster: its name, and a number that grows with each of its starts."""

    name: str
    incarnation: int


class Look(NamedTuple):
    """What has become of some devices that are online at a node."""

    lost: dict[tuple[int, str], str | None]
    """Those (user, device) that the database does not show there any more, and where it does."""
    heads: dict[int, int]
    """Of each conversation in which one of the devices lacks something, the last seq."""


class Seat(NamedTuple):
    """A device that is online at another node."""

    node: str
    device: str

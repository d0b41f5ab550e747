"""The interfaces between the rooms: Peer, Store, Delivery, Bus, and what they hand each other.

Each is specified here once, and proved by one contract test for all its implementations.  The
service sees the world only through them.

*May switch*: the call may let other greenlets run before it returns, so a read-modify-write of
shared state must not span it.  A call that is not marked so never switches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from greenchat.errors import RequestError

# -- Network and service


class Peer(Protocol):
    """The other end of a session's connection, as the service sees it."""

    @property
    def address(self) -> str:
        """Where the peer is, ``HOST:PORT``, for the log and for limits."""

    @property
    def classic(self) -> bool:
        """True if the peer speaks the classic framing (NUL-ended frames); fixed by its first frame.

        Such a peer is paced, and MUST be sent no more frames than there is room for.
        """

    @property
    def present(self) -> bool:
        """Whether the peer has not ended its half: it may have, and what it sent before still wait."""

    def send(self, frame: bytes) -> None:
        """Queue a frame, without its terminator.

        MUST NOT block, switch, reorder or raise, whatever the peer does: a peer that is too far
        behind is disconnected (``slow_consumer``), and a frame to a closed one is dropped.
        """

    def close(self, reason: str, retry_after: float | None = None) -> None:
        """End the connection after what was sent: no frame is taken any more, in either direction.

        A reason of the protocol's BYE is told to the peer, unless it is classic.  The second close
        is ignored.  Does not switch.
        """

    def pause(self) -> None:
        """Read no more from the peer until ``resume``; frames that were read already wait too."""

    def resume(self) -> None:
        """Read again."""

    def when_written(self, call: Callable[[], None]) -> None:
        """Call back when all that was sent so far has been handed to the socket; never if it ends before.

        The callback must not switch.
        """

    def has_room(self, frames: int, before: int = 0) -> bool:
        """Return True if an entry of so many frames may be sent now.

        Always, unless the peer is paced: then what has no room belongs to the log, to be sent after
        ``drain``.

        Args:
            frames: of the entry; one of any number has room if nothing waits.
            before: frames of other entries that are to be sent first.
        """

    def drop_paced(self) -> None:
        """Drop what waits for its turn at a paced peer: it is for a user who has logged out."""

    def drain(self) -> bool:
        """Wait until all that was sent has been handed to the socket, or the connection ends.  May switch.

        Returns:
            Whether the connection still stands.
        """


class Limits(Protocol):
    """The limits of docs/protocol.md; ``config.Settings`` has their defaults."""

    @property
    def max_name(self) -> int:
        """Characters of a user's name."""

    @property
    def max_password(self) -> int:
        """Characters of a password."""

    @property
    def max_message(self) -> int:
        """Characters of a message."""

    @property
    def max_groupname(self) -> int:
        """Characters of a group's name."""

    @property
    def max_groupdesc(self) -> int:
        """Characters of a group's description."""

    @property
    def max_devices_online(self) -> int:
        """Devices of a user that may be online at a time."""

    @property
    def max_in_flight(self) -> int:
        """Messages of one connection that may wait to be committed before it is read no more.

        One to a large group counts as several.
        """

    @property
    def request_rate(self) -> float:
        """Requests of a connection in a second, on average; 0 for any number."""

    @property
    def request_burst(self) -> int:
        """Requests that a connection may make at once after a rest."""

    @property
    def registrations_per_hour(self) -> int:
        """Accounts that may be registered from one address in an hour; 0 for any number."""

    @property
    def login_failures(self) -> int:
        """Wrong passwords of an account in an hour, after which each further one locks it for a while."""

    @property
    def address_failures(self) -> int:
        """Wrong passwords from an address in an hour, after which each further one locks it for a while."""

    @property
    def login_lock(self) -> float:
        """Seconds that such a lock lasts at most."""

    def is_exempt(self, host: str) -> bool:
        """Return whether an address is not held to what is said of addresses and of requests."""

    @property
    def recall_seconds(self) -> float:
        """How long the sender of a message may recall it."""

    @property
    def token_days(self) -> float:
        """How long a token lasts."""


class Share(NamedTuple):
    """Whose computation it is, for a queue that serves addresses and accounts in turn.

    Attributes:
        address: the network of the peer.
        account: what tells one account from the others of that address.
    """

    address: str
    account: str


Later = Callable[[float, Callable[[], object]], object]
"""``later(seconds, call)``: call something so many seconds from now, where it may switch."""


# -- What a store keeps

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


class Message(NamedTuple):
    """An entry to be appended to a conversation.

    ``conversation`` is ``a·2³² + b`` for the users a ≤ b, ``-g`` for group g.  ``cid`` is None or
    unique among the sender's.  The body of a ``recall`` is the seq of its target, in decimal.
    """

    conversation: int
    sender: int
    cid: str | None
    kind: Literal["text", "recall"]
    body: str
    time: str


class First(NamedTuple):
    """Where and when a message was first stored."""

    seq: int
    time: str


class Entry(NamedTuple):
    """An entry of a conversation's log; the body of a recalled message is empty."""

    conversation: int
    seq: int
    sender: int
    name: str
    """The sender's; ``DELETED`` if there is no such user any more."""
    cid: str | None
    kind: Literal["text", "recall"]
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

    @property
    def rows(self) -> int:
        """Rows of the database that it was read from."""
        mine = len(self.friends) + len(self.groups) + len(self.backlog)
        return mine + sum(len(members) for members in self.members.values())


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


class Delivery(Protocol):
    """What is to happen once a message is committed, or is not.

    The store calls exactly one of these, once, from the loop; neither may switch or raise.
    Within a conversation it calls them in the order of ``append``.
    """

    def stored(self, seq: int, time: str, repeated: bool) -> None:
        """The message is committed.

        Args:
            seq: its number in the conversation.
            time: when it was first stored.
            repeated: it was stored before (same sender and cid): acknowledge it, deliver nothing.
        """

    def failed(self, error: RequestError) -> None:
        """Nothing was stored.

        Args:
            error: ``Busy`` (the store's fault), ``BadRequest`` (the cid was used for another message),
                ``NoSuchMessage`` (recall of what is recalled already), ``Blocked`` or ``NotAMember``.
        """


class Store(Protocol):
    """The database.

    ``append``, ``full``, ``move_cursor``, ``mark_read`` and ``close_device`` return at once and never
    raise.  Every other method may switch, is atomic, and when it returns its change is committed.
    Each of those but ``start`` and ``close`` may raise ``Busy`` if the database is away: then nothing
    was changed.  If the connection was lost in the commit, the change is made again, so as to find out;
    if the database stays away, ``Uncertain``, which is a Busy, says that it may have been made.
    A ``RequestError`` other than Busy says whose fault it is.
    """

    def start(self) -> None:
        """Open the database, setting it up if it is empty.

        Raises:
            DatabaseAway: it cannot be reached; ``start`` may be called again.
            StartupError: it cannot be opened or written, or is newer than this program.
        """

    def claim(self, alone: bool, lost: Callable[[], object]) -> None:
        """Keep off servers that would not know of this one, until ``close``.  May switch.

        Args:
            alone: this server has no bus; else it is a node of a cluster.
            lost: called if another server has taken the database meanwhile: this one must end.

        Raises:
            DatabaseAway: it does not answer, or takes no writes; may be called again.
            StartupError: another server is there.
        """

    def close(self) -> None:
        """Write what is still in memory and let go of the database."""

    def setting(self, name: str, default: str) -> str:
        """Return a setting, first set to ``default`` if there is none; atomic in the cluster."""

    # Accounts

    def create_user(self, name: str, password: str, now: str) -> int:
        """Add a user and return the id.

        Raises:
            NameTaken
        """

    def new_account(self, name: str, since: str) -> Account | None:
        """Return the account of this name if it was made since an instant, and nobody has ever logged in
        to it; else None."""

    def account(self, *, id: int | None = None, name: str | None = None, device: str = "") -> Account | None:
        """Return the account with this id or exact name (exactly one is given), or None."""

    def set_password(self, userid: int, old: str, new: str, device: str) -> int:
        """Set the password hash, end all tokens of the user (each device's generation grows), mark all
        their devices but one offline, and return the generation of that one.

        Raises:
            BadCredentials: the hash is not ``old`` any more.
        """

    def replace_hash(self, userid: int, old: str, new: str) -> None:
        """Keep another hash of the same password, unless it is not ``old`` any more."""

    def end_tokens(self, userid: int, device: str) -> None:
        """End the tokens of one device."""

    def open_device(
        self,
        userid: int,
        device: str,
        node: Node,
        now: str,
        unless_elsewhere: bool = False,
        if_last: str | None = None,
    ) -> LoginState:
        """Mark a device of the user online here and return what it is to know.

        With ``unless_elsewhere``, not if it is marked online at another node; with ``if_last``, not if
        the device's last login is another one than that of this instant.

        A device that logs in for the first time starts where the user's most advanced device
        stands, and the longest unused of more than ``max_devices`` that are not online is
        forgotten, cursors and tokens with it.  What was given to ``move_cursor``, ``mark_read``
        and ``close_device`` before has been written when this is read.

        Raises:
            AlreadyOnline
            BadCredentials: the user is gone.
        """

    def close_device(self, userid: int, device: str, node: Node, now: str) -> None:
        """Mark a device offline, and the user with the last of them; written within a second.

        Kept in memory until it is committed, however often that fails.  Ignored if the device has
        gone online elsewhere since (another node or incarnation).
        """

    def close_node(self, node: Node, now: str) -> None:
        """Mark offline whom a node of this name left online, in this incarnation or an earlier one."""

    def nodes(self) -> list[Node]:
        """Return all nodes that a device is marked online at, each in its newest incarnation."""

    def look(self, devices: Sequence[tuple[int, str]], node: Node) -> Look:
        """Return what has become of some devices that are online at a node: what they lack, who is not."""

    def cursors(self, conversation: int, devices: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
        """Return the cursors of some devices in a conversation, as far as there are any.

        What was given to ``move_cursor`` in the last second may be missing.
        """

    # Friends

    def user(self, *, id: int | None = None, name: str | None = None) -> User:
        """Return the user with this id or exact name (exactly one is given).

        Raises:
            NoSuchUser
        """

    def add_friend(self, userid: int, friendid: int, now: str) -> User:
        """Make ``friendid`` a friend of ``userid`` (one-sided; twice is once) and return who it is.

        Raises:
            NoSuchUser
            NotAllowed: the user has ``max_friends``.
        """

    def remove_friend(self, userid: int, friendid: int) -> None:
        """Undo ``add_friend``; nothing happens if there is nothing to undo."""

    def friends(self, userid: int) -> list[User]:
        """Return the user's friends, by id."""

    def followers(self, users: Collection[int], node: Node) -> list[Follower]:
        """Return the followers of some users, of those who are marked online at a node."""

    def blocked_friends(self, node: Node) -> list[tuple[int, int]]:
        """Return the pairs (friend, user) of users marked online at a node whose friend has blocked them."""

    def block(self, userid: int, blockedid: int) -> None:
        """Keep ``blockedid`` from writing to ``userid``; twice is once.

        Raises:
            NoSuchUser
        """

    def unblock(self, userid: int, blockedid: int) -> None:
        """Undo ``block``."""

    def blockers(self, userid: int) -> set[int]:
        """Return who has blocked the user."""

    def is_blocked(self, sender: int, receiver: int) -> bool:
        """Return whether the receiver has blocked the sender.

        Raises:
            NoSuchUser: there is no such receiver.
        """

    # Groups

    def create_group(self, userid: int, name: str, desc: str, now: str) -> int:
        """Create a group with the user as its creator and only member, and return its id.

        Raises:
            GroupNameTaken
            NotAllowed: the user is in ``max_groups``.
        """

    def new_group(self, userid: int, name: str, desc: str, since: str) -> int | None:
        """Return the group of this name and description if the user made it since an instant, and nobody
        else has joined it; else None."""

    def join_group(self, userid: int, groupid: int, now: str) -> Joining:
        """Make the user a member, unless they are one already.

        Who joins an empty group becomes its creator.

        Raises:
            NoSuchGroup
            NotAllowed: the user is in ``max_groups``, or the group has ``max_members``.
        """

    def leave_group(self, userid: int, groupid: int) -> None:
        """End a membership; the longest-standing member takes over from a creator.

        The group's cursors of the user go with it.

        Raises:
            NoSuchGroup
            NotAMember
        """

    def group(self, userid: int, *, id: int | None = None, name: str | None = None) -> Group:
        """Return the group with this id or exact name (exactly one is given).

        Raises:
            NoSuchGroup
        """

    def membership(self, groupid: int) -> Membership:
        """Return who is in a group.

        Raises:
            NoSuchGroup
        """

    def joined(self, userid: int, groupid: int) -> int | None:
        """Return the last seq of a group before the user joined it; None if the user is no member.

        Costs one row, however large the group.

        Raises:
            NoSuchGroup
        """

    def members(self, groupid: int, after: int, limit: int) -> list[Member]:
        """Return up to ``limit`` members whose id is above ``after``, by id."""

    # The log

    def append(self, message: Message, delivery: Delivery) -> None:
        """Take a message for the next transaction; returns at once and never raises.

        MUST keep, for each conversation, the order of the calls; MUST give out seq 1, 2, 3 … without
        a gap, inside the transaction; MUST NOT call ``stored`` before the commit.  Messages that
        wait together are committed together.  A full queue or a database that is away fails the
        message with ``Busy``; when a transaction fails, all that wait with it fail.  A recall blanks
        its target in the same transaction.

        A message from a sender who is not in the group or is blocked by the other user (recalls are not)
        is refused in the transaction.  So none of theirs is committed after ``leave_group`` or ``block``
        has returned, on any server.
        """

    def first_stored(self, message: Message) -> First | None:
        """Return where the log has a message already, by its sender and cid; None if it has not.

        For one that would be refused now.

        Raises:
            BadRequest: the cid was used for another message.
        """

    @property
    def full(self) -> bool:
        """Whether so many messages wait that senders should be read no more for now."""

    def entry(self, conversation: int, seq: int) -> Entry:
        """Return one entry.

        Raises:
            NoSuchMessage
        """

    def head(self, conversation: int) -> int:
        """Return the last seq of a conversation, 0 before its first message."""

    def entries(self, spans: Iterable[Span], limit: int = ALL) -> list[Entry]:
        """Return the first ``limit`` entries of some spans, in the order of the spans, oldest first in each.

        Entries that an operator has deleted are passed over: with fewer than ``limit``, the spans have
        no others.

        Args:
            spans: of what is known to be committed.
            limit: how many at most.

        Raises:
            Busy: the database does not have the end of a span yet, too.
        """

    def history(
        self, conversation: int, after: int, before: int | None, day: tuple[str, str] | None, limit: int
    ) -> tuple[list[Entry], bool]:
        """Return the last ``limit`` entries that fit, oldest first, and whether older ones fit too.

        Args:
            conversation: whose log.
            after: only entries with a larger seq (what the reader may see).
            before: only entries with a smaller seq.
            day: only entries from the first instant on, and before the second.
            limit: how many at most.
        """

    # Marks: written in batches, at most a second late

    def move_cursor(
        self, userid: int, device: str, conversation: int, received: int, own_from: int, own_to: int
    ) -> None:
        """Say what a device has of a conversation; the newest call for a device counts.

        The cursor moves to ``received`` (never back, never past the log's end), and on to
        ``own_to`` if it then stands at ``own_from - 1`` or beyond: the run of the device's own
        messages, of which nothing before is pending.
        """

    def set_back(self, conversation: int, users: Collection[int], upto: int) -> None:
        """Draw the cursors and read marks of some users in a conversation back to ``upto``.

        Also what was given to ``move_cursor`` and ``mark_read`` of it before, and is not written.
        """

    def mark_read(self, userid: int, conversation: int, seq: int) -> None:
        """Move the user's read mark (never back, never past the log's end)."""

    def read_mark(self, userid: int, conversation: int) -> int:
        """Return the user's read mark in a conversation, 0 if there is none.

        A mark that another node was given in the last second may be missing.
        """


# -- The cluster


class Seat(NamedTuple):
    """A device that is online at another node."""

    node: str
    device: str


class Guard(NamedTuple):
    """What counts wrong passwords, and locks when there are too many.

    Attributes:
        key: what it guards: an account or an address.
        shown: the same, for the log.
        allowed: failures before each further one locks it, twice as long as the one before.
        seconds: how long failures count, from the first one on.
        longest: seconds of a lock at most.
        forgiving: a right password makes the failures be forgotten.
    """

    key: str
    shown: str
    allowed: int
    seconds: float
    longest: float
    forgiving: bool


UNDER_WAY = 30.0
"""Seconds after which an attempt under a guard counts as over: its node has died."""


def lock_seconds(guard: Guard, failures: int) -> float:
    """Return for how many seconds so many failures lock what a guard guards; 0 for not at all."""
    beyond = failures - guard.allowed
    return min(2.0 ** min(beyond - 1, 20), guard.longest) if beyond > 0 else 0.0


class BusListener(Protocol):
    """What a node does when its bus calls."""

    def devices(self, userid: int) -> list[str]:
        """Return which devices of a user are online here.  Does not switch.

        Without those that are logging in and have not called ``Bus.refresh`` yet.
        """

    def users(self) -> Iterable[int]:
        """Return who is online here.  Does not switch."""

    def receive(self, event: bytes) -> None:
        """Take an event that another node has sent.  MUST NOT switch or raise."""

    def catch_up(self) -> None:
        """Look into the database: events may have been lost, and sessions taken over.  May switch."""

    def moved(self, users: Iterable[int], seconds: float) -> None:
        """Take note that users have come to other nodes, or gone.  Does not switch.

        Args:
            users: those users; what ``Bus.online`` returns of them may have changed.
            seconds: the time in which they may come back elsewhere, since their node has left.
        """

    def gone(self, node: Node) -> None:
        """Mark a node's users offline: it has left or died.  Called at one of the others.  May switch.

        Raises:
            Busy: the database is away; it will be called again.
        """

    def nodes(self) -> list[Node]:
        """Return the nodes that the database shows users at.  May switch.

        Raises:
            Busy: the database is away.
        """

    def superseded(self) -> None:
        """End this server: another one has been started with the same name."""


class Bus(Protocol):
    """What connects the nodes: who is online where, and a fast path between them.

    Never the truth about messages: what it loses is caught up from the store.  Events of one node
    reach another in the order sent, or not at all; then the other is told to catch up.

    Attributes:
        alone: there is no other node, ever: nothing comes from elsewhere, and nothing is missed.
    """

    alone: bool

    @property
    def away(self) -> bool:
        """True while the nodes may not reach each other: then all is to be looked up in the database.

        It becomes true within 0.7 s of the bus's going, and may be so without reason for a moment.
        """

    @property
    def trouble(self) -> str:
        """The cause of being away, a sentence for people; empty while the bus is not away."""

    def open(self, cluster: str, name: str) -> int:
        """Reach the bus; return the newest incarnation of a node that it remembers, 0 if none.  May switch.

        Args:
            cluster: an id that the nodes of one database share, and no others: clusters do not meet.
            name: of the node that is to be started.

        Raises:
            BusAway: it cannot be reached; ``open`` may be called again.
            StartupError: it can be reached, and does not take us.
        """

    def start(self, node: Node, listener: BusListener, others: Iterable[Node]) -> None:
        """Join the cluster that was opened.

        Args:
            node: this server.
            listener: is called from now on.
            others: nodes that somebody was last seen at; those that are dead are cleaned up after.

        Raises:
            BusAway: it cannot be reached; ``start`` may be called again.
        """

    def close(self) -> None:
        """Send what waits to be sent, and leave the cluster.  May switch."""

    def refresh(self, userid: int) -> list[Seat]:
        """Tell all nodes which devices of a user are online here, and return those elsewhere.  May switch.

        Of two nodes that do so at a time, one at least is told of the other.

        Raises:
            Busy: the bus is away.
        """

    def online(self, users: Iterable[int]) -> set[int]:
        """Return who of these is online at another node."""

    def nodes(self, users: Iterable[int] | None = None) -> Collection[str]:
        """Return the other nodes, or those of them where any of these users is online."""

    def send(self, nodes: Collection[str], event: bytes) -> None:
        """Send an event to some of the other nodes.  Returns at once, never raises."""

    def settle(self) -> None:
        """Wait until each other node has taken all that was sent to it, or is gone.  May switch.

        What such a node sends from then on, it sends knowing that.  Returns early if the bus is away.
        """

    def are_friends(self, userid: int, ids: Sequence[int], load: Callable[[], Iterable[int]]) -> set[int]:
        """Return which of some users are a user's friends, from a cache that the nodes share.  May switch.

        Args:
            userid: whose friends.
            ids: who may be one.
            load: reads all friends from the store, for the cache.
        """

    def forget_friends(self, userid: int) -> None:
        """Drop what the cache has of a user whose friends have just changed.  May switch."""

    def count(self, key: str, seconds: float) -> int:
        """Add one to a counter that the nodes share, and return it.  May switch.

        It starts anew ``seconds`` after its first count.  While the bus is away, each node counts for
        itself; this holds for attempts too.
        """

    def begin_attempt(self, guards: Sequence[Guard], attempt: str) -> float | None:
        """Take a place for an attempt under some guards, on all nodes.  May switch.

        There is one where no other attempt is under way, or where their number and that of the failures
        together are not above ``allowed``.

        Returns:
            0 if the place is taken; the seconds that a lock will last; None if there is no place now.
        """

    def end_attempt(self, guards: Sequence[Guard], attempt: str, right: bool | None) -> list[float]:
        """Give the place of an attempt back, and count a failure.  May switch.

        Args:
            guards: as for ``begin_attempt``.
            attempt: which.
            right: True for a right password, False for a wrong one, None if that was not found out.

        Returns:
            For each guard the seconds that it has been locked for now, 0 if it has not.
        """

"""The port to the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from greenchat.errors import RequestError
from greenchat.model.records import (
    ALL,
    Account,
    Contact,
    DeviceCheck,
    Entry,
    Failure,
    First,
    Follower,
    Group,
    Hook,
    Joining,
    LoginState,
    Member,
    Membership,
    NewEntry,
    NewHook,
    Node,
    Span,
    User,
)


class Delivery(Protocol):
    """The continuation of a message, for after its commit or its failure.

    The store calls exactly one of these, once, from the loop; neither may switch or raise.
    Within a conversation it calls them in the order of ``append``.
    """

    __slots__ = ()

    def stored(self, seq: int, time: str, repeated: bool) -> None:
        """Act on the commit of the message.

        Args:
            seq: its number in the conversation.
            time: when it was first stored.
            repeated: it was stored before (same sender and cid): acknowledge it, deliver nothing.
        """

    def failed(self, error: RequestError) -> None:
        """Act on a failure: nothing was stored.

        Args:
            error: ``Busy`` (the store's fault), ``CidUsed`` (the cid was used for another message),
                ``NoSuchMessage`` (recall of what is recalled already), ``Blocked`` or ``NotAMember``.
        """


class Store(Protocol):
    """The database.

    ``append``, ``full``, ``move_cursor``, ``mark_read`` and ``close_device`` return at once and never
    raise.  Every other method may switch, is atomic, and when it returns its change is committed.
    Each of those but ``start`` and ``close`` may raise ``Busy`` if the database is away: then nothing
    was changed.  If the connection was lost in the commit, the change is made again, to find out;
    if the database stays away, ``Uncertain``, which is a Busy, says that it may have been made.
    A ``RequestError`` other than Busy is the fault of the request.
    """

    __slots__ = ()

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
        """Write the marks that are still in memory, and close the database."""

    def setting(self, name: str, default: str) -> str:
        """Return a setting, first set to ``default`` if there is none; atomic in the cluster."""

    # Accounts

    def create_user(self, name: str, password: str, now: str) -> int:
        """Add a user and return the id.

        Raises:
            NameTaken
        """

    def new_account(self, name: str, since: str) -> Account | None:
        """Return the account of this name if it was made since an instant, and never logged in to;
        else None."""

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

    def remember_device(self, userid: int, device: str, now: str) -> Account:
        """Return the account with the generation of a device's tokens, and remember the device if it is new.

        The device does not come online.  A new one starts where it would with its first login (see
        ``open_device``), and takes the place of the longest unused one in the same way.

        Raises:
            BadCredentials: the user is gone.
        """

    def open_device(
        self,
        userid: int,
        device: str,
        node: Node,
        now: str,
        unless_elsewhere: bool = False,
        if_last: str | None = None,
    ) -> LoginState:
        """Mark a device of the user online here, and return the data for the answer to its login.

        With ``unless_elsewhere``, not if it is marked online at another node; with ``if_last``, not if
        the device's last login is another one than that of this instant.

        A device that logs in for the first time starts where the user's most advanced device
        stands, and the longest unused of more than ``max_devices`` that are not online is
        forgotten, cursors and tokens with it.  Earlier calls of ``move_cursor``,
        ``mark_read`` and ``close_device`` have been written when this is read.

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
        """Mark offline the users that a node left online, in this incarnation or an earlier one."""

    def nodes(self) -> list[Node]:
        """Return all nodes that a device is marked online at, each in its newest incarnation."""

    def check_devices(self, devices: Sequence[tuple[int, str]], node: Node) -> DeviceCheck:
        """Compare some devices that are online at a node with the database: marks and backlogs."""

    def cursors(self, conversation: int, devices: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
        """Return the cursors of some devices in a conversation, as far as there are any.

        Calls of ``move_cursor`` in the last second may be missing.
        """

    # Friends

    def user(self, *, id: int | None = None, name: str | None = None) -> User:
        """Return the user with this id or exact name (exactly one is given).

        Raises:
            NoSuchUser
        """

    def add_friend(self, userid: int, friendid: int, now: str) -> User:
        """Make ``friendid`` a friend of ``userid`` (one-sided; twice is once), and return the friend.

        Raises:
            NoSuchUser
            NotAllowed: the user has ``max_friends``.
        """

    def remove_friend(self, userid: int, friendid: int) -> None:
        """Undo ``add_friend``; nothing happens if there is nothing to undo."""

    def friends(self, userid: int) -> list[User]:
        """Return the user's friends, by id."""

    def followers(self, users: Collection[int], node: Node) -> list[Follower]:
        """Return the followers of some users, as far as they are marked online at a node."""

    def blocked_friends(self, users: Collection[int]) -> list[tuple[int, int]]:
        """Return the pairs (friend, user) of some users whose friend has blocked them."""

    def block(self, userid: int, blockedid: int) -> None:
        """Keep ``blockedid`` from writing to ``userid``; twice is once.

        Raises:
            NoSuchUser
        """

    def unblock(self, userid: int, blockedid: int) -> None:
        """Undo ``block``."""

    def blockers(self, userid: int) -> set[int]:
        """Return the users that have blocked the user."""

    def contact(self, sender: int, receiver: int) -> Contact:
        """Return the permission of a sender to write to a receiver, which may not exist."""

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

        The first member of an empty group becomes its creator.

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

    def groups(self, userid: int) -> list[Group]:
        """Return the groups that the user is in, by id."""

    def membership(self, groupid: int) -> Membership:
        """Return the members of a group.

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

    def append(self, message: NewEntry, delivery: Delivery, /) -> bool:
        """Take a message for the next transaction; returns at once and never raises.

        MUST keep, for each conversation, the order of the calls; MUST give out seq 1, 2, 3 … without
        a gap, inside the transaction; MUST NOT call ``stored`` before the commit.  Messages that
        wait together are committed together.  A full queue or a database that is away fails the
        message with ``Busy``; when a transaction fails, all that wait with it fail.  A recall blanks
        its target in the same transaction.

        A message from a sender that is not in the group or is blocked by the other user (recalls are not)
        is refused in the transaction.  So none of theirs is committed after ``leave_group`` or ``block``
        has returned, on any server.

        Returns:
            True if the queue is so long that clients which send should not be read for now; False for a
            message that has been refused.
        """

    def first_stored(self, message: NewEntry) -> First | None:
        """Return the place of a message in the log, by its sender and cid; None if it is not there.

        For a message that would be refused now.

        Raises:
            CidUsed: the cid was used for another message.
        """

    @property
    def queued(self) -> int:
        """Messages and changes that are not in a transaction yet."""

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
            spans: parts of the log that are known to be committed.
            limit: how many at most.

        Raises:
            Busy: the database does not have the end of a span yet, too.
        """

    def history(
        self, conversation: int, after: int, before: int | None, day: tuple[str, str] | None, limit: int
    ) -> tuple[list[Entry], bool]:
        """Return the last ``limit`` entries that fit, oldest first, and whether older ones fit too.

        Args:
            conversation: the conversation.
            after: only entries with a larger seq (the first that the reader may see is the next one).
            before: only entries with a smaller seq.
            day: only entries from the first instant on, and before the second.
            limit: how many at most.
        """

    # Marks: written in batches, at most a second late

    def move_cursor(
        self, userid: int, device: str, conversation: int, received: int, own_from: int, own_to: int
    ) -> None:
        """Note the entries that a device has of a conversation; the newest call for a device counts.

        The cursor moves to ``received`` (never back, never past the log's end), and on to
        ``own_to`` if it then stands at ``own_from - 1`` or beyond: the run of the device's own
        messages, of which nothing before is pending.
        """

    def set_back(self, conversation: int, users: Collection[int], upto: int) -> None:
        """Draw the cursors and read marks of some users in a conversation back to ``upto``.

        Earlier calls of ``move_cursor`` and ``mark_read`` that are not written yet are bounded, too.
        """

    def mark_read(self, userid: int, conversation: int, seq: int) -> None:
        """Move the user's read mark (never back, never past the log's end)."""

    def read_mark(self, userid: int, conversation: int) -> int:
        """Return the user's read mark in a conversation, 0 if there is none.

        A mark that another node was given in the last second may be missing.
        """

    # Hooks

    def add_hook(self, hook: NewHook, now: str) -> Hook:
        """Add a hook; the same key twice is once.

        Raises:
            NoSuchUser: there is no user with its ``userid``.
        """

    def hooks(self) -> list[Hook]:
        """Return all hooks, by id."""

    def hook(self, key: str) -> Hook | None:
        """Return the hook with this key, or None."""

    def remove_hook(self, hookid: int) -> bool:
        """Remove a hook, with its device and the device's cursors; return False if there is none."""

    def end_hook(self, hookid: int, reason: str) -> None:
        """Switch an outgoing hook off for a reason (up to 200 characters), or on with an empty one.

        It starts without failures when it is switched on.
        """

    def hook_failures(self, hookid: int) -> dict[int, Failure]:
        """Return the conversations in which a hook could not deliver the next entry."""

    def hook_failed(self, hookid: int, conversation: int, failure: Failure) -> None:
        """Keep that a hook could not deliver the next entry of a conversation."""

    def hook_delivered(self, hook: Hook, conversation: int, seq: int) -> None:
        """Move the cursor of a hook's device to ``seq`` (never back, never past the log's end), and drop the
        conversation's failure.

        Unlike ``move_cursor``, this is committed when it returns.
        """

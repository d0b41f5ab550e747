"""The sessions that are logged in at this node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from greenchat.model.records import Entry
from greenchat.ports.peer import Peer
from greenchat.protocol.wire import Shared, SharedPush
from greenchat.service.delivery.claims import Claim


class DeviceStream(Protocol):
    """The stream of a device that is online here (``device.stream`` implements it).

    No method switches or raises.
    """

    __slots__ = ()

    @property
    def is_holding(self) -> bool:
        """True while the login is being answered."""

    def deliver(self, conversation: int, seq: int, entry: Shared) -> None:
        """Send a live entry, in the order of its conversation."""

    def deliver_own(self, entry: Entry) -> None:
        """Count a live entry that came from this connection, in its turn."""

    def notify(self, push: SharedPush) -> None:
        """Send a push."""

    def send_upto(self, conversation: int, cursor: int, head: int) -> None:
        """Send the entries that the device lacks of a conversation."""

    def note_joined(self, joined: dict[int, int]) -> None:
        """Note groups, each with the last seq before the user joined it."""

    def follow(self, groupid: int, joined: int, handed_out: int, *, had_all: bool) -> None:
        """Have the entries of a group come from the first after joining."""

    def left(self, groupid: int) -> None:
        """Send nothing more of a group."""

    def check_groups(self) -> None:
        """Look up whether the user is still in the groups that the client pages through."""


class Online(Protocol):
    """A session that is logged in, as the hub's users see it.

    Attributes:
        claim: the session's place in the order of the device's logins.
        device: the name of the user's device.
    """

    __slots__ = ()

    claim: Claim
    device: str

    @property
    def login_number(self) -> int:
        """The login's number (see ``Hub``)."""

    @login_number.setter
    def login_number(self, number: int) -> None: ...

    @property
    def id(self) -> int:
        """The id of the user.

        Raises:
            NotLoggedIn: the session has been logged out.
        """

    @property
    def user(self) -> int | None:
        """The id of the user; None once the session has been logged out."""

    @property
    def peer(self) -> Peer:
        """The client's connection."""

    @property
    def stream(self) -> DeviceStream:
        """The stream of the device."""

    @property
    def is_answered(self) -> bool:
        """True once the login has been answered."""

    def leave(self) -> None:
        """Log the session out."""


class Hub:
    """The sessions that are logged in at this node, by user.

    Args:
        moved: ``moved(userid)`` is called for each user's first session, and at the end of the last one.  It
            must not switch.

    Attributes:
        logins: the number of logins so far; each session keeps its own as ``login_number``.
        get: ``get(userid, ())`` is ``of(userid)`` without a Python call, for deliveries.
    """

    def __init__(self, moved: Callable[[int], None] = lambda userid: None) -> None:
        self.logins = 0
        self._moved = moved
        # Tuples, replaced and never changed: a session that ends during a delivery to its user does not
        # disturb the loop over them.
        self._sessions: dict[int, tuple[Online, ...]] = {}
        self.get = self._sessions.get

    def of(self, userid: int) -> tuple[Online, ...]:
        """Return the user's sessions here."""
        return self._sessions.get(userid, ())

    def users(self) -> Collection[int]:
        """Return the users that are online here."""
        return self._sessions.keys()

    def sessions(self) -> list[Online]:
        """Return all sessions."""
        return [session for sessions in self._sessions.values() for session in sessions]

    def online(self, users: Iterable[int]) -> set[int]:
        """Return those of some users that are online here."""
        return self._sessions.keys() & users

    def find(self, userid: int, device: str) -> Online | None:
        """Return the user's session of this device."""
        # A user has a few sessions (``max_devices_online``): a scan, and no second dictionary to keep true.
        for session in self._sessions.get(userid, ()):
            if session.device == device:
                return session
        return None

    def add(self, session: Online, userid: int) -> None:
        """Add a session."""
        self.logins += 1
        session.login_number = self.logins
        sessions = self._sessions.get(userid, ())
        self._sessions[userid] = (*sessions, session)
        # Presence is of users: a second device moves nobody.
        if not sessions:
            self._moved(userid)

    def remove(self, session: Online, userid: int) -> None:
        """Remove a session that was added."""
        left = tuple(other for other in self.of(userid) if other is not session)
        if left:
            self._sessions[userid] = left
        elif self._sessions.pop(userid, None):  # falsy if it was removed before: nobody moves twice
            self._moved(userid)

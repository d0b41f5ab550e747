"""Who is connected here."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Generic, Protocol, TypeVar

from greenchat.errors import AlreadyOnline, NotAllowed


class Online(Protocol):
    """A session that is logged in, as far as the hub and the router know it."""

    device: str
    entered: int

    def deliver(self, conversation: int, seq: int, frame: bytes) -> None:
        """Send a live event when it is its turn."""

    def has_sent(self, conversation: int, seq: int) -> None:
        """Take note that it is the turn of a message that this session sent itself."""

    def lacks(self, conversation: int, cursor: int, head: int) -> None:
        """Owe what the device does not have of a conversation."""


S = TypeVar("S", bound=Online)


class Hub(Generic[S]):
    """The sessions of the users who are logged in at this node.

    Args:
        max_devices: sessions that a user may have at a time.

    Attributes:
        entries: how many sessions have come so far; each keeps its number as ``entered``.
    """

    def __init__(self, max_devices: int) -> None:
        self.entries = 0
        self._max_devices = max_devices
        self._sessions: dict[int, tuple[S, ...]] = {}

    def of(self, userid: int) -> tuple[S, ...]:
        """Return the user's sessions here."""
        return self._sessions.get(userid, ())

    def users(self) -> Collection[int]:
        """Return who is online here."""
        return self._sessions.keys()

    def sessions(self) -> list[S]:
        """Return all sessions."""
        return [session for sessions in self._sessions.values() for session in sessions]

    def online(self, users: Iterable[int]) -> set[int]:
        """Return who of these is online here."""
        return {userid for userid in users if userid in self._sessions}

    def find(self, userid: int, device: str) -> S | None:
        """Return the user's session of this device."""
        for session in self.of(userid):
            if session.device == device:
                return session
        return None

    def check(self, userid: int, device: str, force: bool) -> S | None:
        """Check whether a device may come online, and return the session that it would replace.

        Raises:
            AlreadyOnline: the device is online, and ``force`` was not given.
            NotAllowed: too many other devices of the user are.
        """
        there = self.find(userid, device)
        if there is not None and not force:
            raise AlreadyOnline
        if there is None and len(self.of(userid)) >= self._max_devices:
            raise NotAllowed(f"only {self._max_devices} devices of a user may be online at a time")
        return there

    def add(self, session: S, userid: int) -> None:
        """Add a session."""
        self.entries += 1
        session.entered = self.entries
        self._sessions[userid] = (*self.of(userid), session)

    def remove(self, session: S, userid: int) -> None:
        """Remove a session that was added."""
        left = tuple(other for other in self.of(userid) if other is not session)
        if left:
            self._sessions[userid] = left
        else:
            self._sessions.pop(userid, None)

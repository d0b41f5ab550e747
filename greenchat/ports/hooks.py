"""The ports between the service and hooks: an outgoing hook is a device that this server plays itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from greenchat.errors import RequestError
from greenchat.model.records import Hook


class Parcel(NamedTuple):
    """An entry of the log for an outgoing hook.

    Attributes:
        conversation: its conversation.
        seq: its seq.
        body: as it is delivered live, without a terminator; None for one that the bot wrote itself: it is
            counted as received in its turn, and not sent.
    """

    conversation: int
    seq: int
    body: bytes | None


class Sink(Protocol):
    """The outgoing side: it takes the entries of one hook's device and delivers them.

    Attributes:
        is_open: False once the device has been logged out.
    """

    __slots__ = ()

    @property
    def is_open(self) -> bool: ...

    def room(self, conversation: int) -> int:
        """Return how many more entries of a conversation it takes now.  Does not switch."""

    def wants_page(self, conversation: int) -> bool:
        """Return True if it has room for so many entries that a page is worth a read.  Does not switch."""

    def take(self, parcel: Parcel) -> None:
        """Take the next entry of its conversation; one that it holds already is ignored.

        Does not switch or raise, and takes an entry that it has no room for, too.
        """

    def wait_room(self, seconds: float) -> None:
        """Wait until an entry was delivered, but no longer than this.  Switches."""

    def ended(self, reason: str) -> None:
        """Take note that the device has been logged out by the server.  Does not switch."""


class HookDevice(Protocol):
    """The service's side: a hook's device that is online here."""

    __slots__ = ()

    def joined(self, conversation: int) -> int | None:
        """Return the seq after which the bot is sent a conversation; None while it is no member of the group.

        Does not switch.
        """

    def again(self, conversation: int, seq: int) -> Parcel | None:
        """Return an entry as it is now: it may have been recalled since.  None if it is gone.  May switch.

        Raises:
            Busy: the database is away.
        """

    def received(self, conversation: int, seq: int) -> None:
        """Count all entries up to ``seq`` as received; written within a second.  Does not switch."""

    def log_out(self) -> None:
        """Make the device offline.  May switch; the second time nothing happens."""


class HookHost(Protocol):
    """The service, as outgoing hooks see it."""

    __slots__ = ()

    def log_in(self, hook: Hook, sink: Sink) -> HookDevice:
        """Make a hook's device online here.  May switch.

        Being online is the lease of the hook: a device is online at one node only.

        Raises:
            AlreadyOnline: it is online at another node, or here.
            NoSuchUser: there is no such bot.
            RequestError: this server stops, too many devices of the bot are online, or the like.
        """


class IncomingHooks(Protocol):
    """The service, as HTTP sees it for incoming hooks."""

    __slots__ = ()

    def find(self, code: str) -> Hook | None:
        """Return the hook with a code, and count a request to it; None if there is none.  May switch.

        Raises:
            RateLimited: there were too many requests.
            Busy: the database is away.
        """

    def post(self, hook: Hook, text: str, address: str, done: Callable[[RequestError | None], None]) -> None:
        """Store a text as a message of a hook's bot.  May switch.

        Args:
            hook: as ``find`` has returned it.
            text: 1 to ``max_message`` characters.
            address: ``HOST:PORT`` of the client.
            done: called once, without switching: with None after the commit, or with the reason why there
                was none.
        """

"""Every exception of greenchat, each with the code that the peer is told.

The tree::

    GreenchatError
    ├── RequestError        a request that fails: its sender gets a reply, and stays
    │   ├── BadCredentials, NameTaken (1)   ├── GroupNameTaken (9)
    │   ├── AlreadyOnline (2)               ├── Blocked (10)
    │   ├── BadRequest (3)                  ├── RateLimited (11)
    │   │   └── CidUsed                     ├── TooLarge (12)
    │   ├── UnknownMsgid (4)                ├── Busy (13)
    │   ├── NotLoggedIn (5)                 │   └── Uncertain: it may have been done
    │   ├── NoSuchUser (6)                  ├── NotAllowed (14)
    │   ├── NoSuchGroup (7)                 ├── NoSuchMessage (15)
    │   └── NotAMember (8)                  └── AlreadyLoggedIn (16)
    ├── MalformedFrame      bytes from a peer that are no valid request
    ├── ConfigError         a setting is wrong: the operator's to mend (exit status 2)
    ├── StartupError        the server cannot start (exit status 1)
    │   └── Away            but may try again: DatabaseAway, BusAway (it cannot be reached yet)
    └── Disconnected        the client library's connection is gone

An error is answered; a disconnect is not an exception but a reason given to ``Peer.close``.
"""

from __future__ import annotations

from collections.abc import Callable


class GreenchatError(Exception):
    """Base of all errors that greenchat raises on purpose."""


class RequestError(GreenchatError):
    """Raised if a request cannot be done; its sender gets the code and the sentence.

    Args:
        message: a sentence for people, without a full stop; the default is the class's own.
        retry_after: seconds after which the sender may try again, if that is known.
    """

    errno: int = 3
    error: str = "bad_request"
    message: str = "the request is not valid"

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message or self.message)
        self.retry_after = retry_after


class BadCredentials(RequestError):
    """Raised if a login's user, password or token is wrong; it does not say which."""

    errno, error, message = 1, "bad_credentials", "the id, name, password or token is wrong"


class NameTaken(RequestError):
    """Raised if somebody already registered the name."""

    errno, error, message = 1, "name_taken", "this name is taken"


class AlreadyOnline(RequestError):
    """Raised if the user is online with the same device, and ``force`` was not given."""

    errno, error, message = 2, "already_online", "this user is already online with this device"


class BadRequest(RequestError):
    """Raised if a field is missing, of the wrong type or out of its range."""


class CidUsed(BadRequest):
    """Raised if a ``cid`` was used before, for another message."""

    message = "cid: used for another message"


class UnknownMsgid(RequestError):
    """Raised if no request has this msgid."""

    errno, error, message = 4, "unknown_msgid", "there is no request with this msgid"


class NotLoggedIn(RequestError):
    """Raised if the request needs a login first."""

    errno, error, message = 5, "not_logged_in", "log in first"


class NoSuchUser(RequestError):
    """Raised if no user has the id or name."""

    errno, error, message = 6, "no_such_user", "there is no such user"


class NoSuchGroup(RequestError):
    """Raised if no group has the id or name."""

    errno, error, message = 7, "no_such_group", "there is no such group"


class NotAMember(RequestError):
    """Raised if the user is not in the group that the request is about."""

    errno, error, message = 8, "not_a_member", "you are not a member of this group"


class GroupNameTaken(RequestError):
    """Raised if a group of that name exists."""

    errno, error, message = 9, "group_name_taken", "a group of this name exists"


class Blocked(RequestError):
    """Raised if the receiver has blocked the sender."""

    errno, error, message = 10, "blocked", "this user does not take messages from you"


class RateLimited(RequestError):
    """Raised if the sender has reached a limit for now."""

    errno, error, message = 11, "rate_limited", "too many requests"


class TooLarge(RequestError):
    """Raised if a frame, text or list is longer than its limit."""

    errno, error, message = 12, "too_large", "longer than its limit"


class Busy(RequestError):
    """Raised if the database is away or a queue is full; nothing was stored."""

    errno, error, message = 13, "busy", "the server cannot store this now; try again"


class Uncertain(Busy):
    """Raised if the answer to a COMMIT was lost: the change may have been made, or may be made yet.

    Args:
        resolve: waits until the database has done with the transaction, one way or the other; it may switch,
            and raises Busy while the database cannot tell.
    """

    message = "the server does not know whether this was done; try again"

    def __init__(self, resolve: Callable[[], None]) -> None:
        super().__init__()
        self.resolve = resolve


class NotAllowed(RequestError):
    """Raised if the request is well formed, but not the sender's to make."""

    errno, error, message = 14, "not_allowed", "this is not allowed"


class NoSuchMessage(RequestError):
    """Raised if the conversation has no such message, or it is recalled already."""

    errno, error, message = 15, "no_such_message", "there is no such message"


class AlreadyLoggedIn(RequestError):
    """Raised if the connection is logged in already."""

    errno, error, message = 16, "already_logged_in", "this connection is logged in"


class MalformedFrame(GreenchatError):
    """Raised if a frame is not a valid request; the peer's fault.

    Attributes:
        error: the error for the peer.
        re: the msgid of the request that can be seen in the frame, or None: then the answer
            is an ERROR, and the frame counts as a bad one.
        cid: the frame's cid if it is readable, to be echoed.
    """

    def __init__(self, error: RequestError, re: int | None = None, cid: str | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.re = re
        self.cid = cid


class ConfigError(GreenchatError):
    """Raised if an option, a variable or a line of the configuration file is wrong."""


class StartupError(GreenchatError):
    """Raised if the server cannot start: port in use, database not writable, and the like."""


class Away(StartupError):
    """Raised if the database or bus cannot be reached or is not ready; it may be tried again."""


class DatabaseAway(Away):
    """Raised if the database cannot be reached or is not ready."""


class BusAway(Away):
    """Raised if the bus cannot be reached or is not ready."""


class Disconnected(GreenchatError):
    """Raised by the client library if the connection is gone for good.

    Attributes:
        reason: the reason of the server's BYE, or a word of the operating system.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"disconnected: {reason}")
        self.reason = reason


ERRORS: dict[str, type[RequestError]] = {kind.error: kind for kind in RequestError.__subclasses__()}
"""The class of each error name on the wire (the client library raises them)."""

"""The life of a client's connections, one after the other, until no login waits.  Sans I/O.

``keep_connected`` is a generator: it yields the step that the shell is to take next, and is sent its outcome.
The shell runs the generator under the session's lock, and takes the steps outside of it.

| step | outcome |
|---|---|
| ``Read``: wait for bytes of the server | the bytes, none at the end; or the error |
| ``Close``: end a connection at once | – |
| ``Connect``: wait, unless ``is_wanted`` ends; then connect | a connection, the error, or None if it ended |

A connection that is left to renew the token stays open until its successor is logged in or lost: the server
puts the new one in its place, and friends see no change.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Generic, NamedTuple, TypeVar

import simplejson

from greenchat.client.core.sender import ClientTransport
from greenchat.client.core.session import RENEWAL, ClientSession
from greenchat.errors import Disconnected, GreenchatError
from greenchat.protocol.lines import MAX_SERVER_FRAME, Lines

CONNECT_TIMEOUT = 5.0
"""Seconds that connecting may take, and the greeting or the handshake of TLS."""

LOGIN_TIMEOUT = 30.0
"""Longest silence before a login, in seconds.  The server closes a connection without a login after 10 s."""

CLOSE_TIMEOUT = 1.0
"""Seconds that the server has to end a connection after this side has."""

READ_SIZE = 65_536
"""Bytes to read at a time."""

Connection = TypeVar("Connection", bound=ClientTransport)


class Read(NamedTuple, Generic[Connection]):
    """Wait for bytes of the server."""

    connection: Connection


class Close(NamedTuple, Generic[Connection]):
    """End a connection at once."""

    connection: Connection


class Connect(NamedTuple):
    """Wait for ``delay`` seconds, then connect."""

    delay: float


def keep_connected(
    session: ClientSession, connection: Connection
) -> Generator[Read[Connection] | Close[Connection] | Connect, Any, None]:
    """Serve a connection that the session has, then its successors."""
    current: Connection | None = connection
    retired: Connection | None = None
    while current:
        lines, reason = Lines(MAX_SERVER_FRAME), ""
        while not reason:
            reason = _receive(session, lines, (yield Read(current)))
            if retired and (reason or session.is_online):
                yield Close(retired)
                retired = None
        if reason == RENEWAL:
            retired = current
        else:
            yield Close(current)
        current, delay = None, session.disconnected(reason)
        while delay is not None and not current:
            outcome = yield Connect(delay)
            delay = None
            if isinstance(outcome, Disconnected):
                delay = session.connect_failed(outcome.reason)
                if retired:
                    yield Close(retired)
                    retired = None
            elif outcome and not session.is_wanted:
                yield Close(outcome)
            elif outcome:
                session.connected(outcome)
                current = outcome
    if retired:
        yield Close(retired)


def reason_of(error: OSError) -> str:
    """Return why the connection broke, in a few words for people."""
    return (error.strerror or "").lower() or str(error) or type(error).__name__


def unreachable(error: OSError) -> Disconnected:
    """Return the error of a connection that was not made."""
    return Disconnected(reason_of(error))


def _receive(session: ClientSession, lines: Lines, received: bytes | OSError) -> str:
    """Give bytes of the server to the session; return the reason to leave the connection, or nothing."""
    if isinstance(received, TimeoutError):
        return "the server gave no sign of life"
    if isinstance(received, OSError):
        return reason_of(received)
    if not received:
        return "the server closed the connection"
    try:
        for frame in lines.feed(received):
            decoded = simplejson.loads(frame)
            if not isinstance(decoded, dict):
                raise ValueError("a frame is no JSON object")
            if reason := session.receive(decoded):
                return reason
    except (GreenchatError, ValueError, RecursionError):
        return "the server sent a frame that is not valid"
    return ""

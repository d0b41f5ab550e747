"""The requests that wait for their replies, in the order they were made.  Sans I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

import simplejson

from greenchat.client.parsing import read_seconds
from greenchat.client.pushes import Frame
from greenchat.errors import ERRORS, BadRequest, Busy, Disconnected, RateLimited, RequestError, TooLarge
from greenchat.protocol.lines import MAX_REQUEST_FRAME
from greenchat.protocol.messages import MsgId

EARLY = frozenset({MsgId.REG, MsgId.LOGIN})
"""Requests that do not need a login."""

TRANSIENT = (Busy, RateLimited)
"""Errors that pass: nothing was stored, and the same may be asked again later."""


class ConnectionLost(Disconnected):
    """Raised if the connection broke while the request was under way: whether it was done is not known.

    The client goes on and comes back by itself.
    """


class Pending:
    """A request and, in time, its reply.

    Args:
        msgid: of the request.
        fields: its other fields, ``cid`` among them.
        lane: requests of one lane are sent one after the other, each when the one before it is
            answered, and again when the server is busy.
        again: whether to send it again after a lost connection; then doing it twice does no harm.
        then: called with the reply, on the reader's thread, if it tells of success.
        otherwise: called likewise with the error that the server told.

    Raises:
        BadRequest, TooLarge: it does not fit a frame; the caller's fault.
    """

    def __init__(
        self,
        msgid: MsgId,
        fields: Frame,
        lane: Hashable = None,
        again: bool = False,
        then: Callable[[Frame], None] | None = None,
        otherwise: Callable[[RequestError], None] | None = None,
    ) -> None:
        self.msgid = msgid
        self.cid: str = fields["cid"]
        self.frame = encode({"msgid": int(msgid), **fields})
        self.lane = lane
        self.again = again
        self.sent = False
        self.attempts = 0
        self.due = 0.0
        self._then = then
        self._otherwise = otherwise
        self._done = threading.Event()
        self._outcome: Frame | Exception = {}

    def succeed(self, reply: Frame) -> None:
        """Give the reply to who waits for it."""
        try:
            if self._then:
                self._then(reply)
        except Exception:
            self._settle(Disconnected("the server's reply cannot be understood"))
            raise
        self._settle(reply)

    def fail(self, error: Exception) -> None:
        """Give an error to who waits."""
        if self._otherwise and isinstance(error, RequestError):
            self._otherwise(error)
        self._settle(error)

    def put_off(self, due: float) -> None:
        """Send it again at ``due``: nothing was stored."""
        self.due, self.sent = due, False
        self.attempts += 1

    def result(self, timeout: float) -> Frame:
        """Wait for the reply, ``timeout`` seconds at most.

        Raises:
            TimeoutError: there was none; the request may or may not have been done.
            Exception: what ``fail`` was given.
        """
        if not self._done.wait(timeout):
            raise TimeoutError(f"the server has not answered within {timeout:g} s")
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def _settle(self, outcome: Frame | Exception) -> None:
        self._outcome = outcome
        self._done.set()


class Outstanding:
    """The pending requests by cid, in the order made.  Not thread-safe: the Line holds its lock."""

    def __init__(self) -> None:
        self._pending: dict[str, Pending] = {}

    def add(self, pending: Pending) -> None:
        """Take a request in.

        Raises:
            BadRequest: another one that waits has the same cid; the caller's fault.
        """
        if pending.cid in self._pending:
            raise BadRequest("cid: another request with it is under way")
        self._pending[pending.cid] = pending

    def get(self, cid: object) -> Pending | None:
        """Return the request with this cid, or None."""
        return self._pending.get(cid) if isinstance(cid, str) else None

    def discard(self, pending: Pending) -> None:
        """Forget a request, whether or not it is here."""
        if self._pending.get(pending.cid) is pending:
            del self._pending[pending.cid]

    def ready(self, now: float) -> list[Pending]:
        """Return what is to be sent now: not sent, not put off, and the first of its lane."""
        return [pending for pending in self._first() if not pending.sent and pending.due <= now]

    def next_due(self) -> float | None:
        """Return when the next request that was put off is to be sent."""
        return min((pending.due for pending in self._first() if not pending.sent), default=None)

    @property
    def repeatable(self) -> bool:
        """True if none was sent that may not be sent again."""
        return all(pending.again or not pending.sent for pending in self._pending.values())

    def broken(self) -> list[Pending]:
        """Make ready to send again what may be; take out and return what was under way and may not."""
        lost = [pending for pending in self._pending.values() if pending.sent and not pending.again]
        for pending in lost:
            self.discard(pending)
        for pending in self._pending.values():
            pending.sent = False
        return lost

    def clear(self) -> list[Pending]:
        """Take out and return all."""
        everything = list(self._pending.values())
        self._pending.clear()
        return everything

    def _first(self) -> list[Pending]:
        """Return the requests without a lane and the first of each lane."""
        lanes: set[Hashable] = set()
        first = []
        for pending in self._pending.values():
            if pending.lane is None or pending.lane not in lanes:
                first.append(pending)
            lanes.add(pending.lane)
        return first


def encode(frame: Frame) -> bytes:
    """Return the JSON bytes of a frame.

    Raises:
        BadRequest: a text cannot be written as UTF-8 (a lone surrogate); the caller's fault.
        TooLarge: it is longer than the server takes (64 KiB), who would close the connection.
    """
    try:
        data: bytes = simplejson.dumps(frame, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise BadRequest("the text is no valid Unicode (it has a lone surrogate)") from None
    if len(data) > MAX_REQUEST_FRAME:
        raise TooLarge(f"a request may have {MAX_REQUEST_FRAME} bytes, this one has {len(data)}")
    return data


def error_of(reply: Frame) -> RequestError | None:
    """Return the error that a reply tells of, or None: the class is that of its ``error``."""
    if not reply.get("errno"):
        return None
    name: Any = reply.get("error")
    kind = ERRORS.get(name, RequestError)
    sentence = str(reply.get("errmsg") or name or "the server gave no reason")
    error = kind(sentence, retry_after=read_seconds(reply.get("retry_after")))
    if kind is RequestError:
        error.errno, error.error = reply["errno"], str(name)
    return error

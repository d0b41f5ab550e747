"""Requests that wait for their replies.  Sans I/O."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future

import simplejson

from greenchat.client.core.pushes import Frame
from greenchat.errors import BadRequest, Busy, Disconnected, RateLimited, RequestError, TooLarge
from greenchat.protocol.lines import MAX_REQUEST_FRAME
from greenchat.protocol.msgids import MsgId

BEFORE_LOGIN = frozenset({MsgId.REG, MsgId.LOGIN})
"""Requests that the server takes before a login."""

TRANSIENT = (Busy, RateLimited)
"""Errors of a request that was not done and may be sent again later."""

MAX_CID = 36
"""Characters of a cid, at most."""

UNREADABLE = "the server's reply cannot be understood"


class ConnectionLost(Disconnected):
    """Raised if the connection broke under a request that must not be sent twice.

    The request may or may not have been done.  The client reconnects by itself.
    """


class PendingRequest:
    """A request and, in time, its outcome.

    Args:
        msgid: type of the request.
        fields: its other fields, ``cid`` among them.
        ordering_key: requests of one key are sent one at a time, in order, and again when the server is
            busy.  None: sent at once, and an error of a busy server is the outcome.
        idempotent: True if the request may be sent again on another connection.
        on_success: called with the reply before ``future`` gets it.
        on_error: called with the server's error before ``future`` gets it.

    Attributes:
        future: the reply, or the error.
        sent: True while the request is on the wire.
        attempts: number of times that the server was too busy for it.
        due: earliest time to send it, on the clock of the caller.

    Raises:
        BadRequest, TooLarge: the request does not fit a frame, or its cid is none; the caller's fault.
    """

    def __init__(
        self,
        msgid: MsgId,
        fields: Frame,
        *,
        ordering_key: Hashable = None,
        idempotent: bool = False,
        on_success: Callable[[Frame], None] | None = None,
        on_error: Callable[[RequestError], None] | None = None,
    ) -> None:
        self.msgid = msgid
        self.cid: str = _checked(fields["cid"])
        self.frame = encode_frame({"msgid": int(msgid), **fields})
        self.ordering_key = ordering_key
        self.idempotent = idempotent
        self.future: Future[Frame] = Future()
        self.sent = False
        self.attempts = 0
        self.due = 0.0
        self._on_success = on_success
        self._on_error = on_error

    def succeed(self, reply: Frame) -> None:
        """Set the reply as the outcome."""
        try:
            if self._on_success:
                self._on_success(reply)
        except Exception:
            self.future.set_exception(Disconnected(UNREADABLE))
            raise
        self.future.set_result(reply)

    def fail(self, error: Exception) -> None:
        """Set an error as the outcome."""
        if self._on_error and isinstance(error, RequestError):
            self._on_error(error)
        self.future.set_exception(error)

    def retry_at(self, due: float) -> None:
        """Send the request again at ``due``."""
        self.due, self.sent = due, False
        self.attempts += 1


class RequestQueue:
    """Pending requests by cid, in the order of their creation.  Not thread-safe."""

    def __init__(self) -> None:
        self._requests: dict[str, PendingRequest] = {}

    def add(self, request: PendingRequest) -> None:
        """Add a request.

        Raises:
            BadRequest: another request with its cid is pending; the caller's fault.
        """
        if request.cid in self._requests:
            raise BadRequest("cid: another request with it is under way")
        self._requests[request.cid] = request

    def get(self, cid: object) -> PendingRequest | None:
        """Return the request with this cid, or None."""
        return self._requests.get(cid) if isinstance(cid, str) else None

    def discard(self, request: PendingRequest) -> None:
        """Remove a request if it is in the queue."""
        if self._requests.get(request.cid) is request:
            del self._requests[request.cid]

    def ready(self, now: float) -> list[PendingRequest]:
        """Return the requests to be sent now: unsent, due, and first of their ordering key."""
        return [request for request in self._heads() if not request.sent and request.due <= now]

    def next_due(self) -> float | None:
        """Return when the next unsent request is due; None without any."""
        return min((request.due for request in self._heads() if not request.sent), default=None)

    @property
    def is_repeatable(self) -> bool:
        """True if all requests on the wire may be sent again on another connection."""
        return all(request.idempotent or not request.sent for request in self._requests.values())

    def take_lost(self) -> list[PendingRequest]:
        """Mark all requests as unsent; remove and return those that must not be sent again."""
        lost = [request for request in self._requests.values() if request.sent and not request.idempotent]
        for request in lost:
            self.discard(request)
        for request in self._requests.values():
            request.sent = False
        return lost

    def take_all(self) -> list[PendingRequest]:
        """Remove and return all requests."""
        requests = list(self._requests.values())
        self._requests.clear()
        return requests

    def _heads(self) -> list[PendingRequest]:
        """Return the requests without an ordering key, and the first one of each key."""
        keys: set[Hashable] = set()
        heads = []
        for request in self._requests.values():
            if request.ordering_key is None or request.ordering_key not in keys:
                heads.append(request)
            keys.add(request.ordering_key)
        return heads


def _checked(cid: object) -> str:
    """Return a cid that the server can echo: without the echo a reply would not be recognised.

    Raises:
        BadRequest: it is no text, empty or too long; the caller's fault.
    """
    if not isinstance(cid, str):
        raise BadRequest(f"cid: expected a text, got {type(cid).__name__}")
    if not 1 <= len(cid) <= MAX_CID:
        raise BadRequest(f"cid: 1 to {MAX_CID} characters, this has {len(cid)}")
    return cid


def encode_frame(frame: Frame) -> bytes:
    """Return a frame as JSON, without its newline.

    Raises:
        BadRequest: a text has a lone surrogate, which UTF-8 cannot encode; the caller's fault.
        TooLarge: longer than 64 KiB, for which the server would close the connection; the caller's fault.
    """
    try:
        data: bytes = simplejson.dumps(frame, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise BadRequest("the text is no valid Unicode (it has a lone surrogate)") from None
    if len(data) > MAX_REQUEST_FRAME:
        raise TooLarge(f"a request may have {MAX_REQUEST_FRAME} bytes, this one has {len(data)}")
    return data

"""A request as a handler sees it, and what a handler returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from greenchat.errors import GreenchatError, RequestError

Pairs = Sequence[tuple[str, str]]


class Headers:
    """The header fields of a request: ASCII names in lower case, values as Latin-1 text.

    Args:
        raw: as h11 gives them.

    Example::

        call.headers.get("content-type")
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = list(raw)

    def __len__(self) -> int:
        """Return the number of header lines."""
        return len(self._raw)

    def get(self, name: str, default: str = "") -> str:
        """Return the value of a field that has one; of several the first."""
        wanted = name.encode("ascii")
        return next((value.decode("latin-1") for key, value in self._raw if key == wanted), default)

    def all(self, name: str) -> list[str]:
        """Return the values of all lines of a field."""
        wanted = name.encode("ascii")
        return [value.decode("latin-1") for key, value in self._raw if key == wanted]

    def items(self, name: str) -> list[str]:
        """Return the members of a field that is a list, from all of its lines (RFC 9110, 5.6.1)."""
        parts = (part.strip() for line in self.all(name) for part in line.split(","))
        return [part for part in parts if part]

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over names and values, in the order sent."""
        return iter(self._raw)

    def __contains__(self, name: str) -> bool:
        """Return True if the request has such a field."""
        wanted = name.encode("ascii")
        return any(key == wanted for key, _ in self._raw)


@dataclass(slots=True, kw_only=True)
class Call:
    """A request that has been read, and is allowed to reach its handler.

    Attributes:
        method: as sent, in upper case; HEAD where a GET row answers it.
        path: as sent, without the query.
        parameters: the values of the row's ``{names}``, decoded.
        query: the last value of each name of the query.
        headers: the header fields.
        body: all of it; empty without one.
        address: ``HOST:PORT`` of the client, found out behind proxies.  The port is 0 where a proxy tells
            none.
        host: the authority that the client asked for, in lower case (``chat.example:8080``); empty for a
            client of HTTP/1.0 that sends none.
        version: of HTTP: ``1.1`` or ``1.0``.
        secure: TLS protects the way to the client, as far as this server or its proxy.
        service: what the handlers of all rows share.
        account: what the row's ``requires`` returned; None where it requires nothing.
    """

    method: str
    path: str
    parameters: Mapping[str, str]
    query: Mapping[str, str]
    headers: Headers
    body: bytes
    address: str
    host: str
    version: str
    secure: bool
    service: Any
    account: Any = None


@dataclass(slots=True)
class TakenOver:
    """A socket that leaves HTTP: a WebSocket, or a stream of events.

    Attributes:
        sock: what the listener handed in, non-blocking; whoever takes it over closes it.
        address: ``HOST:PORT`` of the client, found out behind proxies.
        opened: when the client came, on the monotonic clock.
        received: bytes that were read behind the request.
        hand_over: leaves the client's place among the counted connections to whoever takes the socket over:
            to be called in the same turn of the loop in which that counts the client.
    """

    sock: Any
    address: str
    opened: float
    received: bytes
    hand_over: Callable[[], None]


Takeover = Callable[[TakenOver], None]


@dataclass(slots=True)
class Response:
    """An answer.

    The security headers, Date, Content-Length and Connection are added by the connection.

    Attributes:
        status: the status code.
        headers: names and values.
        body: all of it, or pieces of a body whose length a Content-Length header tells.  Nothing of it is
            sent as an answer to HEAD.
        takeover: takes the socket once the head of the answer has been sent, in the connection's greenlet,
            and returns when the socket is closed.  With status 101 the client speaks another protocol from
            then on; with 200 the body ends with the connection.
    """

    status: int = 200
    headers: Pairs = ()
    body: bytes | Iterable[bytes] = b""
    takeover: Takeover | None = None


def text(body: str, status: int = 200, headers: Pairs = ()) -> Response:
    """Return an answer in plain text."""
    return Response(status, [("content-type", "text/plain; charset=utf-8"), *headers], body.encode())


class HttpError(GreenchatError):
    """Raised if a request fails for a reason that only HTTP knows; any other fails with a ``RequestError``.

    Args:
        status: 400 to 599.
        detail: a sentence for people, without a full stop; the default is the status' name.
        headers: more of the answer.
        close: the rest of what the client sends is of no use.
    """

    def __init__(self, status: int, detail: str = "", headers: Pairs = (), *, close: bool = False) -> None:
        self.status = status
        self.detail = detail or HTTPStatus(status).phrase.lower()
        self.headers = headers
        self.close = close
        super().__init__(self.detail)


@dataclass(slots=True)
class Route:
    """A row of the table of routes.

    Attributes:
        method: GET answers HEAD too; OPTIONS is answered for all.
        path: ``{name}`` is one segment of any text, as in ``/api/v1/groups/{id}``.
        handler: answers the call; may switch.  It raises ``RequestError`` or ``HttpError``.
        requires: checks who calls, before the body is read, and returns it for ``Call.account``; it raises
            ``RequestError`` or ``HttpError``.  None: anybody may call.
        price: requests that a call counts as in the bucket of its address; 0: it is not counted.
        max_body: bytes of the body; 0: the call takes none.
        any_host: answered whatever the Host header says.
        failure: returns the answer to a call that failed, even if its client is over a limit; None: as
            problem+json.
    """

    method: str
    path: str
    handler: Handler
    requires: Callable[[Call], Any] | None = None
    price: float = 1.0
    max_body: int = 0
    any_host: bool = False
    failure: Failure | None = None
    segments: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.segments = self.path.split("/")[1:]


Handler = Callable[[Call], Response]

Failure = Callable[[RequestError | HttpError], Response]

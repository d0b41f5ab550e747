"""One web client: read a request, find its row, answer, and so on until one side ends the connection.

h11 knows the protocol: what may follow what, where a body ends, whether the connection can be used again.
This module feeds it, and decides everything else in this order, so that the cheapest check comes first::

    head complete -> its size -> Host -> row of the table -> price -> requires -> size of the body
                  -> (100 Continue) -> body -> handler -> answer

A request that fails before its body was read ends the connection: the body would have to be read for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Any, Protocol
from urllib.parse import parse_qsl

import gevent
import h11

from greenchat.errors import RateLimited, RequestError
from greenchat.http.answers import head_of, limited, problem, refused, with_security
from greenchat.http.call import Call, Headers, HttpError, Response, Route, TakenOver, Takeover
from greenchat.http.forwarded import client_of
from greenchat.http.limits import HttpLimits
from greenchat.http.site import Site
from greenchat.http.stream import SLOWEST, Gone, Socket, Stopped, Stream, TimeUp
from greenchat.metrics import HANDLER_ERRORS, HTTP_REQUESTS

logger = logging.getLogger(__name__)

PIECE = 65_536
"""Bytes of an answer that are handed to the socket at a time, at least."""

MAX_FIELDS = 100
"""Fields of a query."""

REFUSED_SECONDS = 2.0
"""Seconds for which the request of a client over a limit is waited for: its row may have words of its own."""

NO_BODY = frozenset({204, 304})
"""Statuses of answers that have no body, and so no length either (RFC 9110, 8.6)."""


FAULTS = {
    431: "the head of the request is too large",
    501: "only the transfer coding chunked is known here",
}
"""Sentences for statuses that h11 finds; its own quote the client's bytes."""


class Visitor(Protocol):
    """A client's place among the counted connections, which whoever accepted it hands over.

    Attributes:
        sock: at the client's first byte.
        address: ``HOST:PORT`` of the client, or of a proxy that names the client of each request.
        opened: when it came, on the monotonic clock.
        refusal: the error with which to refuse it; None if it may stay.
        encrypted: TLS protects the connection as far as this process.
        local_host: the address at this end.
    """

    @property
    def sock(self) -> Socket: ...
    @property
    def address(self) -> str: ...
    @property
    def opened(self) -> float: ...
    @property
    def refusal(self) -> RateLimited | None: ...
    @property
    def encrypted(self) -> bool: ...
    @property
    def local_host(self) -> str: ...
    def move(self, address: str, shared: bool = False) -> RateLimited | None:
        """Count for another client from now on, unless that one has too many connections (the error)."""

    def hand_over(self) -> None:
        """Leave the place to whoever takes up the socket."""


class HttpConnection:
    """The connection of one web client.

    Args:
        site: what all share.
        visitor: the client.

    Attributes:
        stream: its bytes.
    """

    __slots__ = ("_close", "_h11", "_method", "_peer", "_site", "_unread", "_visitor", "stream")

    def __init__(self, site: Site, visitor: Visitor) -> None:
        self.stream = Stream(visitor.sock)
        self._site = site
        self._visitor = visitor
        self._peer = visitor.address
        # Made with a request and dropped behind it: an idle connection has none.
        self._h11: h11.Connection | None = None
        self._method = b""  # of the request that is being answered
        self._close = False  # no further request is read
        self._unread = False  # the client may be sending what nobody reads

    def run(self) -> Callable[[], None] | None:
        """Serve the client until the connection ends or leaves HTTP.

        Returns:
            Takes the socket over, and returns when that is closed; None if it is closed.
        """
        taken: Callable[[], None] | None = None
        try:
            if self._visitor.refusal is not None:
                self._refuse(self._visitor.refusal)
                return None
            deadline = self._visitor.opened + self._site.limits.first_seconds
            while taken is None and not self._close and self._begin(deadline):
                taken = self._exchange()
                deadline = monotonic() + self._site.limits.idle_seconds
        except (TimeUp, Gone, Stopped):
            pass
        finally:
            if taken is None:
                self.stream.close(linger=self._unread)
        return taken

    def _refuse(self, refusal: RateLimited) -> None:
        """Tell a client why it may not stay: in the way of its request, if that comes soon."""
        self._unread = True
        try:
            self._begin(monotonic() + REFUSED_SECONDS)
        except TimeUp:
            self.stream.write(refused(refusal))
        else:
            self._exchange()

    # -- Reading

    def _begin(self, deadline: float) -> bool:
        """Wait for the first bytes of a request; return False if there will be none."""
        if self._h11 is not None:  # they came with the request before
            gevent.sleep(0)  # a client that sends many at once leaves the others their turn
            return True
        with self._site.idle(self.stream):
            first = self.stream.read(deadline, interruptible=True)
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=self._site.limits.max_head)
        self._h11.receive_data(first)
        return True

    def _event(self, deadline: float) -> Any:
        """Return h11's next event.

        Raises:
            HttpError: what came is no HTTP.
            TimeUp, Gone
        """
        assert self._h11 is not None
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                # What h11 finds too large behind the head is the line of a chunk, or the trailers.
                status = 400 if self._method and error.error_status_hint == 431 else error.error_status_hint
                raise HttpError(status, FAULTS.get(status, "this is no valid HTTP"), close=True) from None
            if event is not h11.NEED_DATA:
                return event
            if self._h11.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                self.stream.write(self._send(go_on))
            self._h11.receive_data(self.stream.read(deadline))

    def _head(self) -> h11.Request:
        seconds = self._site.limits.head_seconds
        if self._visitor.refusal is not None:
            seconds = min(seconds, REFUSED_SECONDS)
        try:
            request = self._event(monotonic() + seconds)
        except TimeUp:
            raise HttpError(408, "the head of the request did not come in time", close=True) from None
        assert isinstance(request, h11.Request)
        self._method = request.method
        return request

    def _body(self, most: int) -> bytes:
        """Read the body of the request.

        Raises:
            HttpError: it is too long or too slow, or is no HTTP.
        """
        parts: list[bytes] = []
        size = 0
        deadline = monotonic() + self._site.limits.head_seconds
        while True:
            try:
                event = self._event(deadline)
            except TimeUp:
                raise HttpError(408, "the body of the request did not come in time", close=True) from None
            if not isinstance(event, h11.Data):
                self._unread = False
                return b"".join(parts)
            size += len(event.data)
            deadline += len(event.data) / SLOWEST
            if size > most:
                raise _too_large(most)
            parts.append(bytes(event.data))

    # -- One request

    def _exchange(self) -> Callable[[], None] | None:
        """Read one request and answer it.

        Returns:
            Takes the socket over, if its handler wants to.
        """
        self._unread, self._method = True, b""
        call, route = None, None
        try:
            call = self._call()
            route = self._route(call)
            self._check_limits(call, route.price)
            response = self._answer(route, call)
        except (HttpError, RequestError) as error:
            self._close |= self._unread or (isinstance(error, HttpError) and error.close)
            response = (route.failure if route and route.failure else problem)(error)
        except (TimeUp, Gone):
            raise
        except Exception:
            HANDLER_ERRORS.value += 1
            shown = route.path if route else "no row"
            logger.exception("%s: a bug in the handler of %s", self._visitor.address, shown)
            self._close = True
            response = problem(HttpError(500, "the server failed on this request; it has been logged"))
        HTTP_REQUESTS.values[f"{response.status // 100}xx"] += 1
        # The row's path, and never the real one, which may hold a secret.
        logger.debug("%s %s: %d", self._visitor.address, route.path if route else "-", response.status)
        self._close |= self._site.draining
        if response.takeover is not None and self._method != b"HEAD":
            return self._take_over(response.takeover, response)
        self._respond(response)
        self._next()
        return None

    def _call(self) -> Call:
        """Read the head of a request, and find out which client it is of and what for."""
        site, request = self._site, self._head()
        headers = Headers(request.headers)
        _check_head(request, headers, site.limits)
        if not _has_body(headers):
            self._body(0)  # h11 wants to be asked for the end of the request
        authority, path, query = _split(request.target.decode("ascii"), headers.get("host"))
        client = client_of(self._peer, self._visitor.encrypted, headers, site.proxies)
        return Call(
            method=request.method.decode("ascii"),
            path=path,
            parameters={},
            query=query,
            headers=headers,
            body=b"",
            address=client.address,
            host=authority,
            version=request.http_version.decode("ascii"),
            secure=client.secure,
            service=site.service,
        )

    def _route(self, call: Call) -> Route:
        """Return the row for a call that may come here at all."""
        site = self._site
        route: Route | None = None
        missing: HttpError | None = None
        try:
            route, call.parameters = site.routes.find(call.method, call.path)
        except HttpError as error:
            missing = error
        if route is None or not route.any_host:
            site.origins.check_host(call.host, self._visitor.local_host)
        if route is None:
            self._check_limits(call, 1.0)
            assert missing is not None
            raise missing
        return route

    def _check_limits(self, call: Call, price: float) -> None:
        """Check that a client has not too many connections, nor makes too many requests.

        Raises:
            HttpError: 429
        """
        refusal = self._visitor.refusal
        if refusal is None and call.address != self._peer:
            refusal = self._visitor.move(call.address)
        if refusal is not None:
            raise limited(refusal)
        self._site.check_rate(call.address, price)

    def _answer(self, route: Route, call: Call) -> Response:
        if route.requires is not None:
            call.account = route.requires(call)
        if self._unread:
            length = call.headers.get("content-length", "0")
            if len(length) > 18 or int(length) > route.max_body:
                raise _too_large(route.max_body)
            call.body = self._body(route.max_body)
        return route.handler(call)

    # -- Writing

    def _send(self, event: h11.Event) -> bytes:
        assert self._h11 is not None
        return self._h11.send(event) or b""

    def _respond(self, response: Response) -> None:
        """Send an answer; a small one with one call of the kernel."""
        whole = response.body if isinstance(response.body, bytes) else None
        headers = [*with_security(response.headers), ("date", formatdate(usegmt=True))]
        if whole is not None and response.status not in NO_BODY:
            headers.append(("content-length", str(len(whole))))
        if self._close:
            headers.append(("connection", "close"))
        reason = HTTPStatus(response.status).phrase.encode()
        parts = [self._send(h11.Response(status_code=response.status, headers=headers, reason=reason))]
        if self._method != b"HEAD" and response.status not in NO_BODY:
            pieces: Iterable[bytes] = [response.body] if isinstance(response.body, bytes) else response.body
            for piece in pieces:
                parts.append(self._send(h11.Data(data=piece)))
                if len(piece) >= PIECE:
                    self.stream.write(b"".join(parts))
                    parts.clear()
        parts.append(self._send(h11.EndOfMessage()))
        self.stream.write(b"".join(parts))

    def _next(self) -> None:
        """Prepare for the next request, if the connection can be used again."""
        if self._visitor.address != self._peer:
            self._visitor.move(self._peer, shared=True)
        connection, self._h11 = self._h11, None
        assert connection is not None
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            self._close = True
        elif not self._close:
            connection.start_next_cycle()
            if connection.trailing_data[0]:
                self._h11 = connection

    def _take_over(self, take_over: Takeover, response: Response) -> Callable[[], None]:
        """Send the head of an answer; return what hands the socket to the handler's function for good."""
        assert self._h11 is not None
        received = self._h11.trailing_data[0]
        self._h11 = None
        headers = [*with_security(response.headers), ("date", formatdate(usegmt=True))]
        if response.status != 101:
            headers.append(("connection", "close"))
        self.stream.write(head_of(response.status, headers))
        visitor = self._visitor
        taken = TakenOver(visitor.sock, visitor.address, visitor.opened, received, visitor.hand_over)
        return partial(take_over, taken)


def _check_head(request: h11.Request, headers: Headers, limits: HttpLimits) -> None:
    if not request.http_version.startswith(b"1."):
        raise HttpError(505, "this server speaks HTTP/1.1", close=True)
    if len(request.target) > limits.max_target:
        raise HttpError(414, f"the target has more than {limits.max_target} bytes", close=True)
    if len(headers) > limits.max_headers:
        raise HttpError(431, f"there are more than {limits.max_headers} header lines", close=True)
    if "transfer-encoding" in headers and ("content-length" in headers or request.http_version == b"1.0"):
        # Programs disagree on which of them counts: the way of request smuggling (RFC 9112, 6.1).
        raise HttpError(400, "the length of the body is ambiguous", close=True)
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise HttpError(417, "nothing but 100-continue can be expected", close=True)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


def _split(target: str, host: str) -> tuple[str, str, Mapping[str, str]]:
    """Split a request target into authority, path and query.

    The authority of an absolute one goes before Host (RFC 9112, 3.2.2).

    Raises:
        HttpError: 400
    """
    authority, rest = host, target
    scheme, colon, after = target.partition("://")
    if colon and scheme.lower() in ("http", "https"):
        end = next((place for place, letter in enumerate(after) if letter in "/?"), len(after))
        authority, rest = after[:end], after[end:]
        rest = rest if rest.startswith("/") else f"/{rest}"
    if not rest.startswith("/") and rest != "*":
        raise HttpError(400, "the target is no path")
    path, _, query = rest.partition("?")
    try:
        fields = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise HttpError(400, "the query is not valid") from None
    return authority.lower(), path, dict(fields)


def _too_large(most: int) -> HttpError:
    detail = f"the body has more than {most} bytes" if most else "this request takes no body"
    return HttpError(413, detail, close=True)

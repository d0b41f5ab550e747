"""One HTTP request to somebody's server: bounded in time and size, to addresses that were checked before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import gevent
import h11
from gevent import socket, ssl

from greenchat import __version__
from greenchat.errors import GreenchatError
from greenchat.outgoing.destination import Destination

CONNECT = 5.0
"""Seconds for the connection to one address."""

TOTAL = 20.0
"""Seconds for all of a request, the answer's headers among it."""

REST = 2.0
"""Seconds for the answer's body.  It is not used; but a receiver may call it an error if nobody reads it."""

MOST_HEADERS = 16_384
"""Bytes of the answer's headers."""

MOST_BODY = 65_536
"""Bytes of the answer's body that are read."""

MOST_INFORMATIONAL = 10
"""Informational responses (1xx) before the answer."""

AT_A_TIME = 16_384
"""Bytes of a read, between which the others have their turn: the loop, and so each time limit too."""


class NoAnswer(GreenchatError):
    """Raised if a request was not answered; the sentence says why."""


class Answer(NamedTuple):
    """The answer to a request.

    Attributes:
        status: of HTTP.
        retry_after: seconds after which the receiver asks for the next try, if it said so in seconds.
    """

    status: int
    retry_after: float | None


def post(
    destination: Destination,
    addresses: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send a POST, and return the answer; a redirect is one like any other.  Switches.

    Args:
        destination: the URL; its name is in the Host header and checked by TLS.
        addresses: where to connect, in this order; the name is not resolved again.
        headers: more headers.
        body: JSON.
        tls: the context for https; None for one with the system's authorities.

    Raises:
        NoAnswer: none came in time, or nothing that is HTTP.
    """
    try:
        with gevent.Timeout(TOTAL) as limit:
            sock = _connect(destination, addresses, tls)
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                return _exchange(sock, destination, headers, body, limit)
            finally:
                sock.close()
    except gevent.Timeout:
        raise NoAnswer(f"no answer within {TOTAL:.0f} s") from None
    except ssl.SSLCertVerificationError as error:
        raise NoAnswer(f"TLS: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise NoAnswer(f"TLS: {error.reason or 'the connection failed'}") from None
    except OSError as error:
        raise NoAnswer(f"the connection failed: {error.strerror or error}") from None
    except h11.RemoteProtocolError as error:
        raise NoAnswer(f"the answer is not HTTP: {error}") from None


def _connect(destination: Destination, addresses: Sequence[str], tls: ssl.SSLContext | None) -> socket.socket:
    """Return a connection to the first address that takes one, with TLS where the URL asks for it."""
    for last, address in enumerate(addresses, 1 - len(addresses)):
        try:
            sock = socket.create_connection((address, destination.port), CONNECT)
            break
        except OSError:
            if last == 0:
                raise
    sock.settimeout(None)  # the whole request has a limit
    if not destination.is_tls:
        return sock
    try:
        return (tls or _tls()).wrap_socket(sock, server_hostname=destination.host)
    except BaseException:
        sock.close()
        raise


def _tls() -> ssl.SSLContext:
    """Return the context of all connections: the system's authorities, TLS 1.2 or later.  Switches."""
    if not _contexts:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the name and the certificate
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        paths = ssl.get_default_verify_paths()
        if paths.cafile or paths.capath:
            # Not load_default_certs: that holds the interpreter lock, and the loop, for the 70 ms of 144
            # authorities (measured).  This one lets go of it, so that it can run beside the loop.
            load = partial(
                context.load_verify_locations, paths.cafile, None if paths.cafile else paths.capath
            )
            gevent.get_hub().threadpool.apply(load)
        _contexts.append(context)
    return _contexts[0]


_contexts: list[ssl.SSLContext] = []
"""The context, once it has been made."""


def _exchange(
    sock: socket.socket,
    destination: Destination,
    headers: Mapping[str, str],
    body: bytes,
    limit: gevent.Timeout,
) -> Answer:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEADERS)
    fields = {
        "Host": destination.authority,
        "User-Agent": f"greenchat/{__version__}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    request = h11.Request(method="POST", target=destination.target, headers=list(fields.items()))
    data = [http.send(event) for event in (request, h11.Data(body), h11.EndOfMessage())]
    # A receiver may answer and close before it has read all: its answer counts, if it can be read.
    with suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(b"".join(part for part in data if part))
    response = _response(http, sock)
    limit.cancel()  # a 2xx counts, however long its body takes: the entry must not be sent again
    with suppress(OSError, h11.RemoteProtocolError), gevent.Timeout(REST, False):
        _read_rest(http, sock)
    return Answer(response.status_code, _seconds(response))


def _response(http: h11.Connection, sock: socket.socket) -> h11.Response:
    for _ in range(MOST_INFORMATIONAL + 1):
        if isinstance(response := _next_event(http, sock), h11.Response):
            return response
    raise NoAnswer(f"more than {MOST_INFORMATIONAL} informational responses, and no answer")


def _next_event(http: h11.Connection, sock: socket.socket) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        data = sock.recv(AT_A_TIME)
        gevent.sleep(0)  # a recv that finds data does not switch
        if not data and http.their_state is h11.SEND_RESPONSE:
            raise NoAnswer("the connection was closed without an answer")
        http.receive_data(data)
    return event


def _read_rest(http: h11.Connection, sock: socket.socket) -> None:
    """Read the body, but not much of it."""
    size = 0
    while size < MOST_BODY and isinstance(event := _next_event(http, sock), h11.Data):
        size += len(event.data)


def _seconds(response: h11.Response) -> float | None:
    """Return the value of Retry-After, if it is a number."""
    for name, value in response.headers:
        if name == b"retry-after" and len(value) < 10 and value.isdigit():
            return float(value)
    return None

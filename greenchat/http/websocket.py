"""The row ``GET /ws``: checks the upgrade to WebSocket, and hands the socket to the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from greenchat.http.call import Call, HttpError, Response, Route, TakenOver
from greenchat.http.origin import Origins
from greenchat.protocol.websocket.handshake import BadHandshake, upgrade

Adopt = Callable[[Call, TakenOver], None]
"""Serves a client that speaks WebSocket from now on.  Does not switch."""


HasCookie = Callable[[Call], bool]
"""Returns True for a call with the cookie of a session."""


def websocket_routes(origins: Origins, adopt: Adopt, has_cookie: HasCookie) -> Iterator[Route]:
    """Yield the row.

    Args:
        origins: says which pages may open a WebSocket.
        adopt: takes the socket.
        has_cookie: a program without one needs no origin.
    """
    yield Route("GET", "/ws", partial(_upgrade, origins, adopt, has_cookie))


def _upgrade(origins: Origins, adopt: Adopt, has_cookie: HasCookie, call: Call) -> Response:
    try:
        if call.method != "GET" or call.version < "1.1":
            raise BadHandshake(426, "WebSocket begins with a GET of HTTP/1.1", [(b"Upgrade", b"websocket")])
        headers = upgrade(call.headers)
    except BadHandshake as error:
        raise HttpError(error.status, str(error), _text(error.headers)) from None
    origins.check_upgrade(call, with_cookie=has_cookie(call))
    return Response(101, _text(headers), takeover=partial(adopt, call))


def _text(headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]

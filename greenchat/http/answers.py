"""The answers that are the same for all routes: problems, and the headers that every answer has."""

from __future__ import annotations

import math
from http import HTTPStatus

import msgspec

from greenchat.errors import (
    BadRequest,
    Busy,
    NotAllowed,
    NotLoggedIn,
    RateLimited,
    RequestError,
    TooLarge,
    UnknownMsgid,
)
from greenchat.http.call import HttpError, Pairs, Response

PROBLEM = "application/problem+json"
"""The type of the body of an answer to a request that failed (RFC 9457)."""

SECURITY: Pairs = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "font-src 'self'; connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; "
        "worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)
"""Headers of every answer: no script or style but from files of this server, no frame around it, no guessing
of types, no address of ours to other sites."""

ALWAYS: Pairs = (*SECURITY, ("cache-control", "no-store"))
"""The same, and that nothing is kept unless its row says so."""

STATUS_OF_ERRNO = {
    **dict.fromkeys((3, 4, 16), 400),
    **dict.fromkeys((1, 5), 401),
    **dict.fromkeys((8, 10, 14, 17, 18, 20, 21), 403),
    **dict.fromkeys((6, 7, 15, 19), 404),
    **dict.fromkeys((2, 9), 409),
    12: 413,
    11: 429,
    13: 503,
}
"""The status of each error of the protocol (docs/protocol.md, Error codes)."""

ERROR_OF_STATUS: dict[int, type[RequestError]] = {
    401: NotLoggedIn,
    403: NotAllowed,
    404: UnknownMsgid,
    405: UnknownMsgid,
    413: TooLarge,
    414: TooLarge,
    429: RateLimited,
    431: TooLarge,
    500: Busy,
    503: Busy,
}
"""The error of the protocol that comes nearest to a status; ``BadRequest`` to all others."""


def problem(error: RequestError | HttpError) -> Response:
    """Return the answer to a request that failed: problem+json with ``errno``, ``error`` and ``detail``."""
    if isinstance(error, HttpError):
        kind = ERROR_OF_STATUS.get(error.status, BadRequest)
        return _problem(error.status, kind.errno, kind.error, error.detail, error.headers)
    headers = [("retry-after", str(math.ceil(error.retry_after)))] if error.retry_after is not None else []
    status = STATUS_OF_ERRNO[error.errno]
    if status == 503 and not headers:
        headers = [("retry-after", "1")]
    if status == 401:
        headers.append(("www-authenticate", "Bearer"))
    return _problem(status, error.errno, error.error, str(error), headers)


def _problem(status: int, errno: int, error: str, detail: str, headers: Pairs) -> Response:
    body = {
        "status": status,
        "title": HTTPStatus(status).phrase,
        "errno": errno,
        "error": error,
        "detail": detail,
    }
    return Response(status, [("content-type", PROBLEM), *headers], msgspec.json.encode(body))


def limited(error: RateLimited) -> HttpError:
    """Return the error for a client over a limit, which ends its connection too: a new one costs it more."""
    headers = [("retry-after", str(math.ceil(error.retry_after or 1)))]
    return HttpError(429, str(error), headers, close=True)


def with_security(headers: Pairs) -> list[tuple[str, str]]:
    """Return the headers of an answer with those that every answer has; its own ones go before."""
    names = {name for name, _ in headers}
    return [*headers, *((name, value) for name, value in ALWAYS if name not in names)]


def head_of(status: int, headers: Pairs) -> bytes:
    """Return the head of an answer, for a socket that leaves HTTP behind it."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def refused(error: RateLimited) -> bytes:
    """Return an answer for a client that is closed at once, before it has said anything."""
    response = problem(error)
    assert isinstance(response.body, bytes)
    fixed = [("content-length", str(len(response.body))), ("connection", "close")]
    return head_of(response.status, [*with_security(response.headers), *fixed]) + response.body

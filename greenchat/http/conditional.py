"""Conditional requests and ranges (RFC 9110, 13 and 14), for whatever has an ETag and a date."""

from __future__ import annotations

import re
from email.utils import formatdate, parsedate_to_datetime
from typing import NamedTuple

from greenchat.http.call import Call, HttpError, Pairs, Response

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Representation(NamedTuple):
    """Bytes that can be asked for.

    Attributes:
        data: all of them.
        etag: a strong validator, with its quotes.
        modified: Unix seconds.
    """

    data: bytes
    etag: str
    modified: int


def answer(call: Call, what: Representation, headers: Pairs) -> Response:
    """Return the answer to GET or HEAD: 200, 206, 304, 412 or 416.

    Several ranges at once are answered with the whole, as RFC 9110, 14.2 allows: no client of ours asks for
    them, and overlapping ones are an attack.
    """
    headers = [
        *headers,
        ("etag", what.etag),
        ("last-modified", formatdate(what.modified, usegmt=True)),
        ("accept-ranges", "bytes"),
    ]
    if "if-match" in call.headers and not _matches(call.headers.items("if-match"), what.etag, weak=False):
        raise HttpError(412, "the file is another one by now")
    if _is_fresh(call, what):
        return Response(304, [pair for pair in headers if not pair[0].startswith("content-")])
    asked = _RANGE.fullmatch(call.headers.get("range").replace(" ", "").lower())
    if asked is None or asked[0] == "bytes=-" or not _may_have_part(call, what):
        return Response(200, headers, what.data)
    return _part(what, asked[1], asked[2], headers)


def _is_fresh(call: Call, what: Representation) -> bool:
    """Return True if the client has it already; If-None-Match goes before the date."""
    if "if-none-match" in call.headers:
        return _matches(call.headers.items("if-none-match"), what.etag, weak=True)
    since = _date(call.headers.get("if-modified-since"))
    return since is not None and what.modified <= since


def _may_have_part(call: Call, what: Representation) -> bool:
    """Return True unless If-Range names another version: then the client needs the whole."""
    condition = call.headers.get("if-range")
    if not condition:
        return True
    if condition.startswith(('"', "W/")):
        return condition == what.etag
    return _date(condition) == what.modified


def _part(what: Representation, first: str, last: str, headers: Pairs) -> Response:
    size = len(what.data)
    if first:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    else:
        start, end = max(0, size - int(last)), size - 1
    if start > end or start >= size:
        if first and last and int(last) < int(first):  # not valid, so it counts as none
            return Response(200, headers, what.data)
        raise HttpError(416, f"there are {size} bytes", [("content-range", f"bytes */{size}")])
    return Response(
        206, [*headers, ("content-range", f"bytes {start}-{end}/{size}")], what.data[start : end + 1]
    )


def _matches(etags: list[str], etag: str, *, weak: bool) -> bool:
    if weak:
        etags = [one.removeprefix("W/") for one in etags]
    return "*" in etags or etag in etags


def _date(text: str) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp()) if text else None
    except (ValueError, OverflowError):
        return None

"""Files of the web client, held in memory: with an ETag each, compressed once, at the start."""

from __future__ import annotations

import gzip
import mimetypes
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from greenchat.http.call import Call, Response, Route
from greenchat.http.conditional import Representation, answer

COMPRESSED = {".br": "br", ".gz": "gzip"}
"""Endings of files that lie compressed beside the plain ones, and the names of their codings."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""Types by ending; of others Python's table tells.  With ``nosniff`` a wrong one is fatal."""

INDEX = "index.html"

LEAST_GAIN = 0.9
"""A compressed form is kept if it has at most this share of the plain one's bytes."""


class StaticFile(NamedTuple):
    """A file in the forms in which it can be sent.

    Attributes:
        type: its media type.
        modified: Unix seconds.
        forms: its bytes by coding; ``identity`` is the plain one.
    """

    type: str
    modified: int
    forms: dict[str, Representation]

    def handler(self, call: Call) -> Response:
        """Answer a request for the file, in the form that the client takes and that is shortest.

        A range is one of the plain form: what a coding makes of it is nobody's business.
        """
        taken = _accepted(call.headers.items("accept-encoding"))
        codings = [coding for coding in ("br", "gzip") if coding in self.forms and coding in taken]
        coding = "identity" if "range" in call.headers or not codings else codings[0]
        headers = [("content-type", self.type), ("cache-control", "no-cache")]
        if len(self.forms) > 1:
            headers.append(("vary", "accept-encoding"))
        if coding != "identity":
            headers.append(("content-encoding", coding))
        return answer(call, self.forms[coding], headers)


def static_routes(folder: Path) -> Iterator[Route]:
    """Yield a row for each file below a folder; ``index.html`` is the folder itself too.

    The paths are rows of the table, so a request reaches these files and no others.
    """
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in COMPRESSED or path.suffix == ".py":
            continue
        file = _load(path)
        place = path.relative_to(folder).as_posix()
        yield Route("GET", f"/{place}", file.handler)
        if path.name == INDEX:
            yield Route("GET", f"/{place.removesuffix(INDEX)}", file.handler)


def _load(path: Path) -> StaticFile:
    data, modified = path.read_bytes(), int(path.stat().st_mtime)
    etag = sha256(data).hexdigest()[:24]
    forms = {"identity": Representation(data, f'"{etag}"', modified)}
    for ending, coding in COMPRESSED.items():
        beside = path.with_name(path.name + ending)
        packed = beside.read_bytes() if beside.is_file() else _packed(data, coding)
        if packed and len(packed) <= len(data) * LEAST_GAIN:
            forms[coding] = Representation(packed, f'"{etag}-{coding}"', modified)
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return StaticFile(kind, modified, forms)


def _packed(data: bytes, coding: str) -> bytes:
    """Return data compressed here: gzip is in the standard library, brotli is not."""
    return gzip.compress(data, 9, mtime=0) if coding == "gzip" else b""


def _accepted(codings: Iterable[str]) -> set[str]:
    """Return the codings of an Accept-Encoding header that it does not refuse (``q=0``)."""
    accepted = set()
    for item in codings:
        coding, _, parameters = item.lower().partition(";")
        weight = parameters.replace(" ", "").removeprefix("q=")
        if weight.strip("0.") or not weight:
            accepted.add(coding.strip())
    return accepted

"""Answers in JSON."""

from __future__ import annotations

from msgspec import Struct

from greenchat.http.call import Response
from greenchat.protocol.native import encode

JSON = "application/json"


def answered(body: Struct, status: int = 200) -> Response:
    """Return an answer with a body; entries in it are encoded as on the native wire."""
    return Response(status, [("content-type", JSON)], encode(body))

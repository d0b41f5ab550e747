"""The rows that belong to nobody's account: probes, and the page for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic

from greenchat.http.call import Call, Response, Route, text
from greenchat.http.static import static_routes

RECENT = 1.0
"""Seconds for which an answer of the database is good enough for ``/ready``: anybody may ask for it."""

WEB = Path(__file__).parent.parent / "web"
"""The files for browsers."""


def page_routes(trouble: Callable[[], str]) -> Iterator[Route]:
    """Yield the rows.

    Args:
        trouble: returns the reason why the server cannot do all of its work, empty if it can; may switch.
    """
    yield Route("GET", "/health", lambda call: text("ok\n"), price=0.0, any_host=True)
    yield Route("GET", "/ready", partial(_ready, Readiness(trouble)), price=0.0, any_host=True)
    yield from static_routes(WEB)


class Readiness:
    """Remembers for a moment whether the server can do its work.

    Args:
        trouble: as for ``page_routes``.
    """

    def __init__(self, trouble: Callable[[], str]) -> None:
        self._trouble = trouble
        self._checked = float("-inf")
        self._ready = False

    def check(self) -> bool:
        """Return True if the server can do all of its work.  May switch."""
        now = monotonic()
        if now - self._checked >= RECENT:
            self._checked = now  # before it switches: one question at a time
            self._ready = not self._trouble()
        return self._ready


def _ready(readiness: Readiness, call: Call) -> Response:
    # The reason is for operators only: the status page of --admin tells it.
    ready = not call.service.draining and readiness.check()
    return text("ok\n") if ready else text("not ready\n", 503, [("retry-after", "1")])

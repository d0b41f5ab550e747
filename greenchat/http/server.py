"""Serves HTTP to web clients, from the first connection to the last."""

from __future__ import annotations

from gevent.event import Event

from greenchat.http.connection import HttpConnection, Visitor
from greenchat.http.site import Site


class HttpServer:
    """Serve HTTP to web clients.

    Args:
        site: what their connections share.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._serving = 0
        self._empty = Event()

    def __len__(self) -> int:
        """Return the number of connections that speak HTTP."""
        return self._serving

    @property
    def idle(self) -> int:
        """The number of those that are between two requests, or have sent none yet."""
        return self._site.idle_connections

    def serve(self, visitor: Visitor) -> None:
        """Serve a client until its connection ends; the body of its greenlet."""
        self._serving += 1
        self._empty.clear()
        take_over = None
        try:
            take_over = HttpConnection(self._site, visitor).run()
        finally:
            self._serving -= 1
            if not self._serving:
                self._empty.set()
        if take_over is not None:
            take_over()

    def drain(self) -> None:
        """End idle connections now, and the others with the answer that is under way."""
        self._site.drain()

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until no connection is left; return False if some are after ``timeout`` seconds."""
        return not self._serving or self._empty.wait(timeout)

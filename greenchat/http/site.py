"""The state that all HTTP connections of a server share: the table, the limits, the idle ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from greenchat.errors import RateLimited
from greenchat.http.answers import limited
from greenchat.http.forwarded import Networks
from greenchat.http.limits import HttpLimits
from greenchat.http.origin import Origins
from greenchat.http.routes import Routes
from greenchat.http.stream import Stream
from greenchat.protocol.addresses import host_of, network_of
from greenchat.service.identity.throttle import Bucket

ADDRESSES = 10_000
"""Addresses with a remembered bucket; the one that has asked for nothing the longest is forgotten first."""


class Site:
    """The state that the connections of a server share.

    Args:
        routes: the table.
        origins: checks of Host and Origin.
        service: what handlers find as ``Call.service``.
        limits: of HTTP.
        proxies: networks of the proxies that are believed when they name the client of a request.

    Attributes:
        routes, origins, service, limits, proxies: as given.
        draining: True once the server stops.
    """

    def __init__(
        self,
        routes: Routes,
        origins: Origins,
        service: Any,
        limits: HttpLimits,
        proxies: Networks,
    ) -> None:
        self.routes = routes
        self.origins = origins
        self.service = service
        self.limits = limits
        self.proxies = proxies
        self.draining = False
        self._idle: dict[Stream, None] = {}  # the longest idle first
        self._buckets: dict[str, Bucket] = {}

    @property
    def idle_connections(self) -> int:
        """The number of connections that are between two requests, or have sent none yet."""
        return len(self._idle)

    def drain(self) -> None:
        """End idle connections now, and the others with the answer that is under way."""
        self.draining = True
        for stream in list(self._idle):
            stream.stop()

    @contextmanager
    def idle(self, stream: Stream) -> Iterator[None]:
        """Count a connection as idle for as long as the context lasts; one too many ends the oldest."""
        self._idle[stream] = None
        if len(self._idle) > self.limits.max_idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.stop()
        if self.draining:
            stream.stop()
        try:
            yield
        finally:
            self._idle.pop(stream, None)

    def check_rate(self, address: str, price: float) -> None:
        """Take the price of a call from the bucket of its address.

        Raises:
            HttpError: 429: there is not enough in it.
        """
        limits, host = self.limits, host_of(address)
        if not price or not limits.request_rate or limits.is_exempt(host):
            return
        key, now = network_of(host), monotonic()
        bucket = self._buckets.pop(key, None) or Bucket(limits.request_rate, limits.request_burst, now)
        self._buckets[key] = bucket
        if len(self._buckets) > ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        try:
            bucket.check(now, price)
        except RateLimited as error:
            raise limited(error) from None

"""The state that all classic clients share: time zone, clock, and the dialects that were logged."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, tzinfo

from greenchat.model.instants import to_instant
from greenchat.protocol.addresses import host_of
from greenchat.protocol.classic.dialects import SHIFTS
from greenchat.protocol.wire import new_slot

logger = logging.getLogger(__name__)

HOSTS = 1_000
"""Hosts for which it is remembered that their dialect was logged: those that came last."""


class ClassicClients:
    """Settings and memory of all classic connections of a server.

    Args:
        zone: the time zone of the times that the clients show; None: the server's.
        clock: returns Unix seconds.

    Attributes:
        slots: by the shift of each lineage, where its frames stand in a shared message.
    """

    def __init__(self, zone: tzinfo | None = None, clock: Callable[[], float] = time.time) -> None:
        self._zone = zone
        self._clock = clock
        self._logged: OrderedDict[str, str] = OrderedDict()
        self.slots = {shift: new_slot() for shift in SHIFTS}

    def local_time(self, instant: str) -> str:
        """Return an instant as ``YYYY-MM-DD HH:MM:SS`` in the clients' time zone."""
        return datetime.fromisoformat(instant).astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S")

    def now(self) -> str:
        """Return this instant."""
        return to_instant(self._clock())

    def note_dialect(self, address: str, dialect: str) -> None:
        """Log that a client speaks another protocol, once for each host and dialect.

        Args:
            address: ``HOST:PORT`` of the client.
            dialect: a sentence that tells it from ours.
        """
        host = host_of(address)
        known = self._logged.pop(host, None)
        self._logged[host] = dialect
        if len(self._logged) > HOSTS:
            self._logged.popitem(last=False)
        if known != dialect:
            logger.warning("%s speaks another protocol: %s (see docs/original.md)", address, dialect)

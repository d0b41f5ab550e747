"""Settings and memory that all connections of original C++ clients share: time zone, dialects seen."""

from __future__ import annotations

import logging
from collections import OrderedDict
from datetime import tzinfo

from greenchat.protocol.addresses import host_of
from greenchat.protocol.classic import ClassicWire

logger = logging.getLogger(__name__)

HOSTS = 1_000
"""Hosts of which is remembered that the log has their dialect: those that came last."""


class Originals:
    """Make the wire of each original client, and log the dialects that are not understood.

    Args:
        zone: the time zone of the times that the clients show; None: the server's.
    """

    def __init__(self, zone: tzinfo | None = None) -> None:
        self._zone = zone
        self._logged: OrderedDict[str, str] = OrderedDict()

    def wire(self) -> ClassicWire:
        """Return the wire of a new client."""
        return ClassicWire(self._zone)

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

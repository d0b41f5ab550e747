"""The table of the ports that clients come to, and of how they speak there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from greenchat.config import Settings
from greenchat.protocol.classic.clients import ClassicClients
from greenchat.protocol.opening import TcpOpening
from greenchat.protocol.wire import Opening, Speech


class Port(NamedTuple):
    """A row of the table.

    Attributes:
        address: host and port; port 0 takes a free one.
        opening: returns how a client speaks, or what finds that out, given its ``HOST:PORT`` and the bytes
            that a frame may have.
    """

    address: tuple[str, int]
    opening: Callable[[str, int], Opening | Speech]


def ports(settings: Settings) -> list[Port]:
    """Return the ports that these settings ask for; the first one is that of the ready line."""
    return [
        Port((settings.host, settings.port), partial(TcpOpening, ClassicClients(settings.classic_zone))),
    ]

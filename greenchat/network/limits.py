"""The limits of one connection, of one address, and of all connections together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from greenchat.network.outbox import OUTBOX_LIMIT
from greenchat.protocol.lines import MAX_REQUEST_FRAME


def nobody(host: str) -> bool:
    """Exempt no host."""
    return False


class Limits(NamedTuple):
    """The network's limits; ``config.Settings`` has the same names, other defaults, and the reasons.

    Attributes:
        max_connections: connections in all.
        max_connections_per_address: connections of an address (of IPv6: of a /64); 0 for any number.
        max_strangers: connections that are not logged in.
        max_frame: bytes of a frame from a client.
        byte_rate: bytes that are read of a connection in a second, on average; 0 for any number.
        byte_burst: bytes that are read at once after a rest.
        outbox_limit: unsent bytes beyond which a client is a slow consumer.
        outbox_seconds: seconds in which a client must take some of its queued output; 0 for no limit.
        silent_timeout: seconds that a connection may last without a login if it has said nothing yet, or
            belongs to an original client; 0: as long as others.
        max_silent: connections that make use of that.
        max_silent_per_address: the same of an address.
        is_exempt: whether a host is held neither to the limit of an address nor to that of bytes.
    """

    max_connections: int = 10_000
    max_connections_per_address: int = 0
    max_strangers: int = 10_000
    max_frame: int = MAX_REQUEST_FRAME
    byte_rate: int = 0
    byte_burst: int = 0
    outbox_limit: int = OUTBOX_LIMIT
    outbox_seconds: float = 0.0
    silent_timeout: float = 0.0
    max_silent: int = 2_000
    max_silent_per_address: int = 16
    is_exempt: Callable[[str], bool] = nobody


DEFAULTS = Limits()

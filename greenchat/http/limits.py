"""The limits of HTTP: of one request, of one connection, and of all idle ones together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


def nobody(host: str) -> bool:
    """Exempt no host."""
    return False


class HttpLimits(NamedTuple):
    """The limits of HTTP connections.

    Attributes:
        max_head: bytes of the request line and header lines together.
        max_target: bytes of the request target.
        max_headers: header lines.
        head_seconds: seconds from the first byte of a request until its head is complete.
        first_seconds: seconds that a new connection has for its first byte.
        idle_seconds: seconds that a connection may last between two requests.
        max_idle: connections between two requests; the one that has been so longest is closed for another.
        request_rate: requests of an address (of IPv6: of a /64) in a second, on average; 0: any number.
        request_burst: the same at once, after a rest.
        is_exempt: whether a host is not held to these two.
    """

    max_head: int = 16_384
    max_target: int = 8_192
    max_headers: int = 100
    head_seconds: float = 10.0
    first_seconds: float = 10.0
    idle_seconds: float = 75.0
    max_idle: int = 2_000
    request_rate: float = 0.0
    request_burst: int = 4_000
    is_exempt: Callable[[str], bool] = nobody

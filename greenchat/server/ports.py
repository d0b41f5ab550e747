"""The table of the ports that clients come to, and of how they speak there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from greenchat.config import Settings
from greenchat.errors import ConfigError
from greenchat.protocol.classic.clients import ClassicClients
from greenchat.protocol.opening import TcpOpening
from greenchat.protocol.wire import Opening, Speech

MOST = 65_535

# fmt: off
REFUSED_BY_BROWSERS = frozenset({
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
    109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049,
    3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
})
# fmt: on
"""The "bad ports" of the Fetch standard: no page is loaded from there."""


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


def web_address(settings: Settings) -> tuple[str, int] | None:
    """Return host and port for web clients; None: there are to be none.

    Raises:
        ConfigError: the address cannot be read, or browsers refuse the port.
    """
    if not settings.web:
        return None
    host, port = parse_address("web", settings.web, settings.port)
    if port in REFUSED_BY_BROWSERS:
        raise ConfigError(f"web: browsers refuse port {port} (it is that of another protocol); take 8080")
    return host, port


def parse_address(setting: str, address: str, server_port: int) -> tuple[str, int]:
    """Read the address of a port that stands beside the server's own.

    Args:
        setting: its name, for the error.
        address: ``HOST:PORT``, or ``HOST:+N`` for N above the server's own port.
        server_port: the server's own.

    Raises:
        ConfigError: the address cannot be read.
    """
    host, _, digits = address.rpartition(":")
    is_offset = digits.startswith("+")
    number = digits.removeprefix("+")
    if not host or not number.isdecimal() or int(number) > MOST:
        raise ConfigError(f"{setting}: HOST:PORT or HOST:+N is needed, not {address!r}")
    if is_offset and not server_port:
        raise ConfigError(f"{setting}: {digits} counts from the server's port, which must not be 0 then")
    port = int(number) + (server_port if is_offset else 0)
    if port > MOST:
        raise ConfigError(f"{setting}: {digits} above {server_port} is no port: at most {MOST}")
    return host.strip("[]"), port

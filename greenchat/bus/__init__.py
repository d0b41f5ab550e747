"""What connects the nodes of a cluster; the implementation is chosen by the URL's scheme."""

from __future__ import annotations

from collections.abc import Callable

from greenchat.bus.cluster.bus import RedisBus
from greenchat.bus.local.bus import LocalBus
from greenchat.errors import ConfigError
from greenchat.ports.bus import Bus

BUSES: dict[str, Callable[[str], Bus]] = {"local": LocalBus, "redis": RedisBus, "rediss": RedisBus}
"""The bus of each URL scheme."""


def open_bus(url: str) -> Bus:
    """Return the bus for a URL, not started yet.

    Raises:
        ConfigError: no bus has the URL's scheme; the operator's fault.
    """
    scheme = url.partition("://")[0]
    if scheme not in BUSES:
        raise ConfigError(f"bus: unknown scheme {scheme!r}; there is {', '.join(BUSES)}")
    return BUSES[scheme](url)

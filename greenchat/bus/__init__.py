"""The parts that connect the nodes of a cluster; the URL's scheme chooses their implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from greenchat.bus.cluster.bus import ClusterBus
from greenchat.bus.local.bus import LocalBus
from greenchat.bus.local.counters import LocalCounters
from greenchat.bus.local.friends import LocalFriends
from greenchat.bus.redis.connection import Commands, RedisServer
from greenchat.bus.redis.counters import RedisCounters
from greenchat.bus.redis.friends import RedisFriends
from greenchat.bus.redis.registry import RedisRegistry
from greenchat.bus.redis.transport import RedisTransport
from greenchat.errors import ConfigError
from greenchat.ports.bus import Bus
from greenchat.ports.counters import Counters
from greenchat.ports.friends import FriendsCache


class Backend(NamedTuple):
    """The implementations of the ports between nodes; they work once the bus is started."""

    bus: Bus
    counters: Counters
    friends: FriendsCache


def _local(url: str) -> Backend:
    return Backend(LocalBus(), LocalCounters(), LocalFriends())


def _redis(url: str) -> Backend:
    # One command connection for all of them, so that a frame goes out after the writes that it tells of
    # (``ports.cluster``), and a single failure is seen by all.
    server = RedisServer(url)
    commands = Commands(server)
    bus = ClusterBus(RedisTransport(server, commands), RedisRegistry(server, commands))
    return Backend(bus, RedisCounters(commands), RedisFriends(commands))


BACKENDS: dict[str, Callable[[str], Backend]] = {"local": _local, "redis": _redis, "rediss": _redis}
"""The backend of each URL scheme."""


def open_backend(url: str) -> Backend:
    """Return the backend for a URL, not connected yet.

    ::

        bus, counters, friends = open_backend("redis://127.0.0.1/0")
        bus.open(cluster, "a")
        bus.start(node, listener, [])

    Raises:
        ConfigError: no backend has the URL's scheme, or the URL cannot be read; the operator's fault.
    """
    # Not repeated in the error beyond its scheme: a URL may hold a password.
    scheme = url.partition("://")[0]
    if scheme not in BACKENDS:
        raise ConfigError(f"bus: unknown scheme {scheme!r}; there is {', '.join(BACKENDS)}")
    return BACKENDS[scheme](url)

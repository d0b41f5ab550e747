"""Ways in which a backend of a fleet is away: each returns the call that brings it back."""

from __future__ import annotations

import signal
from collections.abc import Callable

from lab.fleet import Fleet


def kill_redis(fleet: Fleet) -> Callable[[], None]:
    fleet.redis.kill()
    return fleet.redis.start


def stop_redis(fleet: Fleet) -> Callable[[], None]:
    fleet.redis.signal(signal.SIGSTOP)
    return lambda: fleet.redis.signal(signal.SIGCONT)


def stop_mariadb(fleet: Fleet) -> Callable[[], None]:
    fleet.mariadb.signal(signal.SIGSTOP)
    return lambda: fleet.mariadb.signal(signal.SIGCONT)

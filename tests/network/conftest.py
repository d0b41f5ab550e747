from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from tests.network.support import DEADLINE, FakeSession, Served, echo


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """No test hangs."""
    with gevent.Timeout(DEADLINE):
        yield


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Start servers; they and their clients end with the test."""
    running: list[Served] = []

    def start(
        handler: Callable[[FakeSession, bytes], None] = echo,
        *,
        user: int | None = 5,
        host: str = "127.0.0.1",
        **options: Any,
    ) -> Served:
        options.setdefault("heartbeat_interval", 60.0)
        running.append(Served(handler, user, host, options))
        return running[-1]

    yield start
    for served in running:
        served.stop()

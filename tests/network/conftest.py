from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from greenchat.network.tls import Certificate
from tests.certificates import Authority, Pair
from tests.network.support import DEADLINE, FakeSession, Served, echo


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """No test hangs."""
    with gevent.Timeout(DEADLINE):
        yield


@pytest.fixture
def wire() -> str:
    """What servers and clients talk over: ``plain`` TCP, or ``tls``."""
    return "plain"


@pytest.fixture
def tls(wire: str, request: pytest.FixtureRequest) -> tuple[Certificate, ssl.SSLContext] | None:
    """Both ends of TLS, if there is to be any."""
    if wire != "tls":
        return None
    pair: Pair = request.getfixturevalue("certificate")
    authority: Authority = request.getfixturevalue("authority")
    return Certificate(str(pair.cert), str(pair.key)), ssl.create_default_context(cafile=authority.cert)


@pytest.fixture
def serve(tls: tuple[Certificate, ssl.SSLContext] | None) -> Iterator[Callable[..., Served]]:
    """Start servers; they and their clients end with the test."""
    certificate, context = tls or (None, None)
    running: list[Served] = []

    def start(
        handler: Callable[[FakeSession, bytes], None] = echo,
        *,
        user: int | None = 5,
        host: str = "127.0.0.1",
        **options: Any,
    ) -> Served:
        options = {"heartbeat_interval": 60.0, "certificate": certificate, **options}
        running.append(Served(handler, user, host, options, context))
        return running[-1]

    yield start
    for served in running:
        served.stop()

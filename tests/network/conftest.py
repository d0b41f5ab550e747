from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from greenchat.network.connections import Connections
from greenchat.network.limits import Limits
from greenchat.network.tls import Certificate
from tests.certificates import Authority, Pair
from tests.network import adopted
from tests.network.adopted import Adopt, Adopted, Handler
from tests.network.support import DEADLINE, FakeService, FakeSession, Served, echo


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


@pytest.fixture
def adopt() -> Iterator[Adopt]:
    """Have connections taken over; they end with the test."""
    running: list[tuple[Connections, Adopted]] = []

    def start(handler: Handler = adopted.echo, received: bytes = b"", **limits: int) -> Adopted:
        connections = Connections(Limits(**limits))  # type: ignore[arg-type]
        client = Adopted(connections, FakeService(handler, 5), received)
        running.append((connections, client))
        return client

    yield start
    for connections, client in running:
        client.sock.close()
        connections.close_all("stopped", lambda: 0.0)
        assert connections.wait_closed(DEADLINE)

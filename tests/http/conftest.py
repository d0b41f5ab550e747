from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from greenchat.network.tls import Certificate
from tests.certificates import Authority, Pair
from tests.http.support import DEADLINE, Served


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
def serve(wire: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Served]]:
    """Start web listeners; they and their clients end with the test."""
    both: dict[str, Any] = {}
    if wire == "tls":
        pair: Pair = request.getfixturevalue("certificate")
        authority: Authority = request.getfixturevalue("authority")
        both["certificate"] = Certificate(str(pair.cert), str(pair.key))
        both["tls"] = ssl.create_default_context(cafile=authority.cert)
    running: list[Served] = []

    def start(**options: Any) -> Served:
        running.append(Served(**both, **options))
        return running[-1]

    yield start
    for served in running:
        served.stop()

"""What the tests of the real programs share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from lab.background import background
from lab.fleet import Fleet
from lab.servers.mariadb import MariaDb
from lab.servers.redis import Redis
from tests.servers import private
from tests.system.server import Server

CALM = ("--heartbeat-interval", 60, "--login-timeout", 60)
"""For clients that send no heartbeats."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers, each in a folder of its own; they end with the test, and their logs are clean."""
    with ExitStack() as servers:

        def start(*options: object, calm: bool = True, **more: Any) -> Server:
            folder = tmp_path / f"server{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            server = Server(folder, *(CALM if calm else ()), *options, **more)
            servers.callback(server.close)
            return server

        yield start


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three nodes on a MariaDB and a Redis of their own, for the tests of a file."""
    with background() as aside, private(MariaDb) as mariadb, private(Redis) as redis:
        fleet = Fleet(tmp_path_factory.mktemp("fleet"), aside, mariadb, redis)
        with closing(fleet):
            fleet.start()
            yield fleet


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDb]:
    """A MariaDB for the tests of a file."""
    with private(MariaDb) as server:
        yield server

"""What the tests of the real programs share."""

from __future__ import annotations

from collections.abc import Iterator
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


class Starter:
    """Starts servers, each in a folder of its own.

    Args:
        folder: for their folders.

    Attributes:
        servers: those that it has started.
    """

    def __init__(self, folder: Path) -> None:
        self.servers: list[Server] = []
        self._folder = folder

    def __call__(self, *options: object, calm: bool = True, **more: Any) -> Server:
        """Start a server; the options and the arguments are those of ``Server``."""
        folder = self._folder / f"server{len(list(self._folder.iterdir()))}"
        folder.mkdir()
        self.servers.append(Server(folder, *(CALM if calm else ()), *options, **more))
        return self.servers[-1]

    def close(self) -> None:
        """End the servers; their logs are clean."""
        with ExitStack() as ends:
            for server in self.servers:
                ends.callback(server.close)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Start servers; they end with the test."""
    with closing(Starter(tmp_path)) as start:
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

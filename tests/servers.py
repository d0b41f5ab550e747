"""The private servers of the tests; without the programs, skip (in CI: fail)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.servers import mariadb, redis
from lab.servers.program import LabError, find


def need(*programs: str) -> None:
    """Skip the test, or in CI fail it, if one of these programs is not installed."""
    try:
        for program in programs:
            find(program)
    except LabError as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@contextmanager
def private_mariadb(*options: str) -> Iterator[mariadb.MariaDb]:
    """Run a MariaDB server for the block."""
    need("mariadbd", "mariadb-install-db")
    with mariadb.private_mariadb(*options) as server:
        yield server


@contextmanager
def private_redis(*options: str) -> Iterator[redis.Redis]:
    """Run a Redis server for the block."""
    need("redis-server")
    with redis.private_redis(*options) as server:
        yield server

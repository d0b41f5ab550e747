"""The bus over a real Redis; the scenarios are in ``redis_scenarios`` and ``redis_trouble``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenchat.bus import open_backend
from greenchat.errors import BusAway, ConfigError, StartupError
from lab.servers.program import free_port
from lab.servers.redis import Redis
from tests.scenarios import Scenario
from tests.servers import private

SCENARIOS = [
    (module, name)
    for module in ("redis_scenarios", "redis_trouble")
    for name in re.findall(
        r"^def (\w+)\(url: str\)", Path(__file__).with_name(f"{module}.py").read_text(), re.MULTILINE
    )
]


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with private(Redis) as server:
        yield server


@pytest.mark.parametrize(("module", "name"), SCENARIOS, ids=[name for _, name in SCENARIOS])
def test_scenario(redis: Redis, module: str, name: str) -> None:
    redis.connect().flushall()
    Scenario(f"tests.bus.{module}", redis)(name, redis.url())


def test_one_that_is_away_can_be_waited_for() -> None:
    bus, _, _ = open_backend(f"redis://:s3cret@127.0.0.1:{free_port()}")
    with pytest.raises(BusAway, match="cannot reach the bus") as away:
        bus.open("cluster", "a")
    assert "s3cret" not in str(away.value)


def test_one_that_is_away_can_be_tried_for_as_long_as_it_takes() -> None:
    bus, _, _ = open_backend(f"redis://127.0.0.1:{free_port()}")
    for _ in range(300):
        with pytest.raises(BusAway, match="refused"):
            bus.open("cluster", "a")


def test_a_wrong_password_is_told_at_once(redis: Redis) -> None:
    bus, _, _ = open_backend(f"redis://:s3cret@127.0.0.1:{redis.port}")
    with pytest.raises(StartupError, match="refuses") as refused:
        bus.open("cluster", "a")
    assert not isinstance(refused.value, BusAway)
    assert "s3cret" not in str(refused.value)


def test_a_database_that_is_not_there_is_told_at_once(redis: Redis) -> None:
    with pytest.raises(StartupError, match="refuses"):
        open_backend(redis.url() + "/99").bus.open("cluster", "a")


@pytest.mark.parametrize(
    "url", ["redis://:s3cret@host:port", "redis://:s3cret@host:70000000", "redis://:s3cret@[::1"]
)
def test_a_url_that_will_not_do_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_backend(url)
    assert "s3cret" not in str(refused.value)

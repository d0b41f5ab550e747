"""A real server with a real Redis: its trouble as operators see it, and a clock that was put back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from time import monotonic, sleep

import pytest

from lab.servers.program import free_port
from lab.servers.redis import Redis
from tests.servers import private
from tests.system.server import DEADLINE, Client, Server, get, join

HOUR = 3_600_000
"""Milliseconds, as incarnations count."""

AWAY = r"ERROR greenchat\.bus\.cluster\.bus: Redis is away: .*; the database is looked into each second"
BACK = r"WARNING greenchat\.bus\.cluster\.bus: the bus works again"
WELL = (200, "200 OK\n")

Start = Callable[..., Server]


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with private(Redis) as server:
        yield server


def wait_for_health(admin: int, said: str) -> None:
    """Wait until the page says so."""
    until = monotonic() + DEADLINE
    while said not in (page := get(admin, "/health")[1]):
        assert monotonic() < until, page
        sleep(0.05)


def bus_metrics(admin: int) -> dict[str, float]:
    """Return the metrics of the bus by their names without the common prefix."""
    found = re.findall(r"^greenchat_bus_(\w+) (\S+)$", get(admin, "/metrics")[1], re.MULTILINE)
    return {name: float(number) for name, number in found}


def test_health_names_what_is_wrong_with_redis_and_the_log_tells_it_once(start: Start, redis: Redis) -> None:
    admin = free_port()
    server = start("--bus", redis.url(), "--admin", f"127.0.0.1:{admin}", expected=(AWAY, BACK))
    assert get(admin, "/health") == WELL
    assert 0 <= bus_metrics(admin)["lag_seconds"] < DEADLINE
    assert bus_metrics(admin)["away"] == 0
    with closing(redis.connect()) as client, join(server, "Ann") as ann:
        client.config_set("maxmemory", 1)
        wait_for_health(admin, "503 Service Unavailable: Redis is away: command not allowed")
        assert bus_metrics(admin)["away"] == 1
        assert ann.done(6, toid=ann.id, msg="still stored")["seq"] == 1
        client.config_set("maxmemory", 0)
        wait_for_health(admin, WELL[1])
        server.wait_for_log("works again")
        redis.kill()
        wait_for_health(admin, "503 Service Unavailable: Redis is away: ")
        server.wait_for_log("Redis is away", 2)
        redis.start()
        wait_for_health(admin, WELL[1])
        server.wait_for_log("works again", 2)
    told = [line for line in server.log.read_text().splitlines() if "greenchat.bus" in line]
    assert ["ERROR" in line for line in told] == [True, False, True, False]
    assert "r3dis" not in server.log.read_text()


def test_a_clock_that_was_put_back_does_not_bring_an_old_incarnation(start: Start, redis: Redis) -> None:
    server = start("--bus", redis.url(), "--node", "n1")
    with join(server, "Ann"):
        server.kill()
    ((cluster,),) = server.rows("SELECT value FROM Setting WHERE name = 'cluster_id'")
    ((before,),) = server.rows("SELECT incarnation FROM Device")
    ahead = before + HOUR  # as if the clock had been an hour ahead until now
    with closing(redis.connect()) as client:
        assert client.hset(f"greenchat:{cluster}:nodes", "n1", ahead) == 0
    server.start()
    assert server.rows("SELECT state FROM User") == [("offline",)]
    with Client(server) as ann:
        ann.login(name="Ann", password="pw")
        assert server.rows("SELECT incarnation FROM Device") == [(ahead + 1,)]

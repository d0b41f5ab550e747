"""Scenarios: people come, and people are there."""

from __future__ import annotations

from lab import machine
from lab.bench.bench import Bench
from lab.bench.crowd import Crowd, come
from lab.bench.figures import Row, of_core, of_cost

LOGINS = 4000
"""By token: the first tenth is not measured."""

PASSWORDS_AT_A_TIME = 8
"""Of password logins under way: they are hashed one after the other."""


def by_token(bench: Bench, name: str, users: int = LOGINS) -> list[Row]:
    """People log in by token, 50 at a time, and stay; they are spread over so many users."""
    users = bench.size(users, min(users, 2000))
    count = min(users, bench.size(LOGINS, 200))
    bench.need_connections(count)
    with bench.site() as site:
        bench.tell(f"writing {users:,} users")
        people = site.fill.people(users, every=users // count)[:count]
        with bench.loop(site) as loop:
            come(loop, site, people[: count // 10])  # caches and interpreter are warm then
            bench.tell("logging in")
            start = site.reading()
            come(loop, site, people[count // 10 :])
            span = bench.since(site, start)
    return [of_cost(name, "login", count - count // 10, span)]


def by_password(bench: Bench, name: str) -> list[Row]:
    """People log in by password, 8 at a time, and stay."""
    count = bench.size(200, 20)
    with bench.site() as site:
        people = site.fill.people(count)
        with bench.loop(site) as loop:
            start = site.reading()
            bench.tell("logging in")
            Crowd(loop, site, people, password=True).come(PASSWORDS_AT_A_TIME)
            span = bench.since(site, start)
    return [of_cost(name, "login", count, span)]


def idle(bench: Bench, name: str, connections: int, heartbeat: float = 30.0) -> list[Row]:
    """People are there and do nothing but send heartbeats."""
    connections = bench.size(connections, connections // 10)
    first = min(100, connections // 5)
    bench.need_connections(connections)
    with bench.site() as site:
        people = site.fill.people(connections)
        with bench.loop(site, heartbeat=heartbeat) as loop:
            come(loop, site, people[:first])  # caches and pools are there then
            empty = machine.rss_mib(*site.pids)
            bench.tell("logging in")
            come(loop, site, people[first:])
            loop.fall_silent()
            loop.run(bench.warm_up)
            grown = machine.rss_mib(*site.pids) - empty
            memory = Row(f"{name}-memory", 1024 * grown / (connections - first), "KiB/connection", True)
            memory.more["empty_mib"] = empty
            bench.tell("measuring")
            start = site.reading()
            loop.run(bench.seconds if bench.quick else max(bench.seconds, heartbeat))
            span = bench.since(site, start)
    return [memory, of_core(f"{name}-cpu", span)]

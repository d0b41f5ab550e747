"""The faults of a soak: each breaks one thing and returns a sentence about it; ``Fleet.heal`` mends it."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from time import sleep
from typing import Protocol

from lab.faults.proxy import FaultProxy
from lab.fleet import Fleet
from lab.people.load import Load
from lab.servers.node import Node

OLD = (0.5, 4.0)
"""Seconds that a snapshot of Redis is old; a node's lease lasts 5."""


class Stage(Protocol):
    """A fleet under a load, and the dice."""

    fleet: Fleet
    load: Load
    chance: random.Random


Fault = Callable[[Stage], str]
"""Breaks one thing and returns a sentence about it."""


def node_is_killed(stage: Stage) -> str:
    node = _node(stage)
    node.kill()
    return f"{node} is killed"


def node_is_interrupted(stage: Stage) -> str:
    node = _node(stage)
    node.interrupt()
    return f"{node} is told to end"


def node_is_stopped(stage: Stage) -> str:
    node = _node(stage)
    node.freeze()
    return f"{node} is stopped"


def all_nodes_are_restarted(stage: Stage) -> str:
    for node in stage.fleet.nodes:
        node.interrupt()
        node.start()
    return "all nodes were restarted, one after another"


def redis_is_killed(stage: Stage) -> str:
    stage.fleet.redis.kill()
    return "Redis is killed"


def redis_is_stopped(stage: Stage) -> str:
    stage.fleet.redis.signal(signal.SIGSTOP)
    return "Redis is stopped"


def redis_is_flushed(stage: Stage) -> str:
    with closing(stage.fleet.redis.connect()) as client:
        client.flushall()
    return "Redis has forgotten everything"


def redis_goes_back(stage: Stage) -> str:
    """Restore the data of some seconds ago, as after a crash from a snapshot."""
    seconds = stage.chance.uniform(*OLD)
    with closing(stage.fleet.redis.connect(decode_responses=False)) as client:
        keys = list(client.scan_iter())
        snapshot = [(key, client.pttl(key), client.dump(key)) for key in keys]
        sleep(seconds)
        client.flushall()
        for key, milliseconds, value in snapshot:
            if value is not None:
                client.restore(key, max(0, milliseconds), value)
        for kind in ("pubsub", "normal"):
            client.client_kill_filter(_type=kind, skipme=True)
    return f"Redis comes back as it was {seconds:.1f} s ago"


def subscribers_are_killed(stage: Stage) -> str:
    killed = 0
    with closing(stage.fleet.redis.connect()) as client:
        for _ in range(stage.chance.randint(5, 50)):
            killed += client.client_kill_filter(_type="pubsub")
            sleep(0.1)
    return f"subscribers were killed {killed} times"


def mariadb_is_killed(stage: Stage) -> str:
    stage.fleet.mariadb.kill()
    return "MariaDB is killed"


def mariadb_is_stopped(stage: Stage) -> str:
    stage.fleet.mariadb.signal(signal.SIGSTOP)
    return "MariaDB is stopped"


def line_to_redis_is_bad(stage: Stage) -> str:
    return _bad_line(stage, "Redis", stage.fleet.to_redis)


def line_to_mariadb_is_bad(stage: Stage) -> str:
    return _bad_line(stage, "MariaDB", stage.fleet.to_mariadb)


def commits_are_in_doubt(stage: Stage) -> str:
    lines = stage.fleet.to_mariadb
    some = stage.chance.sample(range(len(lines)), stage.chance.randint(1, len(lines)))
    for number in some:
        lines[number].doubt()
    return (
        f"the answers to COMMIT are lost at {', '.join(str(stage.fleet.nodes[one]) for one in sorted(some))}"
    )


def clients_vanish(stage: Stage) -> str:
    devices = stage.load.devices
    gone = stage.chance.sample(devices, stage.chance.randint(1, len(devices)))
    stage.load.vanish(gone)
    return f"{len(gone)} clients lose their connection"


NODE_FAULTS: list[Fault] = [
    node_is_killed,
    node_is_interrupted,
    node_is_stopped,
    all_nodes_are_restarted,
]
BACKEND_FAULTS: list[Fault] = [
    redis_is_killed,
    redis_is_stopped,
    redis_is_flushed,
    redis_goes_back,
    subscribers_are_killed,
    mariadb_is_killed,
    mariadb_is_stopped,
    line_to_redis_is_bad,
    line_to_redis_is_bad,
    line_to_mariadb_is_bad,
    line_to_mariadb_is_bad,
    commits_are_in_doubt,
    commits_are_in_doubt,
    commits_are_in_doubt,
]
CLIENT_FAULTS: list[Fault] = [clients_vanish]

LINE_FAULTS: list[tuple[str, Callable[[FaultProxy], None]]] = [
    ("slow", lambda line: line.delay(0.2)),
    ("narrow", lambda line: line.throttle(20_000)),
    ("cut", FaultProxy.cut),
    ("silent", FaultProxy.stall),
    ("half open", FaultProxy.swallow),
]
"""The faults of any line; one to the database may be in doubt besides."""


def _node(stage: Stage) -> Node:
    return stage.chance.choice([node for node in stage.fleet.nodes if node.running])


def _bad_line(stage: Stage, to: str, lines: Sequence[FaultProxy]) -> str:
    number = stage.chance.randrange(len(lines))
    how, fault = stage.chance.choice(LINE_FAULTS)
    fault(lines[number])
    return f"the line from {stage.fleet.nodes[number]} to {to} is {how}"

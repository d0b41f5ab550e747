"""Whatever people and nodes do, and whatever is late or lost: each device sees the log, once and in order."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.service.clustered import DEVICES, USERS, Clustered
from tests.service.turns import Priorities
from tests.service.watch import HABITS, NODES

EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "60"))
STEPS = int(os.environ.get("MACHINE_STEPS", "40"))
SEEDS = int(os.environ.get("MACHINE_SEEDS", "40"))


Clustered.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestClustered = Clustered.TestCase


# -- By priorities


def play(seed: int) -> None:
    """Let a cluster live for some steps, drawn and scheduled by a seed."""
    random = Random(seed)
    machine = Clustered()
    machine.habits = [random.choice(HABITS) for _ in range(len(USERS) * len(DEVICES))]
    priorities = Priorities(random)
    try:
        machine.register()
        for _ in range(STEPS):
            acts = random.choices(list(ACTS), weights=list(ACTS.values()))
            draw(machine, random, acts[0])
            machine.go_on_by_priority(priorities, random.choice((0, 1, 3, 10, 30)))
    except BaseException:
        machine.sound = False
        raise
    finally:
        machine.teardown()


def draw(machine: Clustered, random: Random, act: str) -> None:
    """Do something with arguments by chance."""
    number, other = random.randrange(60), random.randrange(60)
    flag, node = random.random() < 0.5, random.randrange(len(NODES))
    user, name = random.randrange(len(USERS)), random.choice(DEVICES)
    arguments: dict[str, tuple[Any, ...]] = {
        "chat": (number, user),
        "group_chat": (number, other),
        "again": (number, other),
        "log_in": (node, user, name, flag),
        "go": (number, False),
        "sync": (number,),
        "receive": (number, other, random.randrange(3)),
        "create_group": (number,),
        "join": (number, other),
        "leave": (number, other),
        "history": (number, other, flag),
        "recall": (number, other),
        "block": (number, user, random.random() < 0.7),
        "lose": (number,),
        "cut": (node,),
        "mend": (node,),
        "deafen": (node, random.choice((0.0, 0.1))),
        "forget_leases": (),
        "kill": (node, flag),
        "bury": (),
        "stop": (node,),
        "start": (node,),
        "time": (random.choice((0.05, 0.2, 0.5, 1.0)),),
    }
    getattr(machine, act)(*arguments[act])


ACTS = {
    "chat": 6,
    "group_chat": 24,
    "again": 4,
    "log_in": 24,
    "go": 6,
    "sync": 4,
    "receive": 4,
    "create_group": 1,
    "join": 5,
    "leave": 4,
    "history": 3,
    "recall": 3,
    "block": 3,
    "lose": 1,
    "cut": 1,
    "mend": 2,
    "deafen": 2,
    "forget_leases": 1,
    "kill": 1,
    "bury": 1,
    "stop": 3,
    "start": 4,
    "time": 8,
}
"""How often each thing is done."""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_starves_each_device_sees_the_log_once_and_in_order(seed: int) -> None:
    play(seed)

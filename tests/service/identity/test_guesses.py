"""Passwords tried in parallel, at one node or at many: right ones get in, and wrong ones are counted."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from greenchat.errors import Busy
from greenchat.protocol.messages import MsgId
from greenchat.service.identity.guesses import MAX_WAITING
from tests.service.cluster import Cluster, Line, people
from tests.service.test_cluster_logins import interleave
from tests.service.world import World

MakeCluster = Callable[..., Cluster]


def tried(cluster: Cluster, bob: int, passwords: list[str], nodes: str, dice: random.Random) -> list[Line]:
    """Let some passwords be tried at the same time, each by a device of its own."""
    lines = []
    for number, password in enumerate(passwords):
        line = cluster[dice.choice(nodes)].connect()
        line.put(MsgId.LOGIN, id=bob, password=password, device=f"d{number}", cid="login")
        lines.append(line)
    answer_all(cluster, lines, dice)
    return lines


def answer_all(cluster: Cluster, lines: list[Line], dice: random.Random) -> None:
    """Let time pass until all have an answer."""
    for _ in range(200):
        interleave(cluster, dice)
        if all(line.peer.frames for line in lines):
            return
        cluster.turns.pass_time(0.05)
    raise AssertionError("some are never answered")


def errnos(lines: list[Line]) -> list[int]:
    return sorted(line.reply("login")["errno"] for line in lines)


@pytest.mark.parametrize("nodes", ["a", "abc"])
@pytest.mark.parametrize("failures", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_eight_devices_with_the_right_password_all_get_in(
    make_cluster: MakeCluster, seed: int, failures: int, nodes: str
) -> None:
    cluster = make_cluster("a", "b", "c", login_failures=failures)
    _, bob, _ = people(cluster)
    bob.leave()
    for _ in range(failures):
        cluster["a"].connect().refused(1, MsgId.LOGIN, id=bob.id, password="wrong")
    assert errnos(tried(cluster, bob.id, ["pw"] * 8, nodes, random.Random(seed))) == [0] * 8


@pytest.mark.parametrize("nodes", ["a", "abc"])
@pytest.mark.parametrize("seed", range(8))
def test_guesses_in_parallel_are_no_more_than_one_after_the_other(
    make_cluster: MakeCluster, seed: int, nodes: str
) -> None:
    """Of 24 guesses four are answered and lock; what waits is refused then."""
    cluster = make_cluster("a", "b", "c", login_failures=3)
    _, bob, _ = people(cluster)
    found = errnos(tried(cluster, bob.id, ["wrong"] * 24, nodes, random.Random(seed)))
    assert found.count(1) == 4
    assert set(found) <= {1, 11, 13}


@pytest.mark.parametrize("seed", range(8))
def test_right_ones_among_guesses_do_not_let_more_guesses_through_than_forgiven(
    make_cluster: MakeCluster, seed: int
) -> None:
    """Each right one gives four guesses more, as it does one after the other."""
    cluster = make_cluster("a", "b", "c", login_failures=3)
    _, bob, _ = people(cluster)
    dice = random.Random(seed)
    passwords = dice.sample(["wrong"] * 20 + ["pw"] * 2, 22)
    found = errnos(tried(cluster, bob.id, passwords, "abc", dice))
    assert found.count(1) <= 4 * (1 + found.count(0))


def test_an_address_that_guesses_in_parallel_is_held_to_its_number(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("a", "b", "c", login_failures=3, address_failures=5)
    lines = []
    for number in range(20):
        lines.append(cluster["ab"[number % 2]].connect(address="203.0.113.5:1000"))
        lines[-1].put(MsgId.LOGIN, name=f"n{number}", password="wrong", cid="login")
    answer_all(cluster, lines, random.Random(1))
    assert errnos(lines) == [1] * 6 + [11] * 14


def test_an_attempt_that_cannot_be_verified_counts_as_nothing(world: World) -> None:
    ann = world.user("ann")

    def busy() -> None:
        raise Busy

    for _ in range(20):
        world.passwords.hooks.append(busy)
        world.connect().refused(13, MsgId.LOGIN, id=ann.id, password="wrong")
    world.log_in(ann, device="phone")


def test_a_node_that_dies_with_an_attempt_under_way_keeps_nobody_out(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("a", "b", "c", login_failures=1)
    _, bob, _ = people(cluster)
    for _ in range(2):
        cluster["c"].begin(bob, device="x")
    cluster.take_turns(40)
    cluster["c"].kill()
    assert cluster["a"].log_in(bob, device="phone")


def test_only_so_many_attempts_of_an_account_wait(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("a", login_failures=1)
    ann = cluster["a"].user("ann")
    lines = [cluster["a"].begin(ann, device=f"d{number}") for number in range(2 + MAX_WAITING + 3)]
    while any(not line.peer.frames for line in lines[-3:]):
        cluster.turns.turn()
    refused = [line.peer.frames[0]["errno"] for line in lines[-3:]]
    assert set(refused) <= {0, 13, 14}
    assert 13 in refused

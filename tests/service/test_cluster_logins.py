"""Logins in a cluster: whatever node a device comes to, it is online at one, and at one only."""

from __future__ import annotations

import random
from typing import Any

import pytest

from greenchat.protocol.messages import MsgId
from greenchat.service.device.sign_off import give_up
from greenchat.service.device.takeover import reopen_elsewhere
from tests.service.cluster import Cluster, Line, befriend, people
from tests.service.turns import Priorities, Task
from tests.service.world import Person, presence


def interleave(cluster: Cluster, dice: random.Random, turns: int = 1_000_000) -> None:
    """Give some turns, or all that there are, in an order that the dice decide: evenly or by priorities."""
    choose = dice.choice if dice.random() < 0.5 else Priorities(dice).choose
    while turns and (candidates := [*cluster.turns.able(), *cluster.arrivals()]):
        turns -= 1
        chosen: Any = choose(candidates)
        if isinstance(chosen, Task):
            cluster.turns.give(chosen)
        else:
            cluster.arrive(*chosen)


def log_in_at_once(cluster: Cluster, bob: Person, dice: random.Random, *forces: bool) -> list[Line]:
    """Let one device log in many times, with force or without, at nodes and moments that the dice decide."""
    lines = []
    for force in forces:
        lines.append(cluster[dice.choice("abc")].begin(bob, force=force))
        interleave(cluster, dice, dice.randrange(24))
    interleave(cluster, dice)
    return lines


def check_that_one_lives(cluster: Cluster, bob: Person, lines: list[Line]) -> None:
    """Exactly one connection is logged in, now and later, and the database shows the device at its node."""
    for _ in range(4):
        living = [line for line in lines if line.session.user == bob.id and line.peer.closed is None]
        assert len(living) == 1, [(line.node.me.name, line.peer.closed) for line in lines]
        cluster.pass_time(1)
    assert cluster.database.online().get((bob.id, "")) == living[0].node.me.name


def test_a_device_that_is_online_at_another_node_is_refused_or_replaced(cluster: Cluster) -> None:
    _, bob, _ = people(cluster)
    line = cluster["c"].connect()
    line.refused(2, MsgId.LOGIN, id=bob.id, password="pw")
    assert bob.peer.closed is None
    line.login(id=bob.id, force=True)
    assert [one.peer.closed for one in (bob, line)] == ["replaced", None]
    cluster.pass_time(3)
    assert line.peer.closed is None
    cluster["a"].connect().refused(2, MsgId.LOGIN, id=bob.id, password="pw")


@pytest.mark.parametrize("turns", range(0, 24, 2))
def test_of_two_logins_of_a_device_at_a_time_one_at_most_succeeds(cluster: Cluster, turns: int) -> None:
    _, bob, _ = people(cluster)
    bob.leave()
    lines = [cluster["a"].begin(bob)]
    cluster.take_turns(turns)
    lines.append(cluster["b"].begin(bob))
    cluster.run()
    cluster.pass_time(3)
    assert sorted(line.reply("login")["errno"] for line in lines) == [0, 2]
    check_that_one_lives(cluster, bob, lines)


@pytest.mark.parametrize("seed", range(40))
def test_of_two_logins_of_a_device_at_a_time_exactly_one_succeeds(cluster: Cluster, seed: int) -> None:
    _, bob, _ = people(cluster)
    bob.leave()
    lines = log_in_at_once(cluster, bob, random.Random(seed), False, False)
    assert sorted(line.reply("login")["errno"] for line in lines) == [0, 2]
    check_that_one_lives(cluster, bob, lines)


@pytest.mark.parametrize("logins", [2, 3, 9])
@pytest.mark.parametrize("seed", range(40))
def test_of_forced_logins_of_a_device_at_a_time_exactly_one_lives(
    cluster: Cluster, seed: int, logins: int
) -> None:
    _, bob, _ = people(cluster)
    lines = log_in_at_once(cluster, bob, random.Random(seed), *[True] * logins)
    assert bob.peer.closed == "replaced"
    check_that_one_lives(cluster, bob, lines)


@pytest.mark.parametrize("seed", range(40))
def test_of_logins_of_a_device_with_and_without_force_exactly_one_lives(cluster: Cluster, seed: int) -> None:
    _, bob, _ = people(cluster)
    dice = random.Random(seed)
    lines = log_in_at_once(cluster, bob, dice, True, *[dice.random() < 0.5 for _ in range(3)])
    check_that_one_lives(cluster, bob, lines)


@pytest.mark.parametrize("seed", range(40))
def test_of_forced_logins_while_the_nodes_cannot_reach_each_other_exactly_one_lives(
    cluster: Cluster, seed: int
) -> None:
    _, bob, _ = people(cluster)
    dice = random.Random(seed)
    for bus in cluster.buses():
        bus.cut()
    lines = log_in_at_once(cluster, bob, dice, *[True] * 3)
    cluster.pass_time(2)  # each second the sessions are held against the database
    check_that_one_lives(cluster, bob, lines)
    for bus in cluster.buses():
        bus.mend()
    cluster.run()
    check_that_one_lives(cluster, bob, lines)


def void_login(cluster: Cluster, bob: Line, node: str) -> str:
    """Give Bob's device in the database to a login that is void; return the instant of it."""
    service = cluster[node].service
    return service.store.open_device(bob.id, "", service.node, service.now()).since


def test_a_session_outlives_a_void_login_that_has_its_device_when_it_is_compared(cluster: Cluster) -> None:
    """The word that the login is void comes a moment after the comparison."""
    _, bob, _ = people(cluster)
    since = void_login(cluster, bob, "c")
    cluster["b"].service.recovery.check_user(bob.id)
    reopen_elsewhere(cluster["c"].service, bob.id, "", since)
    cluster.run()
    cluster.pass_time(3)
    assert bob.peer.closed is None
    assert cluster.database.online()[bob.id, ""] == "b"


def test_a_session_outlives_two_void_logins_of_which_it_hears_one_after_the_other(cluster: Cluster) -> None:
    """The second one has the device already when the session wants it back from the first."""
    _, bob, _ = people(cluster)
    first, second = void_login(cluster, bob, "c"), void_login(cluster, bob, "a")
    reopen_elsewhere(cluster["c"].service, bob.id, "", first)
    cluster.run()
    reopen_elsewhere(cluster["a"].service, bob.id, "", second)
    cluster.run()
    cluster.pass_time(3)
    assert bob.peer.closed is None
    assert cluster.database.online()[bob.id, ""] == "b"


def test_a_session_ends_for_a_later_login_elsewhere_of_which_no_word_came(cluster: Cluster) -> None:
    _, bob, _ = people(cluster)
    void_login(cluster, bob, "c")  # void it is not, for all that is known
    cluster["b"].service.recovery.check_user(bob.id)
    cluster.run()
    cluster.pass_time(1)
    assert bob.peer.closed == "replaced"


def test_the_end_of_a_session_is_not_taken_for_that_of_the_next_one_of_its_device(cluster: Cluster) -> None:
    _, bob, _ = people(cluster)
    node = cluster["b"]
    give_up(node.service, bob.session)
    node.begin(bob)
    cluster.run_youngest_first()
    cluster.pass_time(2)
    assert cluster.database.online()[bob.id, ""] == "b"


def test_eight_devices_are_online_at_most_wherever_they_are(cluster: Cluster) -> None:
    _, bob, _ = people(cluster)
    lines = [cluster["abc"[n % 3]].log_in(bob, device=f"d{n}") for n in range(7)]
    ninth = cluster["a"].connect()
    ninth.refused(14, MsgId.LOGIN, id=bob.id, password="pw", device="d8")
    ninth.refused(14, MsgId.LOGIN, id=bob.id, password="pw", device="d8", force=True)
    lines[0].leave()
    assert ninth.login(id=bob.id, device="d8")
    assert cluster["b"].log_in(bob, device="d8", force=True)  # in its own place


def test_a_device_that_comes_back_from_a_node_that_has_died_counts_once(cluster: Cluster) -> None:
    """The lease of the dead node still lives: its devices are counted, each under its own name."""
    _, bob, _ = people(cluster)
    for number in range(7):
        cluster["b"].log_in(bob, device=f"d{number}")
    cluster["b"].kill()
    for number in range(7):
        assert cluster["ac"[number % 2]].log_in(bob, device=f"d{number}", force=True)
    cluster["a"].connect().refused(14, MsgId.LOGIN, id=bob.id, password="pw", device="d8", force=True)
    cluster.bury_dead()
    cluster["a"].log_in(bob, device="d8")  # the eighth: the unnamed one has not come back


def test_a_change_of_the_password_ends_the_sessions_at_other_nodes(cluster: Cluster) -> None:
    _, bob, _ = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    token = phone.token
    bob.ok(MsgId.CHANGE_PASSWORD, old="pw", new="new")
    assert (bob.peer.closed, phone.peer.closed) == (None, "replaced")
    cluster["a"].connect().refused(1, MsgId.LOGIN, token=token, device="phone")
    cluster.pass_time(2)
    assert cluster["a"].log_in(bob, device="phone", password="new")
    assert bob.peer.closed is None


@pytest.mark.parametrize("turns", range(6))
def test_a_password_login_beside_a_logout_of_the_same_device_is_no_wrong_password(
    cluster: Cluster, turns: int
) -> None:
    """The logout ends the device's tokens, which were not used."""
    _, bob, _ = people(cluster)
    line = cluster["c"].begin(bob, force=True)
    cluster.take_turns(turns)
    bob.put(MsgId.LOGINOUT)
    cluster.run_youngest_first()
    assert line.reply("login")["errno"] == 0


@pytest.mark.parametrize("turns", range(14))
def test_a_login_that_a_change_of_the_password_overtakes_leaves_the_device_online_where_it_is(
    cluster: Cluster, turns: int
) -> None:
    """Redis has lost who is where; so the login finds nobody, and takes the device in the database."""
    ann, bob, _ = people(cluster)
    befriend(ann, bob)
    cluster.seats[cluster["b"].me].clear()
    line = cluster["c"].begin(bob)
    cluster.take_turns(turns)
    bob.put(MsgId.CHANGE_PASSWORD, old="pw", new="new")
    cluster.run_youngest_first()
    cluster.pass_time(3)
    lines = [one for one in (bob, line) if one.peer.closed is None and one.session.user]
    online = cluster.database.online()
    here = [one.node.me.name for one in lines]
    assert [online[bob.id, ""]] == here if here else (bob.id, "") not in online
    states = [state for _, state in presence(ann)]
    assert states[-1:] in ([["online"], []] if lines else [["offline"]])


def test_users_of_a_dead_node_are_offline_and_may_come_back_without_force(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    cluster["b"].kill()
    cluster["a"].connect().refused(2, MsgId.LOGIN, id=bob.id, password="pw")
    cluster.bury_dead()
    assert ann.ok(MsgId.FIND, name="bob")["user"]["state"] == "offline"
    bob = cluster["c"].log_in(bob)
    assert ann.ok(MsgId.FIND, name="bob")["user"]["state"] == "online"
    ann.chat(bob)
    assert bob.live() == [1]
    node = cluster.start("b")
    node.log_in(bob, force=True)
    assert bob.peer.closed == "replaced"

"""PRESENCE in a cluster: whatever node somebody comes to or leaves, their friends are told once."""

from __future__ import annotations

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, befriend, people
from tests.service.world import presence


def test_a_friend_comes_with_the_first_device_and_goes_with_the_last(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    befriend(ann, bob)
    phone = cluster["c"].log_in(bob, device="phone")
    bob.leave()
    cluster["a"].log_in(bob, device="tablet").leave()
    assert presence(ann) == []
    phone.leave()
    assert presence(ann) == [(bob.id, "offline")]
    cluster["a"].log_in(bob)
    assert presence(ann) == [(bob.id, "online")]
    cluster["b"].log_in(bob, force=True)
    assert presence(ann) == []


@pytest.mark.parametrize("turns", range(0, 30, 2))
def test_of_two_devices_that_come_at_a_time_one_is_told_of(cluster: Cluster, turns: int) -> None:
    ann, bob, _ = people(cluster)
    befriend(ann, bob)
    bob.leave()
    assert presence(ann) == [(bob.id, "offline")]
    cluster["b"].begin(bob)
    cluster.take_turns(turns)
    cluster["c"].begin(bob, device="phone")
    cluster.run_youngest_first()  # the second overtakes the first
    assert presence(ann) == [(bob.id, "online")]


@pytest.mark.parametrize("turns", range(0, 12, 2))
def test_of_two_devices_that_go_at_a_time_the_last_is_told_of(cluster: Cluster, turns: int) -> None:
    ann, bob, _ = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    befriend(ann, bob)
    bob.peer.close("closed by peer")
    cluster.take_turns(turns)
    phone.peer.close("closed by peer")
    cluster.run()
    assert presence(ann) == [(bob.id, "offline")]


@pytest.mark.parametrize("leaves", [True, False], ids=["left", "died"])
@pytest.mark.parametrize("comes_back", [True, False])
def test_friends_are_told_of_who_was_at_a_node_that_has_gone(
    cluster: Cluster, leaves: bool, comes_back: bool
) -> None:
    ann, bob, _ = people(cluster)
    befriend(ann, bob)
    cluster["b"].stop() if leaves else cluster["b"].kill()
    cluster.pass_time(1)
    assert presence(ann) == []
    if not leaves:
        cluster.bury_dead()
    if comes_back:
        cluster["c"].log_in(bob)
    cluster.pass_time(5)
    states = [state for _, state in presence(ann)]
    if leaves and comes_back:
        assert states == []  # soon enough
    else:
        assert states == (["offline", "online"] if comes_back else ["offline"])


def test_who_is_blocked_while_the_nodes_cannot_reach_each_other_sees_the_blocker_go(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    befriend(ann, bob)
    cluster["a"].bus.cut()
    bob.ok(MsgId.BLOCK, userid=ann.id)
    cluster.pass_time(2)
    assert cluster["a"].bus.away
    assert presence(ann) == [(bob.id, "offline")]

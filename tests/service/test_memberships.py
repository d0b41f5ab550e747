"""Somebody with three devices, each at another node, joins and leaves a group at random.

Each device gets what is said after the joining, once and in order, however late word of it comes.
"""

from __future__ import annotations

from random import Random

import pytest

from greenchat.bus.local import LocalBus
from greenchat.protocol.messages import MsgId
from greenchat.service.hub import Hub
from greenchat.service.memberships import Memberships
from tests.service.cluster import Cluster, entries, people

FOUND = (74, 373, 671, 2113, 3166, 3406, 3443, 21142)
"""Seeds that were not right once."""


def some_turns(cluster: Cluster, random: Random) -> None:
    for _ in range(random.randint(0, 12)):
        arrivals = cluster.arrivals()
        if arrivals and random.random() < 0.5:
            cluster.arrive(*random.choice(arrivals))
        else:
            cluster.turns.turn(random.randint(0, 5))


def hold(cluster: Cluster, held: bool, *wires: object) -> None:
    for wire in cluster.wires():
        if not wires or wire in wires:
            wire.held = held


@pytest.mark.parametrize("seed", [*range(40), *FOUND])
def test_who_joins_and_leaves_gets_all_of_the_last_membership_once(cluster: Cluster, seed: int) -> None:
    random = Random(seed)
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob, cem)
    devices = [bob, cluster["c"].log_in(bob, device="phone"), cluster["a"].log_in(bob, device="tablet")]
    dan = cluster["a"].user("dan")
    got: list[list[int]] = [[] for _ in devices]

    def look() -> None:
        for device, seqs in zip(devices, got, strict=True):
            seqs.extend(entries(device))
            assert seqs == sorted(set(seqs))

    for _ in range(random.randint(5, 30)):
        what = random.random()
        if what < 0.25:
            random.choice(devices).put(MsgId.LEAVE_GROUP, groupid=groupid)
        elif what < 0.5:
            random.choice(devices).put(MsgId.ADD_GROUP, groupid=groupid)
        elif what < 0.7:
            random.choice([ann, cem]).put(MsgId.GROUP_CHAT, groupid=groupid, msg="x")
        elif what < 0.78:
            random.choice([ann, cem, *devices]).put(MsgId.HISTORY, groupid=groupid)
        elif what < 0.83:
            dan.put(random.choice([MsgId.ADD_GROUP, MsgId.LEAVE_GROUP]), groupid=groupid)
        elif what < 0.87:
            hold(cluster, True, random.choice(cluster.wires()))
        elif what < 0.93:
            hold(cluster, False)
        elif what < 0.95 and seed % 2 and (arrivals := cluster.arrivals()):
            cluster.wire(*random.choice(arrivals)).items.clear()
        some_turns(cluster, random)
        look()
    hold(cluster, False)
    cluster.run()
    cluster.pass_time(6)
    bob.put(MsgId.ADD_GROUP, groupid=groupid)
    cluster.run()
    cluster.pass_time(3)
    cem.say(groupid)
    ann.say(groupid)
    cluster.pass_time(3)
    look()
    joined, head = cluster["b"].store.membership(groupid)[bob.id], cluster["b"].store.head(-groupid)
    for seqs in got:
        assert [seq for seq in seqs if seq > joined] == list(range(joined + 1, head + 1))


def test_what_is_forgotten_while_it_is_read_is_read_again() -> None:
    def load(groupid: int) -> dict[int, int]:
        reads.append(groupid)
        if len(reads) == 1:
            memberships.clear()
        return {len(reads): 0}

    reads: list[int] = []
    memberships = Memberships(Hub(), load, LocalBus(), lambda conversation: 0)
    assert memberships.settled(7) == {2: 0} == memberships.get(7)

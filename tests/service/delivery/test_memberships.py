"""Somebody with three devices, each at another node, joins and leaves a group at random.

Each device gets what is said after the joining, once and in order, however late word of it comes.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from greenchat.bus.local.bus import LocalBus
from greenchat.data.queries import groups
from greenchat.protocol.messages import MsgId
from greenchat.service.delivery.hub import Hub
from greenchat.service.delivery.memberships import Memberships
from tests.service.cluster import Cluster, entries, people
from tests.service.world import Person, World

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
    memberships = Memberships(Hub(), load, lambda userid, groupid: None, LocalBus(), lambda conversation: 0)
    assert memberships.current(7) == {2: 0} == memberships.get(7)


# -- The cost of questions about a group

QUESTIONS: list[tuple[MsgId, dict[str, Any], bool]] = [
    (MsgId.GROUP_CHAT, {"msg": "hi"}, True),
    (MsgId.RECALL, {"target": 1}, True),
    (MsgId.HISTORY, {}, True),
    (MsgId.GROUP_INFO, {}, True),
    (MsgId.LEAVE_GROUP, {}, True),
    (MsgId.RECEIVED, {"seq": 1}, False),
    (MsgId.READ, {"seq": 1}, False),
    (MsgId.TYPING, {}, False),
]
"""Each request about a group, its fields, and True if it has a reply."""


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The groups whose whole membership was read from the database."""
    read, found = groups.membership, []

    def membership(db: Any, groupid: int) -> Any:
        found.append(groupid)
        return read(db, groupid)

    monkeypatch.setattr(groups, "membership", membership)
    return found


def ask(person: Person, question: tuple[MsgId, dict[str, Any], bool], groupid: int) -> None:
    """Send a request that is refused because the user is no member."""
    msgid, fields, is_answered = question
    if is_answered:
        person.refused(8, msgid, groupid=groupid, **fields)
    else:
        person.send(msgid, groupid=groupid, **fields)
        assert person.pushed() == []


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question[0].name)
def test_a_strangers_question_never_reads_the_membership_of_a_group(
    cluster: Cluster, reads: list[int], question: tuple[MsgId, dict[str, Any], bool], known: bool
) -> None:
    ann, bob, stranger = people(cluster)
    groupid = ann.group("g", bob)
    if known:
        stranger.node.service.memberships.load(groupid)
    reads.clear()
    for _ in range(3):
        ask(stranger, question, groupid)
    assert reads == []


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question[0].name)
def test_nor_does_it_on_a_server_that_is_alone(
    world: World, reads: list[int], question: tuple[MsgId, dict[str, Any], bool]
) -> None:
    ann, stranger = world.user("ann"), world.user("stranger")
    groupid = ann.group("g")
    reads.clear()
    ask(stranger, question, groupid)
    assert reads == []


@pytest.mark.parametrize(
    ("msgid", "fields"),
    [(MsgId.RECEIVED, {"seq": 1}), (MsgId.HISTORY, {}), (MsgId.GROUP_INFO, {})],
    ids=lambda value: value.name if isinstance(value, MsgId) else "",
)
def test_a_members_own_question_costs_a_row_too_when_the_membership_is_not_known(
    cluster: Cluster, reads: list[int], msgid: MsgId, fields: dict[str, Any]
) -> None:
    """All members of a large group confirm each message; none of them reads who the others are."""
    ann, bob, _ = people(cluster)
    groupid = ann.group("g", bob)
    ann.say(groupid)
    bob.node.service.memberships.clear()
    reads.clear()
    bob.send(msgid, groupid=groupid, **fields)
    assert reads == []


def test_a_member_who_joined_unheard_is_found_and_the_membership_is_corrected(
    cluster: Cluster, reads: list[int]
) -> None:
    ann, bob, _ = people(cluster)
    groupid = ann.group("g", bob)
    node = ann.node.service.memberships
    node.load(groupid).pop(bob.id)
    reads.clear()
    assert node.joined_seq(bob.id, groupid) == 0
    assert reads == [groupid]
    assert bob.id in (node.get(groupid) or {})


def test_leaving_looks_for_an_heir_of_creators_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search sorts all members, and anybody may join and leave a large group again and again."""
    ann, bob, cem = (world.user(name) for name in ("ann", "bob", "cem"))
    groupid = ann.group("g", bob, cem)
    sought: list[str] = []
    seek = groups.longest_standing

    def counted(*args: Any) -> Any:
        sought.append("")
        return seek(*args)

    monkeypatch.setattr(groups, "longest_standing", counted)
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    assert sought == []
    ann.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    assert sought == [""]
    assert cem.ok(MsgId.GROUP_INFO, groupid=groupid)["group"]["role"] == "creator"

"""Recovery: what the bus loses, or cannot bring, is found in the database."""

from __future__ import annotations

from typing import Any

import pytest

from greenchat.model.records import Contact
from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, Line, people
from tests.service.world import presence, seqs

# -- What was lost


def test_what_was_lost_last_is_found_within_a_second(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    ann.chat(bob)
    with cluster.held("a", "b"):
        ann.chat(bob)
        ann.chat(bob)
        cluster.lose("a", "b")
    cluster.run()
    assert bob.live() == [1]
    cluster.pass_time(1)
    assert bob.live() == [2, 3]


def test_the_first_entry_of_all_is_found_when_it_was_lost(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    with cluster.held("a", "b"):
        ann.chat(bob)
        cluster.lose("a", "b")
    cluster.pass_time(1)
    assert bob.live() == [1]


@pytest.mark.parametrize("at", ["a", "b", "c"])
def test_who_wrote_to_a_device_that_no_other_node_knew_yet_is_heard(cluster: Cluster, at: str) -> None:
    ann, bob, _ = people(cluster)
    bob.leave()
    with cluster.held(at):
        phone = cluster[at].begin(bob, device="phone")
        cluster.run()
        ann.chat(bob)
    cluster.run()
    cluster.pass_time(2)
    (ack, *live) = phone.pushed()
    assert seqs(ack["offlinemsg"] + [frame for frame in live if frame["msgid"] == MsgId.ONE_CHAT]) == [1]


def test_a_database_that_was_away_is_looked_into_when_it_comes_back(cluster: Cluster) -> None:
    """Of a loss a node is told once."""
    ann, bob, _ = people(cluster)
    with cluster.held("a", "b"):
        ann.chat(bob)
        cluster.lose("a", "b")
    cluster.database.away = True
    cluster.pass_time(5)
    cluster.database.away = False
    assert bob.live() == []
    cluster.pass_time(1)
    assert bob.live() == [1]


def test_what_a_node_remembered_is_forgotten_though_it_is_catching_up_already(cluster: Cluster) -> None:
    """The others may count on it as soon as it has been told."""
    ann, bob, _ = people(cluster)
    node = cluster["b"]
    node.bus.have_caught_up()
    cluster.turns.turn(-1)  # it asks the database
    node.service.contacts.put((bob.id, ann.id), Contact.OPEN)
    with cluster.turns.owned(node.bus):
        node.bus.listener.catch_up()
    assert node.service.contacts.get((bob.id, ann.id)) is None


def test_a_message_whose_node_died_before_it_told_anybody_is_delivered_when_it_is_repeated(
    cluster: Cluster,
) -> None:
    ann, bob, _ = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    bob.chat(ann)
    ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi", cid="mine")
    while cluster.database.head(bob.id, ann.id) < 2:
        assert cluster.turns.turn()
    cluster["a"].kill()
    cluster.run()
    phone.pushed()
    assert bob.live() == []
    again = cluster["b"].log_in(ann, force=True)
    assert again.chat(bob, cid="mine") == 2
    assert bob.live() == [2]
    assert phone.live() == [2]
    cluster.pass_time(2)
    cluster.bury_dead()
    assert phone.live() == []
    assert (bob.live(), again.live()) == ([], [])


# -- Sessions that were taken over, or taken for dead


@pytest.mark.parametrize(
    ("elsewhere", "reason"), [(True, "replaced"), (False, "shutdown")], ids=["elsewhere", "offline"]
)
def test_a_session_that_the_database_does_not_show_here_any_more_ends(
    cluster: Cluster, elsewhere: bool, reason: str
) -> None:
    _, bob, _ = people(cluster)
    cluster["b"].bus.cut()
    cluster.bury(cluster["b"])
    cluster.run()
    if elsewhere:
        again = cluster["c"].log_in(bob)
    cluster["b"].bus.mend()
    cluster.run()
    cluster.pass_time(1)  # a login elsewhere may be void, so the node asks twice
    assert bob.peer.closed == reason
    cluster.pass_time(6)
    if elsewhere:
        assert again.peer.closed is None
    else:
        assert cluster["b"].log_in(bob).peer.closed is None


def test_the_word_of_a_session_that_was_taken_over_may_be_lost(cluster: Cluster) -> None:
    _, bob, _ = people(cluster)
    with cluster.held("c", "b"):
        again = cluster["c"].begin(bob, force=True)
        cluster.run()
        cluster.lose("c", "b")
    assert bob.peer.closed is None
    cluster.pass_time(2)
    assert [one.peer.closed for one in (bob, again)] == ["replaced", None]


# -- While the bus is away


def cut_all(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.bus.cut()


def mend_all(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.bus.mend()
    cluster.pass_time(2)


def test_without_the_bus_messages_come_within_a_second_and_once(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob, cem)
    for person in (ann, bob, cem):
        person.pushed()
    cut_all(cluster)
    for number in range(1, 4):
        ann.say(groupid)
        bob.chat(ann)
        cluster.pass_time(1)
        assert (bob.live(), cem.live()) == ([number], [number])
        assert ann.live() == [number]
    mend_all(cluster)
    assert (ann.live(), bob.live(), cem.live()) == ([], [], [])
    bob.say(groupid)
    assert (ann.live(), cem.live()) == ([4], [4])


LOGINS: list[tuple[dict[str, Any], int]] = [
    ({}, 2),
    ({"force": True}, 0),
    ({"device": "phone"}, 0),
    ({"password": "wrong"}, 1),
]


@pytest.mark.parametrize(("fields", "errno"), LOGINS)
def test_without_the_bus_a_login_goes_by_the_database(
    cluster: Cluster, fields: dict[str, Any], errno: int
) -> None:
    _, bob, _ = people(cluster)
    cut_all(cluster)
    line: Line = cluster["c"].connect()
    assert line.ask(MsgId.LOGIN, **{"id": bob.id, "password": "pw"} | fields)["errno"] == errno
    cluster.pass_time(1)
    assert bob.peer.closed == ("replaced" if "force" in fields else None)
    mend_all(cluster)
    assert bob.peer.closed == ("replaced" if "force" in fields else None)
    assert (line.peer.closed is None) == (line.session.user is not None or errno > 0)


def test_who_came_without_the_bus_is_found_by_the_others_when_it_is_back(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    bob.leave()
    cut_all(cluster)
    bob = cluster["c"].log_in(bob, device="phone")
    mend_all(cluster)
    ann.chat(bob)
    assert bob.live() == [1]
    cluster["a"].connect().refused(2, MsgId.LOGIN, id=bob.id, password="pw", device="phone")


def test_friends_are_told_of_who_went_without_the_bus_though_the_database_was_away_too(
    cluster: Cluster,
) -> None:
    ann, bob, _ = people(cluster)
    ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    cut_all(cluster)
    bob.leave()
    assert presence(ann) == []
    cluster.database.away = True
    mend_all(cluster)
    assert presence(ann) == []
    cluster.database.away = False
    cluster.pass_time(1)
    assert presence(ann) == [(bob.id, "offline")]

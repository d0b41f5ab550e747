"""Rows that an operator has deleted: messages pruned, users gone; everything else goes on."""

from __future__ import annotations

import pytest
from sqlalchemy import text as sql

from greenchat.model.records import DELETED
from greenchat.protocol.messages import MsgId
from greenchat.service.delivery import sequencer
from tests.service.cluster import Cluster
from tests.service.world import Person, World, seqs


def delete(world: World, rows: str) -> None:
    """Delete rows with SQL."""
    world.store.write(lambda db: db.execute(sql(f"DELETE FROM {rows}")))


def prune(world: World, which: str) -> None:
    delete(world, f'"Message" WHERE {which}')


@pytest.mark.parametrize("upto", [7, 200, 450])
def test_pruned_messages_are_passed_over_and_what_follows_comes_live(
    world: World, ann: Person, bob: Person, upto: int
) -> None:
    bob.leave()
    ann.fill(450, toid=bob.id)
    prune(world, f"seq <= {upto} OR seq % 2 = 0")
    bob = world.log_in(bob)
    assert seqs(bob.sync_all()) == [seq for seq in range(upto + 1, 451) if seq % 2]
    ann.chat(bob)
    assert bob.live() == [451]


def test_a_conversation_of_which_nothing_is_left_hides_no_other(
    world: World, ann: Person, bob: Person, cem: Person
) -> None:
    cem.leave()
    ann.fill(300, toid=cem.id)
    bob.fill(5, toid=cem.id)
    prune(world, f"sender = {ann.id}")
    cem = world.log_in(cem)
    assert [entry["id"] for entry in cem.ack["offlinemsg"]] == [bob.id] * 5
    assert not cem.ack["more"]
    ann.chat(cem)
    assert cem.live() == [301]


def test_a_device_with_a_message_of_a_deleted_user_pending_goes_on(
    world: World, ann: Person, bob: Person, cem: Person
) -> None:
    groupid = ann.group("g", bob, cem)
    bob.leave()
    cem.say(groupid, "from the grave")
    cem.chat(bob, "alone")
    cem.leave()
    delete(world, f'"User" WHERE id = {cem.id}')
    bob = world.log_in(bob)
    assert {(entry["msg"], entry["name"]) for entry in bob.sync_all()} == {
        ("from the grave", DELETED),
        ("alone", DELETED),
    }
    ann.say(groupid, "and on")
    assert bob.live() == [2]
    assert [entry["name"] for entry in bob.history(groupid=groupid)] == [DELETED, "ann"]
    assert [entry["name"] for entry in bob.history(peerid=cem.id)] == [DELETED]


def test_what_a_deleted_user_wrote_can_be_acknowledged(world: World, ann: Person, bob: Person) -> None:
    bob.leave()
    ann.chat(bob)
    ann.leave()
    delete(world, f'"User" WHERE id = {ann.id}')
    bob = world.log_in(bob)
    assert seqs(bob.sync_all()) == [1]
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=1)
    assert bob.peer.frames == []
    bob.leave()
    assert world.log_in(bob).sync_all() == []


def test_nobody_can_take_the_name_of_the_deleted(world: World) -> None:
    stranger = world.connect()
    for name in (DELETED, DELETED.upper(), f" {DELETED} "):
        stranger.refused(3, MsgId.REG, name=name, password="pw")


@pytest.mark.parametrize("deleted", ["seq IN (2, 5)", "seq BETWEEN 3 AND 8", "seq < 11", "seq > 1"])
def test_a_node_that_has_missed_messages_passes_over_those_that_were_deleted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, deleted: str
) -> None:
    monkeypatch.setattr(sequencer, "PAGE", 3)
    ann, bob = cluster["a"].user("ann"), cluster["b"].user("bob")
    ann.chat(bob)
    with cluster.held("a", "b"):
        ann.fill(10, toid=bob.id)
        cluster.lose("a", "b")
    with cluster.database.writing() as db:
        db.execute(sql(f'DELETE FROM "Message" WHERE {deleted}'))
        left = [seq for (seq,) in db.execute(sql('SELECT seq FROM "Message" ORDER BY seq'))]
    ann.chat(bob)
    cluster.pass_time(1)
    assert bob.live() == [1, *[seq for seq in left if seq > 1], 12]
    ann.chat(bob)
    assert bob.live() == [13]


def test_who_catches_up_without_asking_passes_over_what_was_deleted(cluster: Cluster) -> None:
    """A conversation that is new to a node: the session is owed what it lacks, a part of which is gone."""
    ann, bob = cluster["a"].user("ann"), cluster["b"].user("bob")
    with cluster.held("a", "b"):
        ann.fill(500, toid=bob.id)
        cluster.lose("a", "b")
    with cluster.database.writing() as db:
        db.execute(sql('DELETE FROM "Message" WHERE seq < 350 OR seq > 490'))
    ann.chat(bob)
    cluster.pass_time(1)
    assert bob.live() == [*range(350, 491), 501]
    ann.chat(bob)
    assert bob.live() == [502]

"""The database is set back: a replica that lacked the last entries of conversations became the primary."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Connection
from sqlalchemy import text as sql

from greenchat.data.engine.sqlite import SqliteStatements
from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster
from tests.service.world import LOG_FRAMES, Person, World, seqs


def lose(db: Connection, seq: int) -> None:
    """Lose all entries after a seq, and what was written with them."""
    db.execute(sql(f'DELETE FROM "Message" WHERE seq > {seq}'))
    db.execute(sql(f'UPDATE "Conversation" SET last_seq = {seq} WHERE last_seq > {seq}'))
    db.execute(sql(f'UPDATE "Cursor" SET delivered_seq = {seq} WHERE delivered_seq > {seq}'))


def set_back(world: World, seq: int) -> None:
    world.store.write(lose, seq)
    statements = world.store.database.statements
    assert isinstance(statements, SqliteStatements)
    statements.forget_heads()


def bodies(person: Person) -> list[str]:
    return [frame["msg"] for frame in person.pushed(*LOG_FRAMES)]


@pytest.mark.parametrize("left", [2, 4])
def test_messages_with_numbers_that_were_used_are_shown(
    world: World, ann: Person, bob: Person, cem: Person, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    for n in range(1, 6):
        ann.chat(bob, f"old {n}")
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=5)
    ann.chat(cem)
    set_back(world, left)
    with caplog.at_level(logging.ERROR):
        ann.chat(bob, "new")
    assert "was set back" in caplog.text
    assert (ann.peer.closed, bob.peer.closed, cem.peer.closed) == ("shutdown", "shutdown", None)
    for person in (ann, bob):
        person.session.closed("shutdown")
    ann, bob = world.log_in(ann), world.log_in(bob)
    assert [entry["msg"] for entry in bob.sync_all()] == ["new"]
    ann.chat(bob, "and on")
    assert bodies(bob) == ["and on"]
    assert (ann.peer.closed, bob.peer.closed) == (None, None)


def test_what_was_acknowledged_before_does_not_count_for_what_has_its_number(
    world: World, ann: Person, bob: Person
) -> None:
    """RECEIVED of the old entry is written after the new one is committed."""
    for _ in range(3):
        ann.chat(bob)
    set_back(world, 2)
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=3)
    ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="new")
    world.store.commit_waiting()
    world.store.write_marks()
    world.commit()
    assert bob.peer.closed == "shutdown"
    bob.session.closed("shutdown")
    assert [entry["msg"] for entry in world.log_in(bob).sync_all()] == ["new"]


def test_all_nodes_notice(cluster: Cluster) -> None:
    ann, bob, cem = (
        cluster[node].user(name) for node, name in zip("abc", ("ann", "bob", "cem"), strict=True)
    )
    groupid = ann.group("g", bob, cem)
    for n in range(1, 6):
        (ann, bob, cem)[n % 3].say(groupid, f"old {n}")
    with cluster.database.writing() as db:
        lose(db, 3)
    cluster.database.statements.forget_heads()
    ann.say(groupid, "new")
    cluster.pass_time(5)
    assert [person.peer.closed for person in (ann, bob, cem)] == ["shutdown"] * 3
    ann, bob, cem = (
        cluster[node].log_in(person) for node, person in zip("abc", (ann, bob, cem), strict=True)
    )
    for person in (bob, cem):
        assert person.sync_all()[-1]["msg"] == "new"
        assert seqs(person.history(groupid=groupid)) == [1, 2, 3, 4]
        person.pushed()
    bob.say(groupid, "and on")
    assert [bodies(person) for person in (ann, cem)] == [["and on"]] * 2


def test_an_entry_that_comes_twice_is_no_setback(cluster: Cluster) -> None:
    """From the log and then by the bus, at the end and in the middle, recalled meanwhile or not."""
    ann, bob = cluster["a"].user("ann"), cluster["b"].user("bob")
    ann.chat(bob)
    for _ in range(2):
        with cluster.held("a", "b"):
            first = ann.chat(bob)
            ann.chat(bob)
            cluster["b"].service.recovery.check_all()
            cluster.pass_time(1)
            ann.ok(MsgId.RECALL, peerid=bob.id, target=first)
            cluster["b"].service.recovery.check_all()
            cluster.pass_time(1)
        cluster.pass_time(5)
    assert (ann.peer.closed, bob.peer.closed) == (None, None)
    assert bob.live() == list(range(1, 8))

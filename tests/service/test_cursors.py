"""What counts as delivered to a device: RECEIVED, its own messages, and where a new device starts."""

from __future__ import annotations

from greenchat.protocol.messages import MsgId
from tests.service.world import Person, World, seqs


def test_a_login_alone_acknowledges_nothing(world: World, ann: Person, bob: Person) -> None:
    bob.leave()
    ann.chat(bob)
    for _ in range(2):
        again = world.log_in(bob)
        assert seqs(again.ack["offlinemsg"]) == [1]
        again.leave()


def test_received_is_cumulative_and_what_it_covers_does_not_come_again(
    world: World, ann: Person, bob: Person
) -> None:
    groupid = ann.group("g", bob)
    ann.fill(5, toid=bob.id)
    ann.fill(3, groupid=groupid)
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=3)
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=2)
    bob.send(MsgId.RECEIVED, groupid=groupid, seq=3)
    bob.leave()
    bob = world.log_in(bob)
    assert seqs(bob.ack["offlinemsg"]) == [4, 5]
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=99)  # never past the end of the log
    world.store.write_marks()
    bob.leave()
    ann.fill(1, toid=bob.id)
    assert seqs(world.log_in(bob).ack["offlinemsg"]) == [6]


def test_received_before_the_pages_are_taken_counts_too(world: World, ann: Person, bob: Person) -> None:
    bob.leave()
    ann.fill(300, toid=bob.id)
    bob = world.log_in(bob)
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=200)
    bob.leave()
    bob = world.log_in(bob)
    assert seqs(bob.ack["offlinemsg"]) == [*range(201, 301)]


def test_received_outlives_a_restart_once_it_is_written(world: World, ann: Person, bob: Person) -> None:
    ann.fill(3, toid=bob.id)
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=2)
    world.store.write_marks()
    world.restart()
    assert seqs(world.log_in(bob).ack["offlinemsg"]) == [3]


# -- Own messages


def test_ones_own_messages_are_not_offered_to_the_device_that_sent_them(
    world: World, ann: Person, bob: Person
) -> None:
    ann.fill(2, toid=bob.id)
    ann.leave()
    assert world.log_in(ann).ack["offlinemsg"] == []


def test_an_own_message_does_not_hide_what_is_pending_before_it(
    world: World, ann: Person, bob: Person
) -> None:
    ann.fill(1, toid=bob.id)
    bob.chat(ann)
    bob.leave()
    bob = world.log_in(bob)
    assert seqs(bob.ack["offlinemsg"]) == [1, 2]
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=1)
    bob.leave()
    assert seqs(world.log_in(bob).ack["offlinemsg"]) in ([], [2])


def test_an_own_message_after_what_was_received_counts_as_delivered(
    world: World, ann: Person, bob: Person
) -> None:
    for _ in range(3):
        seq = ann.chat(bob)
        bob.send(MsgId.RECEIVED, peerid=ann.id, seq=seq)
        bob.chat(ann)
    bob.leave()
    assert world.log_in(bob).ack["offlinemsg"] == []


def test_own_messages_at_the_start_stay_delivered_when_others_and_more_of_ones_own_follow(
    world: World, ann: Person, bob: Person
) -> None:
    """Where nothing before a message of one's own is pending, it counts as delivered."""
    bob.chat(ann)
    world.store.write_marks()
    ann.chat(bob)
    bob.chat(ann)
    bob.leave()
    assert seqs(world.log_in(bob).ack["offlinemsg"]) == [2, 3]


def test_an_own_message_goes_to_ones_own_device_that_was_away(world: World, ann: Person, bob: Person) -> None:
    world.log_in(ann, device="phone").leave()
    ann.chat(bob, cid="c1")
    (entry,) = world.log_in(ann, device="phone").ack["offlinemsg"]
    assert (entry["seq"], entry["cid"], entry["toid"]) == (1, "c1", bob.id)


# -- Several devices


def test_each_device_has_a_cursor_of_its_own(world: World, ann: Person, bob: Person) -> None:
    world.log_in(bob, device="phone").leave()
    ann.fill(3, toid=bob.id)
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=3)
    bob.leave()
    assert seqs(world.log_in(bob, device="phone").ack["offlinemsg"]) == [1, 2, 3]
    assert world.log_in(bob).ack["offlinemsg"] == []


def test_a_new_device_starts_where_the_most_advanced_one_stands(
    world: World, ann: Person, bob: Person, cem: Person
) -> None:
    phone = world.log_in(bob, device="phone")
    ann.fill(3, toid=bob.id)
    cem.fill(3, toid=bob.id)
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=2)
    phone.send(MsgId.RECEIVED, peerid=cem.id, seq=3)
    tablet = world.log_in(bob, device="tablet")
    assert [(entry["id"], entry["seq"]) for entry in tablet.ack["offlinemsg"]] == [(ann.id, 3)]

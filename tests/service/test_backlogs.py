"""Backlogs: an entry that a session lacks is never forgotten, whatever is late."""

from __future__ import annotations

import pytest

from greenchat.model.records import Contact
from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, Line, entries, people
from tests.service.world import Person


def said(line: Person, groupid: int) -> list[int]:
    """Return the seqs of a group that came to a connection, by LOGIN_ACK or live."""
    found = []
    for frame in line.peer.frames:
        shown = frame.get("offlinemsg", [frame] if frame["msgid"] == MsgId.GROUP_CHAT else [])
        found += [entry["seq"] for entry in shown if entry.get("groupid") == groupid]
    return found


def move_away(cluster: Cluster, person: Person, groupid: int, seq: int) -> None:
    """Let somebody acknowledge all that they have, and go."""
    if seq:
        person.send(MsgId.RECEIVED, groupid=groupid, seq=seq)
    person.leave()
    cluster.pass_time(2)


@pytest.mark.parametrize("pending", [0, 3])
@pytest.mark.parametrize("turns", range(24))
def test_a_login_forgets_no_backlog(cluster: Cluster, turns: int, pending: int) -> None:
    """An entry is announced, and the node takes the group up, while the login reads the log."""
    ann, bob, _ = people(cluster)
    groupid = ann.group("g", bob)
    for _ in range(3 + pending):
        ann.say(groupid)
    move_away(cluster, bob, groupid, 3)
    bob = cluster["c"].begin(bob)
    cluster.take_turns(turns)
    ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    cluster.run_youngest_first()
    cluster.pass_time(2)
    if any(frame.get("more") for frame in bob.peer.frames):
        bob.send(MsgId.SYNC)
    ann.say(groupid)
    cluster.pass_time(2)
    assert said(bob, groupid) == list(range(4, 6 + pending))


@pytest.mark.parametrize("pending", [0, 1, 3])
@pytest.mark.parametrize("turns", range(24))
def test_what_is_taken_up_during_a_login_comes_though_nothing_follows(
    cluster: Cluster, turns: int, pending: int
) -> None:
    """The login has read the log, and before its answer the node takes the pair up at a later head."""
    ann, bob, _ = people(cluster)
    for _ in range(1 + pending):
        ann.chat(bob)
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=1)
    bob.leave()
    cluster.pass_time(2)
    again = cluster["c"].begin(bob)
    cluster.take_turns(turns)
    ann.put(MsgId.ONE_CHAT, toid=bob.id, msg="hi")
    cluster.run_youngest_first()
    cluster.pass_time(2)
    if again.peer.frames[0]["more"]:
        again.send(MsgId.SYNC)
    shown = [frame.get("offlinemsg", [frame]) for frame in again.peer.frames]
    assert [entry["seq"] for page in shown for entry in page if "msg" in entry] == list(range(2, 3 + pending))


@pytest.mark.parametrize("first", range(0, 24, 2))
@pytest.mark.parametrize("second", range(8))
def test_two_conversations_are_caught_up_with_while_entries_come(
    cluster: Cluster, first: int, second: int
) -> None:
    """One of them waits for a head while the other is sent, and an entry of it is committed."""
    ann, bob, cem = people(cluster)
    groups = [ann.group("g"), ann.group("h")]
    phone = cluster["c"].log_in(bob, device="phone")
    for groupid in groups:
        cem.ok(MsgId.ADD_GROUP, groupid=groupid)
        ann.say(groupid)
    for groupid in groups:
        bob.put(MsgId.ADD_GROUP, groupid=groupid)
    cluster.take_turns(first)
    for groupid in groups:
        ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
        cluster.take_turns(second)
        for ends in cluster.arrivals():
            cluster.arrive(*ends)
    cluster.run()
    cluster.pass_time(2)
    joined = [cluster["b"].store.membership(groupid)[bob.id] for groupid in groups]
    assert [said(phone, groupid) for groupid in groups] == [list(range(seq + 1, 3)) for seq in joined]


# -- A node that stops


@pytest.mark.parametrize("turns", range(10))
def test_a_message_that_is_read_when_its_node_stops_is_refused_or_delivered(
    cluster: Cluster, turns: int
) -> None:
    ann, bob, cem = people(cluster)
    groupid = cem.group("g", ann, bob)
    cluster["a"].service.forget_all()  # its handler is to look who is in the group
    ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi", cid="mine")
    cluster.take_turns(turns)
    cluster["a"].begin_to_stop()
    cluster.run_youngest_first()
    cluster.pass_time(2)
    stored = cluster["b"].store.head(-groupid)
    assert (bob.live(), cem.live()) == ([1] * stored, [1] * stored)
    answers = [frame["errno"] for frame in ann.peer.frames if frame.get("cid") == "mine"]
    assert answers in ([], [0] if stored else [13])


def test_nothing_is_appended_while_a_node_stops(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    cluster["a"].service.draining = True
    reply = ann.refused(13, MsgId.ONE_CHAT, toid=bob.id, msg="hi")
    assert reply["retry_after"] == 1.0
    assert cluster.database.head(ann.id, bob.id) == 0


@pytest.mark.parametrize("turns", range(10))
@pytest.mark.parametrize("msgid", [MsgId.LEAVE_GROUP, MsgId.ADD_GROUP, MsgId.BLOCK])
def test_the_others_hear_of_what_is_being_changed_when_a_node_stops(
    cluster: Cluster, turns: int, msgid: int
) -> None:
    ann, bob, cem = people(cluster)
    groupid = cem.group("g", *([] if msgid == MsgId.ADD_GROUP else [ann]))
    phone = cluster["b"].log_in(ann, device="phone")
    cem.history(groupid=groupid)
    bob.chat(ann)  # node b knows that he may
    fields = {"userid": bob.id} if msgid == MsgId.BLOCK else {"groupid": groupid}
    ann.put(msgid, **fields)
    cluster.take_turns(turns)
    cluster["a"].begin_to_stop()
    cluster.run_youngest_first()
    phone.pushed()
    store = cluster["b"].store
    is_member, blocked = ann.id in store.membership(groupid), store.contact(bob.id, ann.id) is Contact.BLOCKED
    cem.say(groupid)
    assert phone.live() == [1] * is_member
    assert bob.ask(MsgId.ONE_CHAT, toid=ann.id, msg="hi")["errno"] == (10 if blocked else 0)


def test_a_repetition_wakes_every_node_and_doubles_nothing(cluster: Cluster) -> None:
    """The node that stored the message died before it told anybody."""
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob, cem)
    ann.say(groupid)
    bob.pushed(), cem.pushed()
    ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi", cid="mine")
    while cluster["b"].store.head(-groupid) < 2:
        assert cluster.turns.turn()
    cluster["a"].kill()
    again = cluster["b"].log_in(ann, force=True)
    again.pushed()
    for _ in range(2):
        assert again.say(groupid, cid="mine") == 2
    assert (entries(bob), entries(cem)) == ([2], [2])
    cem.say(groupid)
    assert (entries(bob), entries(cem), entries(again)) == ([3], [], [3])
    assert isinstance(again, Line)


def test_who_joined_at_a_node_that_stops_misses_nothing_elsewhere(cluster: Cluster) -> None:
    """Another node stores a message before it hears of the joining, and sends it to nobody."""
    ann, bob, _ = people(cluster)
    groupid = ann.group("g")
    phone = cluster["c"].log_in(bob, device="phone")
    ann.say(groupid)  # its node knows who is in the group
    with cluster.held("b", "a"):
        bob.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        ann.say(groupid)
        cluster["b"].begin_to_stop()
        cluster.run()
        assert entries(phone) == []
    cluster.run()
    cluster.pass_time(2)
    assert entries(phone) == [2]

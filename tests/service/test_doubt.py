"""Changes whose COMMIT was not answered: what depends on them is looked up, and a repetition finds them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, befriend, people
from tests.service.turns import Priorities
from tests.service.world import Person, presence

MADE_OR_NOT = pytest.mark.parametrize("made", [True, False])


def in_doubt(cluster: Cluster, person: Person, made: bool, msgid: int, **fields: Any) -> None:
    """Send a request whose change is made, or is not, and is not answered by the database."""
    cluster.database.unanswered = made
    person.refused(13, msgid, **fields)
    assert cluster.database.away
    cluster.database.away = False
    cluster.pass_time(2)


@MADE_OR_NOT
def test_who_may_have_left_is_looked_up_everywhere(cluster: Cluster, made: bool) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob, cem)
    phone = cluster["c"].log_in(bob, device="phone")
    ann.say(groupid)
    bob.live(), phone.live()
    in_doubt(cluster, bob, made, MsgId.LEAVE_GROUP, groupid=groupid)
    ann.say(groupid)
    cem.say(groupid)
    assert bob.live() == phone.live() == ([] if made else [2, 3])
    for device in (bob, phone):
        reply = device.ask(MsgId.GROUP_CHAT, groupid=groupid, msg="x")
        assert reply["errno"] == (8 if made else 0)
        assert device.ask(MsgId.HISTORY, groupid=groupid)["errno"] == reply["errno"]
    assert bob.ask(MsgId.LEAVE_GROUP, groupid=groupid)["errno"] == (8 if made else 0)
    ann.say(groupid)
    cem.pushed()
    assert phone.live() == ([] if made else [4])  # said by bob before he left


@MADE_OR_NOT
def test_who_may_have_joined_is_looked_up_everywhere_and_joins_when_asked_again(
    cluster: Cluster, made: bool
) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    phone = cluster["c"].log_in(bob, device="phone")
    ann.say(groupid)
    in_doubt(cluster, bob, made, MsgId.ADD_GROUP, groupid=groupid)
    ann.say(groupid)
    cluster.pass_time(1)
    assert bob.live() == phone.live() == ([2] if made else [])
    assert bob.ok(MsgId.ADD_GROUP, groupid=groupid)["group"]["count"] == 3
    cem.say(groupid)
    assert bob.live() == phone.live() == [3]


@MADE_OR_NOT
def test_who_may_be_blocked_is_looked_up_everywhere_and_blocked_when_asked_again(
    cluster: Cluster, made: bool
) -> None:
    _, bob, cem = people(cluster)
    bob.ok(MsgId.ADD_FRIEND, friendid=cem.id)
    bob.chat(cem)
    in_doubt(cluster, cem, made, MsgId.BLOCK, userid=bob.id)
    assert bob.ask(MsgId.ONE_CHAT, toid=cem.id, msg="x")["errno"] == (10 if made else 0)
    cem.ok(MsgId.BLOCK, userid=bob.id)
    assert [frame["state"] for frame in bob.pushed(MsgId.PRESENCE)][-1] == "offline"
    bob.refused(10, MsgId.ONE_CHAT, toid=cem.id, msg="x")
    in_doubt(cluster, cem, made, MsgId.UNBLOCK, userid=bob.id)
    assert bob.ask(MsgId.ONE_CHAT, toid=cem.id, msg="x")["errno"] == (0 if made else 10)
    cem.ok(MsgId.UNBLOCK, userid=bob.id)
    assert [frame["state"] for frame in bob.pushed(MsgId.PRESENCE)][-1] == "online"
    bob.chat(cem)


@MADE_OR_NOT
def test_friends_in_doubt_are_read_anew(cluster: Cluster, made: bool) -> None:
    ann, bob, _ = people(cluster)
    assert ann.ok(MsgId.ARE_FRIENDS, ids=[bob.id])["ids"] == []
    in_doubt(cluster, ann, made, MsgId.ADD_FRIEND, friendid=bob.id)
    assert ann.ok(MsgId.ARE_FRIENDS, ids=[bob.id])["ids"] == ([bob.id] if made else [])
    ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    in_doubt(cluster, ann, made, MsgId.REMOVE_FRIEND, friendid=bob.id)
    assert ann.ok(MsgId.ARE_FRIENDS, ids=[bob.id])["ids"] == ([] if made else [bob.id])


@MADE_OR_NOT
def test_a_password_that_may_have_changed_ends_the_other_sessions_and_is_found_when_asked_again(
    cluster: Cluster, made: bool
) -> None:
    ann, _, _ = people(cluster)
    tablet = cluster["a"].log_in(ann, device="tablet")
    phone = cluster["c"].log_in(ann, device="phone")
    in_doubt(cluster, ann, made, MsgId.CHANGE_PASSWORD, old="pw", new="better")
    assert (tablet.peer.closed, phone.peer.closed, ann.peer.closed) == ("replaced", "replaced", None)
    ann.refused(1, MsgId.CHANGE_PASSWORD, old="wrong", new="other")
    token = ann.ok(MsgId.CHANGE_PASSWORD, old="pw", new="better")["token"]
    ann.leave()
    again = cluster["b"].connect()
    again.refused(1, MsgId.LOGIN, id=ann.id, password="pw")
    again.login(id=ann.id, token=token)


@MADE_OR_NOT
def test_an_account_that_may_be_registered_has_its_id_when_asked_again(cluster: Cluster, made: bool) -> None:
    newcomer, other = cluster["a"].connect(), cluster["b"].connect()
    in_doubt(cluster, newcomer, made, MsgId.REG, name="dan", password="pw")
    if made:
        other.refused(1, MsgId.REG, name="dan", password="another")
    userid = newcomer.ok(MsgId.REG, name="dan", password="pw")["id"]
    assert other.ok(MsgId.REG, name="dan", password="pw")["id"] == userid  # at another node, too
    other.login(name="dan")
    assert other.id == userid
    newcomer.refused(1, MsgId.REG, name="dan", password="pw")


def test_an_account_of_which_nobody_was_in_doubt_is_taken(cluster: Cluster) -> None:
    newcomer = cluster["a"].connect()
    newcomer.ok(MsgId.REG, name="dan", password="pw")
    newcomer.refused(1, MsgId.REG, name="dan", password="pw")


def test_an_account_that_was_registered_long_ago_is_taken(cluster: Cluster) -> None:
    newcomer = cluster["a"].connect()
    in_doubt(cluster, newcomer, True, MsgId.REG, name="dan", password="pw")
    cluster.turns.now += 601
    newcomer.refused(1, MsgId.REG, name="dan", password="pw")


def test_guessing_the_password_of_a_new_account_by_registering_counts_as_guessing(cluster: Cluster) -> None:
    newcomer = cluster["a"].connect(address="192.0.2.1:1")
    in_doubt(cluster, newcomer, True, MsgId.REG, name="dan", password="pw")
    guesses = [
        newcomer.ask(MsgId.REG, name="dan", password=f"guess {n}")["errno"]
        for n in range(cluster.settings.login_failures + 2)
    ]
    assert guesses[-1] == 11
    newcomer.refused(11, MsgId.REG, name="dan", password="pw")


@MADE_OR_NOT
def test_a_group_that_may_be_made_has_its_id_when_asked_again(cluster: Cluster, made: bool) -> None:
    ann, bob, _ = people(cluster)
    fields = {"groupname": "g", "groupdesc": "d"}
    in_doubt(cluster, ann, made, MsgId.CREATE_GROUP, **fields)
    if made:
        bob.refused(9, MsgId.CREATE_GROUP, **fields)
    groupid = ann.ok(MsgId.CREATE_GROUP, **fields)["groupid"]
    assert ann.ok(MsgId.CREATE_GROUP, **fields)["groupid"] == groupid
    ann.refused(9, MsgId.CREATE_GROUP, groupname="g", groupdesc="another")
    assert ann.say(groupid) == 1
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    ann.refused(9, MsgId.CREATE_GROUP, **fields)


@MADE_OR_NOT
def test_a_login_in_doubt_leaves_the_device_where_it_was(cluster: Cluster, made: bool) -> None:
    ann, bob, _ = people(cluster)
    bob.ok(MsgId.ADD_FRIEND, friendid=ann.id)
    other = cluster["b"].connect()
    in_doubt(cluster, other, made, MsgId.LOGIN, id=ann.id, password="pw", force=True)
    cluster.pass_time(2)
    assert ann.peer.closed is None
    assert cluster.database.online()[ann.id, ""] == "a"
    bob.pushed()
    other.login(id=ann.id, force=True)
    assert ann.peer.closed == "replaced"
    assert cluster.database.online()[ann.id, ""] == "b"


def test_a_device_is_given_back_once_the_database_is_there_for_its_node(cluster: Cluster) -> None:
    ann, _, _ = people(cluster)
    other = cluster["b"].connect()
    with cluster.held("b", "a"):
        in_doubt(cluster, other, True, MsgId.LOGIN, id=ann.id, password="pw", force=True)
        assert cluster.database.online().get((ann.id, "")) is None
    cluster.database.away = True
    cluster.pass_time(1)
    cluster.database.away = False
    cluster.pass_time(2)
    assert ann.peer.closed is None
    assert cluster.database.online()[ann.id, ""] == "a"


@pytest.mark.parametrize("seed", range(20))
def test_a_login_that_comes_while_one_in_doubt_is_given_back_keeps_the_device(
    cluster: Cluster, seed: int
) -> None:
    priorities = Priorities(random.Random(seed))
    ann, _, _ = people(cluster)
    cluster.database.unanswered = True
    cluster["b"].connect().refused(13, MsgId.LOGIN, id=ann.id, password="pw", force=True)
    cluster.database.away = False
    cluster.turns.pass_time(1)
    again = cluster["b"].begin(ann, force=True)
    while able := cluster.turns.able():
        cluster.turns.give(priorities.choose(able))
    cluster.pass_time(2)
    assert (ann.peer.closed, again.peer.closed) == ("replaced", None)
    assert cluster.database.online()[ann.id, ""] == "b"


def test_who_goes_before_a_device_is_given_back_is_told_of_afterwards(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    befriend(ann, bob)
    cluster["c"].log_in(bob, device="phone")
    bob.leave()
    other = cluster["b"].connect()
    with cluster.held("b", "a"):
        in_doubt(cluster, other, True, MsgId.LOGIN, id=ann.id, password="pw", force=True)
        cluster["c"].lines[-1].leave()
        assert presence(ann) == []
    cluster.run()
    assert presence(ann) == [(bob.id, "offline")]


# -- The database can tell at once


@MADE_OR_NOT
@pytest.mark.parametrize("bus_is_away", [False, True])
def test_a_login_is_made_again_while_the_database_answers_and_ends_the_one_before_it(
    cluster: Cluster, made: bool, bus_is_away: bool
) -> None:
    ann, _, _ = people(cluster)
    other = cluster["b"].connect()
    if bus_is_away:
        cluster["b"].bus.cut()
    cluster.database.unanswered = made
    cluster.database.stays = True
    other.login(id=ann.id, force=True)
    if bus_is_away:
        cluster["b"].bus.mend()
    cluster.pass_time(2)
    assert (ann.peer.closed, other.peer.closed) == ("replaced", None)
    assert cluster.database.online()[ann.id, ""] == "b"


@MADE_OR_NOT
def test_a_change_is_made_again_while_the_database_answers_and_nobody_hears_of_it(
    cluster: Cluster, made: bool
) -> None:
    def ok(person: Person, msgid: int, **fields: Any) -> dict[str, Any]:
        cluster.database.unanswered = made
        cluster.database.stays = True
        return person.ok(msgid, **fields)

    ann, bob, cem = people(cluster)
    dan = cluster["a"].connect()
    assert ok(dan, MsgId.REG, name="dan", password="pw")["id"] == cem.id + 1
    groupid = ok(ann, MsgId.CREATE_GROUP, groupname="g")["groupid"]
    phone = cluster["c"].log_in(bob, device="phone")
    ann.say(groupid)
    ok(bob, MsgId.ADD_GROUP, groupid=groupid)
    ann.say(groupid)
    assert bob.live() == phone.live() == [2]
    ok(bob, MsgId.LEAVE_GROUP, groupid=groupid)
    ann.say(groupid)
    assert bob.live() == phone.live() == []
    bob.refused(8, MsgId.LEAVE_GROUP, groupid=groupid)
    ok(bob, MsgId.BLOCK, userid=cem.id)
    cem.refused(10, MsgId.ONE_CHAT, toid=bob.id, msg="x")
    ok(bob, MsgId.UNBLOCK, userid=cem.id)
    cem.chat(bob)
    token = ok(bob, MsgId.CHANGE_PASSWORD, old="pw", new="better")["token"]
    bob.leave()
    cluster["a"].connect().login(id=bob.id, token=token)

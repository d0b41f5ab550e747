"""ADD_FRIEND, REMOVE_FRIEND, ARE_FRIENDS, BLOCK, UNBLOCK, FIND."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.world import Person, World


def state(person: Person, other: Person) -> str:
    """Return the state in which somebody finds somebody."""
    return str(person.ok(MsgId.FIND, name=other.session.name)["user"]["state"])


def test_a_friend_is_shown_with_state_when_added(ann: Person, bob: Person) -> None:
    assert ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)["friend"] == {
        "id": bob.id,
        "name": "bob",
        "state": "online",
    }
    bob.leave()
    assert ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)["friend"]["state"] == "offline"


def test_friendship_is_one_sided(world: World, ann: Person, bob: Person) -> None:
    ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    assert ann.ok(MsgId.ARE_FRIENDS, ids=[bob.id])["ids"] == [bob.id]
    assert bob.ok(MsgId.ARE_FRIENDS, ids=[ann.id])["ids"] == []
    ann.leave()
    bob.leave()
    assert [friend["name"] for friend in world.log_in(ann).ack["friends"]] == ["bob"]
    assert world.log_in(bob).ack["friends"] == []


def test_adding_and_removing_twice_is_once(world: World, ann: Person, bob: Person) -> None:
    for _ in range(2):
        ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    for _ in range(2):
        ann.ok(MsgId.REMOVE_FRIEND, friendid=bob.id)
        assert ann.ok(MsgId.ARE_FRIENDS, ids=[bob.id])["ids"] == []
    ann.ok(MsgId.REMOVE_FRIEND, friendid=99)


@pytest.mark.parametrize(("msgid", "field"), [(MsgId.ADD_FRIEND, "friendid"), (MsgId.BLOCK, "userid")])
def test_oneself_is_not_allowed_and_nobody_is_no_such_user(ann: Person, msgid: int, field: str) -> None:
    ann.refused(14, msgid, **{field: ann.id})
    ann.refused(6, msgid, **{field: 99})


def test_a_user_has_no_more_friends_than_the_limit(make_world: Callable[..., World]) -> None:
    world = make_world(max_friends=2)
    ann, bob, cem, dee = world.users("ann", "bob", "cem", "dee")
    ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    ann.ok(MsgId.ADD_FRIEND, friendid=cem.id)
    ann.refused(14, MsgId.ADD_FRIEND, friendid=dee.id)
    ann.ok(MsgId.ADD_FRIEND, friendid=cem.id)
    ann.ok(MsgId.REMOVE_FRIEND, friendid=bob.id)
    ann.ok(MsgId.ADD_FRIEND, friendid=dee.id)


def test_are_friends_takes_1000_ids_and_returns_those_that_are(ann: Person, bob: Person) -> None:
    ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    assert ann.ok(MsgId.ARE_FRIENDS, ids=[bob.id, ann.id, *range(100, 1_098)])["ids"] == [bob.id]
    assert ann.ok(MsgId.ARE_FRIENDS, ids=[])["ids"] == []


def test_who_is_blocked_cannot_chat_or_type_and_others_can(
    world: World, ann: Person, bob: Person, cem: Person
) -> None:
    for _ in range(2):
        bob.ok(MsgId.BLOCK, userid=ann.id)
    ann.refused(10, MsgId.ONE_CHAT, toid=bob.id, msg="hi")
    ann.send(MsgId.TYPING, toid=bob.id)
    cem.chat(bob)
    bob.chat(ann)
    assert [frame["id"] for frame in bob.pushed()] == [cem.id]
    assert ann.live() == [1]
    bob.ok(MsgId.UNBLOCK, userid=ann.id)
    assert ann.chat(bob) == 2
    assert bob.live() == [2]


def test_blocking_counts_at_once_even_where_they_have_chatted_before(ann: Person, bob: Person) -> None:
    ann.chat(bob)
    bob.ok(MsgId.BLOCK, userid=ann.id)
    ann.refused(10, MsgId.ONE_CHAT, toid=bob.id, msg="hi")


def test_a_block_that_comes_while_it_is_looked_up_counts_from_then_on(
    world: World, ann: Person, bob: Person
) -> None:
    world.switching(lambda: None, lambda: bob.ok(MsgId.BLOCK, userid=ann.id))
    ann.send(MsgId.ONE_CHAT, toid=bob.id, msg="hi")
    ann.refused(10, MsgId.ONE_CHAT, toid=bob.id, msg="hi")


def test_who_is_blocked_finds_the_blocker_and_sees_them_offline_everywhere(
    world: World, ann: Person, bob: Person
) -> None:
    groupid = bob.group("g", ann)
    bob.ok(MsgId.BLOCK, userid=ann.id)
    assert state(ann, bob) == "offline"
    assert ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)["friend"]["state"] == "offline"
    users = ann.ok(MsgId.GROUP_INFO, groupid=groupid)["users"]
    assert [(user["name"], user["state"]) for user in users] == [("ann", "online"), ("bob", "offline")]
    ann.leave()
    ack = world.log_in(ann).ack
    assert ack["friends"][0]["state"] == "offline"
    assert ack["groups"][0]["users"][1]["state"] == "offline"
    assert state(bob, ann) == "online"


def test_blocks_hold_across_a_restart(world: World, ann: Person, bob: Person) -> None:
    bob.ok(MsgId.BLOCK, userid=ann.id)
    world.restart()
    world.log_in(ann).refused(10, MsgId.ONE_CHAT, toid=bob.id, msg="hi")


def test_unblocking_whom_one_has_not_blocked_is_nothing(ann: Person, bob: Person) -> None:
    ann.ok(MsgId.UNBLOCK, userid=bob.id)
    ann.ok(MsgId.UNBLOCK, userid=99)
    assert bob.pushed() == []


def test_find_shows_a_user_or_a_group_by_its_exact_name(ann: Person, bob: Person) -> None:
    groupid = bob.ok(MsgId.CREATE_GROUP, groupname="g", groupdesc="of one")["groupid"]
    assert ann.ok(MsgId.FIND, name=" bob ")["user"] == {"id": bob.id, "name": "bob", "state": "online"}
    reply = ann.ok(MsgId.FIND, groupname=" g ")
    assert reply["group"] == {"id": groupid, "groupname": "g", "groupdesc": "of one", "count": 1}
    assert "user" not in reply
    for name in ("Bob", "bo", "bob%", "g"):
        ann.refused(6, MsgId.FIND, name=name)
    ann.refused(7, MsgId.FIND, groupname="bob")

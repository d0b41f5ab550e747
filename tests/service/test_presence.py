"""PRESENCE: who is told that somebody came or went, and how often."""

from __future__ import annotations

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.world import Person, World, presence


@pytest.fixture
def follower(ann: Person, bob: Person) -> Person:
    """Ann, who has bob as a friend."""
    ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    return ann


def test_who_has_a_friend_sees_them_go_and_come(
    world: World, follower: Person, bob: Person, cem: Person
) -> None:
    bob.leave()
    world.commit()
    assert follower.pushed() == [{"msgid": 23, "id": bob.id, "state": "offline"}]
    again = world.log_in(bob)
    assert presence(follower) == [(bob.id, "online")]
    again.ok(MsgId.LOGINOUT)
    assert presence(follower) == [(bob.id, "offline")]
    assert presence(cem) == presence(again) == []


def test_the_friend_does_not_see_the_follower(world: World, follower: Person, bob: Person) -> None:
    follower.leave()
    world.log_in(follower)
    assert presence(bob) == []


def test_only_the_first_device_comes_and_only_the_last_goes(
    world: World, follower: Person, bob: Person
) -> None:
    phone = world.log_in(bob, device="phone")
    bob.leave()
    assert presence(follower) == []
    phone.leave()
    assert presence(follower) == [(bob.id, "offline")]


def test_a_replaced_connection_is_no_coming_or_going(world: World, follower: Person, bob: Person) -> None:
    world.log_in(bob, force=True)
    bob.leave()
    assert presence(follower) == []


def test_all_devices_of_the_follower_are_told_and_none_of_the_friends(
    world: World, follower: Person, bob: Person
) -> None:
    phone = world.log_in(follower, device="phone")
    tablet = world.log_in(bob, device="tablet")
    tablet.pushed()
    tablet.leave()
    bob.leave()
    assert presence(follower) == presence(phone) == [(bob.id, "offline")]


def test_who_is_blocked_sees_the_blocker_go_offline_at_once_and_stay_so(
    world: World, follower: Person, bob: Person
) -> None:
    bob.ok(MsgId.BLOCK, userid=follower.id)
    assert presence(follower) == [(bob.id, "offline")]
    bob.ok(MsgId.BLOCK, userid=follower.id)
    bob.leave()
    bob = world.log_in(bob)
    assert presence(follower) == []
    bob.ok(MsgId.UNBLOCK, userid=follower.id)
    assert presence(follower) == [(bob.id, "online")]
    bob.ok(MsgId.UNBLOCK, userid=follower.id)
    assert presence(follower) == []


def test_blocking_a_stranger_tells_them_nothing(ann: Person, bob: Person) -> None:
    bob.ok(MsgId.BLOCK, userid=ann.id)
    bob.ok(MsgId.UNBLOCK, userid=ann.id)
    assert ann.pushed() == []


def test_a_removed_friend_is_seen_no_more(follower: Person, bob: Person) -> None:
    follower.ok(MsgId.REMOVE_FRIEND, friendid=bob.id)
    bob.leave()
    assert presence(follower) == []


@pytest.mark.parametrize("where", range(12))
def test_a_friend_who_goes_while_one_logs_in_is_shown_offline_in_the_end(
    world: World, follower: Person, bob: Person, where: int
) -> None:
    follower.leave()
    world.switching(*[lambda: None] * where, bob.leave)
    again = world.log_in(follower)
    world.runner.hooks.clear()
    if bob.peer.closed is None:
        return  # there were no more switches
    (shown,) = [friend["state"] for friend in again.ack["friends"]]
    assert [shown, *[state for _, state in presence(again)]][-1] == "offline"


def test_who_goes_while_the_database_is_away_is_told_of_when_it_is_back(
    world: World, follower: Person, bob: Person
) -> None:
    world.runner.broken.add("read")
    bob.leave()
    world.commit()
    assert presence(follower) == []
    world.runner.broken.clear()
    world.commit()
    assert presence(follower) == [(bob.id, "offline")]


def test_nobody_is_told_while_the_node_stops(world: World, follower: Person, bob: Person) -> None:
    world.service.draining = True
    bob.leave()
    assert presence(follower) == []


def test_a_login_that_fails_tells_nobody(world: World, follower: Person, bob: Person) -> None:
    bob.leave()
    assert presence(follower) == [(bob.id, "offline")]
    world.runner.broken.add("write")
    world.connect().refused(13, MsgId.LOGIN, id=bob.id, password="pw")
    world.runner.broken.clear()
    assert presence(follower) == []


@pytest.mark.parametrize("look", [MsgId.FIND, MsgId.GROUP_INFO, MsgId.ADD_GROUP])
def test_who_is_blocked_is_told_though_they_looked_the_blocker_up_before_that(
    world: World, follower: Person, bob: Person, look: int
) -> None:
    groupid = bob.group("g", *[follower] * (look == MsgId.GROUP_INFO))
    follower.pushed()
    bob.put(MsgId.BLOCK, userid=follower.id)
    follower.put(look, **({"name": "bob"} if look == MsgId.FIND else {"groupid": groupid}))
    world.commit()
    assert presence(follower) == [(bob.id, "offline")]
    bob.put(MsgId.UNBLOCK, userid=follower.id)
    follower.put(MsgId.FIND, name="bob")
    world.commit()
    assert presence(follower) == [(bob.id, "online")]


@pytest.mark.parametrize("where", range(10))
def test_a_block_is_told_though_an_answer_that_came_too_late_for_its_client_knew_of_it(
    world: World, follower: Person, bob: Person, where: int
) -> None:
    again: list[Person] = []

    def come_again_and_be_blocked() -> None:
        again.append(world.log_in(follower, force=True))
        bob.put(MsgId.BLOCK, userid=follower.id)

    world.service.blockers.clear()
    world.switching(*[lambda: None] * where, come_again_and_be_blocked)
    follower.put(MsgId.ADD_FRIEND, friendid=bob.id)
    world.runner.hooks.clear()
    if again:
        assert again[0].ack["friends"] == [{"id": bob.id, "name": "bob", "state": "online"}]
        assert presence(again[0]) == [(bob.id, "offline")]


def test_a_reading_of_followers_that_fails_for_no_known_reason_is_tried_again(
    world: World, follower: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(world.store, "followers", None)
        bob.leave()
        with pytest.raises(TypeError):
            world.commit()
    world.commit()
    assert presence(follower) == [(bob.id, "offline")]

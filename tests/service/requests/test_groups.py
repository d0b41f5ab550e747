"""CREATE_GROUP, ADD_GROUP, LEAVE_GROUP, GROUP_INFO, and who belongs while things change."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.world import Person, World


def roles(person: Person, groupid: int) -> dict[str, str]:
    """Return who has which role in a group."""
    return {user["name"]: user["role"] for user in person.ok(MsgId.GROUP_INFO, groupid=groupid)["users"]}


def test_a_created_group_has_its_creator(ann: Person) -> None:
    groupid = ann.ok(MsgId.CREATE_GROUP, groupname=" g ", groupdesc="d" * 200)["groupid"]
    reply = ann.ok(MsgId.GROUP_INFO, groupid=groupid)
    assert reply["group"] == {
        "id": groupid,
        "groupname": "g",
        "groupdesc": "d" * 200,
        "count": 1,
        "role": "creator",
    }
    assert reply["users"] == [{"id": ann.id, "name": "ann", "state": "online", "role": "creator"}]
    assert reply["more"] is False


def test_a_group_name_is_taken_once_and_compared_exactly(ann: Person, bob: Person) -> None:
    ann.group("Gruppe")
    for name in ("Gruppe", " Gruppe "):
        bob.refused(9, MsgId.CREATE_GROUP, groupname=name)
    for name in ("gruppe", "Grüppe", "G"):
        bob.group(name)


def test_joining_shows_the_group_as_login_ack_does(world: World, ann: Person, bob: Person) -> None:
    groupid = ann.group("g")
    group = bob.ok(MsgId.ADD_GROUP, groupid=groupid)["group"]
    assert (group["count"], group["role"]) == (2, "normal")
    assert [(user["name"], user["role"], user["state"]) for user in group["users"]] == [
        ("ann", "creator", "online"),
        ("bob", "normal", "online"),
    ]
    bob.leave()
    assert world.log_in(bob).ack["groups"] == [group]


def test_joining_twice_is_once(ann: Person, bob: Person) -> None:
    groupid = ann.group("g", bob)
    ann.say(groupid)
    assert bob.ok(MsgId.ADD_GROUP, groupid=groupid)["group"]["count"] == 2
    assert [entry["seq"] for entry in bob.history(groupid=groupid)] == [1]


def test_a_user_is_in_no_more_groups_than_the_limit(make_world: Callable[..., World]) -> None:
    world = make_world(max_groups=2)
    ann, bob = world.users("ann", "bob")
    first, third = ann.group("a"), bob.group("c")
    ann.group("b")
    ann.refused(14, MsgId.ADD_GROUP, groupid=third)
    ann.refused(14, MsgId.CREATE_GROUP, groupname="d")
    ann.ok(MsgId.ADD_GROUP, groupid=first)
    ann.ok(MsgId.LEAVE_GROUP, groupid=first)
    ann.ok(MsgId.ADD_GROUP, groupid=third)


NEEDS_A_GROUP: list[tuple[int, dict[str, Any]]] = [
    (MsgId.GROUP_CHAT, {"msg": "hi"}),
    (MsgId.LEAVE_GROUP, {}),
    (MsgId.GROUP_INFO, {}),
    (MsgId.HISTORY, {}),
    (MsgId.RECALL, {"target": 1}),
]


@pytest.mark.parametrize(("msgid", "fields"), NEEDS_A_GROUP)
def test_a_group_that_is_not_there_or_not_ones_own(
    ann: Person, bob: Person, msgid: int, fields: dict[str, Any]
) -> None:
    groupid = ann.group("g", bob)
    ann.say(groupid)
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    bob.refused(8, msgid, groupid=groupid, **fields)
    bob.refused(7, msgid, groupid=99, **fields)
    bob.refused(7, MsgId.ADD_GROUP, groupid=99)


def test_who_joined_at_another_node_is_believed_before_word_of_it_has_come(
    world: World, ann: Person, bob: Person
) -> None:
    world.service.bus.alone = False
    groupid = ann.group("g")
    ann.say(groupid)
    bob.refused(8, MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    world.store.join_group(bob.id, groupid, world.service.now())
    assert bob.say(groupid) == 2


def test_the_longest_standing_member_takes_over_from_a_creator_who_leaves(world: World) -> None:
    ann, bob, cem, dee = world.users("ann", "bob", "cem", "dee")
    groupid = ann.group("g")
    for person in (dee, cem, bob):
        world.time += 1
        person.ok(MsgId.ADD_GROUP, groupid=groupid)
    ann.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    assert roles(bob, groupid) == {"bob": "normal", "cem": "normal", "dee": "creator"}
    cem.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    assert roles(bob, groupid) == {"bob": "normal", "dee": "creator"}
    ann.ok(MsgId.ADD_GROUP, groupid=groupid)
    assert roles(bob, groupid)["ann"] == "normal"


def test_who_joins_an_empty_group_becomes_its_creator(ann: Person, bob: Person) -> None:
    groupid = ann.group("g")
    ann.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    bob.refused(8, MsgId.GROUP_INFO, groupid=groupid)
    assert bob.ok(MsgId.ADD_GROUP, groupid=groupid)["group"]["role"] == "creator"


def test_group_info_pages_through_the_members_by_id(world: World) -> None:
    people = world.users(*[f"u{number}" for number in range(7)])
    groupid = people[0].group("g", *reversed(people[1:]))
    seen: list[int] = []
    mores: list[bool] = []
    after = 0
    while not mores or mores[-1]:
        page = people[0].ok(MsgId.GROUP_INFO, groupid=groupid, after=after, limit=3)
        assert page["group"]["count"] == 7
        seen += [user["id"] for user in page["users"]]
        after = seen[-1]
        mores.append(page["more"])
    assert seen == [person.id for person in people]
    assert mores == [True, True, False]


def test_a_member_hears_the_group_from_joining_on_and_again_from_joining_again(
    world: World, ann: Person, bob: Person
) -> None:
    groupid = ann.group("g")
    ann.say(groupid, "1")
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    ann.say(groupid, "2")
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    ann.say(groupid, "3")
    assert bob.live() == [2]
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    ann.say(groupid, "4")
    assert bob.live() == [4]
    assert [entry["msg"] for entry in bob.history(groupid=groupid)] == ["4"]
    bob.leave()
    ann.say(groupid, "5")
    assert [entry["msg"] for entry in world.log_in(bob).ack["offlinemsg"]] == ["4", "5"]


def test_who_joins_and_speaks_first_hears_the_answer(ann: Person, bob: Person) -> None:
    groupid = ann.group("g", bob)
    bob.say(groupid)
    ann.say(groupid)
    assert bob.live() == [2]


def test_all_of_a_users_devices_join_and_leave_with_them(world: World, ann: Person, bob: Person) -> None:
    phone = world.log_in(bob, device="phone")
    groupid = ann.group("g", bob)
    ann.say(groupid)
    assert bob.live() == phone.live() == [1]
    phone.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    ann.say(groupid)
    assert bob.live() == phone.live() == []


def test_memberships_hold_across_a_restart(world: World, ann: Person, bob: Person, cem: Person) -> None:
    groupid = ann.group("g", bob, cem)
    cem.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    world.restart()
    ann, bob, cem = world.log_in(ann), world.log_in(bob), world.log_in(cem)
    ann.say(groupid)
    assert bob.live() == [1]
    assert cem.live() == []


# -- While the store is read


def test_what_is_said_while_somebody_joins_reaches_them_once(world: World, ann: Person, bob: Person) -> None:
    for where in range(8):
        groupid = ann.group(f"g{where}")
        world.switching(*[lambda: None] * where, partial(ann.say, groupid))
        bob.ok(MsgId.ADD_GROUP, groupid=groupid)
        world.runner.hooks.clear()
        ann.say(groupid)
        seqs = bob.live()
        assert seqs in ([1, 2], [2]), f"spoken at switch {where}"
        assert len(seqs) == len(bob.history(groupid=groupid))


def test_who_leaves_while_the_members_are_read_hears_nothing_more(
    world: World, ann: Person, bob: Person
) -> None:
    groupid = ann.group("g", bob)
    world.restart()
    ann, bob = world.log_in(ann), world.log_in(bob)
    world.switching(lambda: None, lambda: bob.ok(MsgId.LEAVE_GROUP, groupid=groupid))
    ann.send(MsgId.GROUP_CHAT, groupid=groupid, msg="read while bob leaves")
    bob.pushed()
    ann.say(groupid)
    assert bob.live() == []
    bob.refused(8, MsgId.GROUP_CHAT, groupid=groupid, msg="hi")


def test_who_joins_while_the_members_are_read_hears_all(world: World, ann: Person, bob: Person) -> None:
    groupid = ann.group("g")
    world.restart()
    ann, bob = world.log_in(ann), world.log_in(bob)
    world.switching(lambda: None, lambda: bob.ok(MsgId.ADD_GROUP, groupid=groupid))
    ann.send(MsgId.GROUP_CHAT, groupid=groupid, msg="read while bob joins")
    bob.pushed()
    ann.say(groupid)
    assert bob.live() == [2]


def test_a_device_that_logs_in_while_another_joins_gets_login_ack_first_and_nothing_twice(
    world: World, ann: Person, bob: Person
) -> None:
    for where in range(12):
        groupid = ann.group(f"g{where}")

        def join_and_hear(groupid: int = groupid) -> None:
            world.switching(lambda: None, lambda: None, lambda: ann.say(groupid))
            bob.ok(MsgId.ADD_GROUP, groupid=groupid)

        phone = world.connect()
        world.switching(*[lambda: None] * where, join_and_hear)
        phone.send(MsgId.LOGIN, id=bob.id, password="pw", device="phone")
        world.runner.hooks.clear()
        if "bob" not in roles(ann, groupid):
            return  # there were no more switches
        ann.say(groupid)
        first, *rest = phone.pushed()
        assert first["msgid"] == MsgId.LOGIN_ACK, f"joined at switch {where}"
        seqs = [entry["seq"] for entry in [*first["offlinemsg"], *rest] if entry.get("groupid") == groupid]
        assert seqs == sorted(set(seqs)), f"joined at switch {where}"
        phone.leave()


def test_a_group_that_was_joined_while_the_database_failed_is_heard_after_a_second_try(
    world: World, ann: Person, bob: Person
) -> None:
    def speak_and_break() -> None:
        ann.say(groupid)
        world.runner.broken.add("read")

    groupid = ann.group("g")
    world.switching(speak_and_break)
    bob.refused(13, MsgId.ADD_GROUP, groupid=groupid)
    world.runner.broken.clear()
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    ann.say(groupid)
    assert bob.live() == [entry["seq"] for entry in bob.history(groupid=groupid)] != []


def test_who_has_left_is_given_no_page_of_the_group_any_more(world: World, ann: Person, bob: Person) -> None:
    groupid = ann.group("g", bob)
    bob.leave()
    for _ in range(201):
        ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    world.commit()
    bob = world.log_in(bob)
    assert bob.ack["more"]
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    page = bob.ok(MsgId.SYNC)
    assert (page["offlinemsg"], page["more"]) == ([], False)

"""REG, LOGIN, LOGINOUT, CHANGE_PASSWORD, and the devices that log in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.world import Person, World

NAMES = [
    ("ann", "ann"),
    ("  ann\u00a0\u3000", "ann"),
    ("e\u0301", "\u00e9"),
    ("N" * 50, "N" * 50),
    (" " + "N" * 50 + " ", "N" * 50),
    ("e\u0301" * 50, "\u00e9" * 50),
    ("\U0001f600 李", "\U0001f600 李"),
    ('\'; DROP TABLE "User"; --', '\'; DROP TABLE "User"; --'),
]
BAD_NAMES = [
    ("", 3),
    (" \u3000", 3),
    ("a\x00b", 3),
    ("ann\n", 3),
    ("a\x7fb", 3),
    ("a\x85b", 3),
    ("N" * 51, 12),
]


@pytest.mark.parametrize(("name", "kept"), NAMES)
def test_a_name_is_kept_in_nfc_without_blanks_at_its_ends(world: World, name: str, kept: str) -> None:
    person = world.connect()
    ack = person.ok(MsgId.REG, name=name, password="pw")
    assert (ack["msgid"], ack["name"]) == (MsgId.REG_ACK, kept)
    assert person.login(name=name)["name"] == kept
    assert person.ok(MsgId.FIND, name=name)["user"] == {"id": ack["id"], "name": kept, "state": "online"}


@pytest.mark.parametrize(("name", "errno"), BAD_NAMES)
def test_a_name_that_cannot_be_is_refused(world: World, name: str, errno: int) -> None:
    assert "name" in world.connect().refused(errno, MsgId.REG, name=name, password="pw")["errmsg"]


@pytest.mark.parametrize(("password", "errno"), [("", 3), ("p" * 129, 12)])
def test_a_password_has_1_to_128_characters(world: World, password: str, errno: int) -> None:
    person = world.connect()
    assert "password" in person.refused(errno, MsgId.REG, name="ann", password=password)["errmsg"]
    person.ok(MsgId.REG, name="ann", password="p" * 128)
    assert person.refused(errno, MsgId.LOGIN, name="ann", password=password)
    person.login(name="ann", password="p" * 128)


def test_a_name_is_taken_once_and_others_that_look_like_it_are_free(world: World) -> None:
    person = world.connect()
    ids = [
        person.ok(MsgId.REG, name=name, password="pw")["id"]
        for name in ("ann", "Ann", "änn", "a\U0001f600", "a\U0001f601")
    ]
    assert len(set(ids)) == 5
    for taken in ("ann", " ann ", "a\u0308nn"):
        assert person.refused(1, MsgId.REG, name=taken, password="other")["error"] == "name_taken"


def test_registering_does_not_log_in_and_a_user_who_is_logged_in_cannot_register(world: World) -> None:
    person = world.connect()
    person.ok(MsgId.REG, name="ann", password="pw")
    person.refused(5, MsgId.SYNC)
    person.login(name="ann")
    person.refused(16, MsgId.REG, name="bob", password="pw")


def test_login_ack_says_all_that_the_protocol_lists(world: World) -> None:
    ann = world.user("ann")
    assert ann.ack.keys() == {
        "msgid", "errno", "cid", "id", "name", "token", "heartbeat", "server",
        "friends", "groups", "offlinemsg", "more",
    }  # fmt: skip
    assert ann.ack["msgid"] == MsgId.LOGIN_ACK
    assert ann.ack["heartbeat"] == {"interval": 1.0, "max_missed": 5}
    assert (ann.ack["server"], ann.ack["friends"], ann.ack["groups"]) == ("n", [], [])
    assert (ann.ack["offlinemsg"], ann.ack["more"]) == ([], False)


def test_login_ack_shows_friends_and_groups_with_states_and_roles(world: World) -> None:
    ann, bob, cem = world.users("ann", "bob", "cem")
    ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    ann.ok(MsgId.ADD_FRIEND, friendid=cem.id)
    groupid = bob.group("g", ann)
    cem.leave()
    ann.leave()
    ack = world.log_in(ann).ack
    assert ack["friends"] == [
        {"id": bob.id, "name": "bob", "state": "online"},
        {"id": cem.id, "name": "cem", "state": "offline"},
    ]
    (group,) = ack["groups"]
    users = group.pop("users")
    assert group == {"id": groupid, "groupname": "g", "groupdesc": "", "count": 2, "role": "normal"}
    assert users == [
        {"id": ann.id, "name": "ann", "state": "online", "role": "normal"},
        {"id": bob.id, "name": "bob", "state": "online", "role": "creator"},
    ]


def test_groups_show_their_users_up_to_100_members(world: World) -> None:
    people = world.users(*[f"u{number}" for number in range(101)])
    groupid = people[0].group("g", *people[1:100])
    people[1].leave()
    assert len(world.log_in(people[1]).ack["groups"][0]["users"]) == 100
    assert "users" not in people[100].ok(MsgId.ADD_GROUP, groupid=groupid)["group"]
    people[2].leave()
    (group,) = world.log_in(people[2]).ack["groups"]
    assert group["count"] == 101
    assert "users" not in group


def test_login_ack_of_the_most_that_a_user_may_have_fits_a_frame() -> None:
    """``users`` are left out where the frame would pass 1 MiB."""
    world = World(None)
    people = world.users(*[f"{number:\U0001f600>50}" for number in range(100)])
    for number in range(45):
        groupid = people[0].group(f"{number:\U0001f600>50}")
        for person in people[1:]:
            world.store.join_group(person.id, groupid, world.service.now())
    for _ in range(20):
        people[1].chat(people[0], "\U0001f600" * 4_096)
    people[0].leave()
    person = world.log_in(people[0])
    assert len(person.peer.raw[0]) <= 1_048_576
    assert len(person.ack["groups"]) == 45
    assert all("users" not in group for group in person.ack["groups"])
    assert len(person.sync_all()) == 20
    world.close()


BAD_LOGINS = [
    ({}, 3),
    ({"password": "pw"}, 3),
    ({"name": "ann"}, 3),
    ({"name": "ann", "id": 1, "password": "pw"}, 3),
    ({"name": "ann", "id": 1, "token": "t"}, 3),
    ({"name": "ann", "password": "pw", "token": "t"}, 3),
    ({"id": "1", "password": "pw"}, 3),
    ({"id": 0, "password": "pw"}, 3),
    ({"id": 2**31, "password": "pw"}, 3),
    ({"id": 1.5, "password": "pw"}, 3),
    ({"id": True, "password": "pw"}, 3),
    ({"id": 1, "password": 7}, 3),
    ({"id": 1, "password": "pw", "device": "a\x01b"}, 3),
    ({"id": 1, "password": "pw", "device": None}, 3),
    ({"id": 1, "password": "pw", "device": "d" * 37}, 12),
    ({"id": 1, "password": "pw", "force": "yes"}, 3),
    ({"id": 1, "password": "PW"}, 1),
    ({"id": 2**31 - 1, "password": "pw"}, 1),
    ({"name": "Ann", "password": "pw"}, 1),
    ({"name": "bob", "password": "pw"}, 1),
    ({"token": "nonsense"}, 1),
]


@pytest.mark.parametrize(("fields", "errno"), BAD_LOGINS)
def test_a_login_that_is_wrong_is_refused_and_the_connection_stays(
    world: World, fields: dict[str, object], errno: int
) -> None:
    world.absent("ann")
    person = world.connect()
    reply = person.refused(errno, MsgId.LOGIN, **fields)
    assert errno != 1 or reply["error"] == "bad_credentials"
    assert person.peer.closed is None
    person.login(name="ann")


def test_a_second_login_of_a_device_is_refused(world: World) -> None:
    ann = world.user("ann")
    world.connect().refused(2, MsgId.LOGIN, id=ann.id, password="pw")
    world.connect().refused(1, MsgId.LOGIN, id=ann.id, password="wrong")
    assert ann.peer.closed is None


def test_force_replaces_the_other_connection_of_the_device(world: World) -> None:
    ann, bob = world.users("ann", "bob")
    phone = world.log_in(ann, device="phone")
    again = world.log_in(ann, force=True)
    assert (ann.peer.closed, phone.peer.closed, again.peer.closed) == ("replaced", None, None)
    ann.leave()
    bob.chat(ann)
    assert again.live() == phone.live() == [1]


def test_a_login_on_a_connection_that_is_logged_in_is_refused(world: World) -> None:
    ann = world.user("ann")
    world.absent("bob")
    ann.refused(16, MsgId.LOGIN, name="bob", password="pw")
    assert ann.ok(MsgId.FIND, name="bob")["user"]["state"] == "offline"


def test_after_loginout_the_connection_can_log_in_again_as_anybody(world: World) -> None:
    ann, bob = world.users("ann", "bob")
    bob.leave()
    assert ann.ok(MsgId.LOGINOUT)["re"] == MsgId.LOGINOUT
    ann.refused(5, MsgId.SYNC)
    ann.login(name="bob")
    assert world.log_in(1).ack["name"] == "ann"


def test_messages_do_not_reach_who_has_logged_out(world: World) -> None:
    ann, bob = world.users("ann", "bob")
    bob.ok(MsgId.LOGINOUT)
    ann.chat(bob)
    assert bob.live() == []
    assert [entry["seq"] for entry in bob.login(name="bob")["offlinemsg"]] == [1]


def test_change_password_wants_the_old_one_and_a_new_one_within_the_limits(world: World, ann: Person) -> None:
    assert ann.refused(1, MsgId.CHANGE_PASSWORD, old="wrong", new="new")["error"] == "bad_credentials"
    assert "new" in ann.refused(3, MsgId.CHANGE_PASSWORD, old="pw", new="")["errmsg"]
    assert "new" in ann.refused(12, MsgId.CHANGE_PASSWORD, old="pw", new="p" * 129)["errmsg"]
    ann.leave()
    world.log_in(ann)


def test_a_changed_password_ends_the_users_other_sessions(world: World, ann: Person, bob: Person) -> None:
    phone = world.log_in(ann, device="phone")
    ann.ok(MsgId.CHANGE_PASSWORD, old="pw", new="new")
    assert (ann.peer.closed, phone.peer.closed, bob.peer.closed) == (None, "replaced", None)
    phone.session.closed("replaced")
    world.connect().refused(1, MsgId.LOGIN, id=ann.id, password="pw", device="phone")
    world.log_in(ann, password="new", device="phone")
    bob.chat(ann)
    assert ann.live() == [1]


def test_a_password_is_not_changed_for_who_was_replaced_meanwhile(world: World, ann: Person) -> None:
    """Verifying and hashing take a while, and in it the same device may have logged in again."""
    again = world.connect()
    world.passwords.hooks.append(lambda: again.login(id=ann.id, force=True))
    ann.put(MsgId.CHANGE_PASSWORD, old="pw", new="new")
    assert again.peer.closed is None
    again.leave()
    world.log_in(ann)


def test_a_login_that_began_with_the_old_password_does_not_outlive_its_change(
    world: World, ann: Person
) -> None:
    """Verifying takes a while, and in it the password may change."""
    world.passwords.hooks.append(lambda: ann.ok(MsgId.CHANGE_PASSWORD, old="pw", new="new"))
    thief = world.connect()
    thief.send(MsgId.LOGIN, id=ann.id, password="pw", device="theirs")
    assert thief.peer.closed == "replaced" or thief.peer.frames[-1]["errno"] == 1


def test_a_login_that_began_with_an_old_token_does_not_outlive_the_change(world: World, ann: Person) -> None:
    stolen = world.log_in(ann, device="theirs")
    stolen.leave()
    thief = world.connect()
    world.switching(lambda: None, lambda: ann.ok(MsgId.CHANGE_PASSWORD, old="pw", new="new"))
    thief.send(MsgId.LOGIN, token=stolen.token, device="theirs")
    assert thief.peer.closed == "replaced" or thief.peer.frames[-1]["errno"] == 1


# -- Devices


def test_a_user_may_be_online_with_8_devices_and_force_does_not_help_the_ninth(
    world: World, ann: Person
) -> None:
    others = [world.log_in(ann, device=f"d{number}") for number in range(7)]
    entries = world.service.hub.logins
    for force in (False, True):
        world.connect().refused(14, MsgId.LOGIN, id=ann.id, password="pw", device="ninth", force=force)
    assert world.service.hub.logins == entries  # it was never there, not even for a moment
    world.log_in(ann, device="d3", force=True)
    assert [other.peer.closed for other in others].count("replaced") == 1
    others[0].leave()
    world.log_in(ann, device="ninth")


def test_16_devices_are_remembered_and_the_longest_unused_is_forgotten(
    world: World, ann: Person, bob: Person
) -> None:
    tokens = {}
    for number in range(16):
        world.time += 10
        device = world.log_in(ann, device=f"d{number}")
        tokens[number] = device.token
        device.leave()
    world.time += 10
    world.connect().refused(1, MsgId.LOGIN, token=tokens[0], device="d0")
    ann.chat(bob)
    world.connect().login(token=tokens[1], device="d1")
    assert ann.peer.closed is None  # online, so not forgotten, however long ago it logged in
    world.time += 10
    forgotten = world.log_in(ann, device="d0")
    assert forgotten.sync_all() == []  # it starts where the most advanced one stands


def test_a_forgotten_devices_tokens_stay_ended_when_it_comes_back_at_once(
    make_world: Callable[..., World],
) -> None:
    world = make_world(max_devices=1)
    old = world.user("ann", device="old")
    old.leave()
    world.log_in(old, device="new").leave()
    world.log_in(old, device="old").leave()
    world.connect().refused(1, MsgId.LOGIN, token=old.token, device="old")


def test_a_login_that_fails_on_the_way_leaves_the_device_free(world: World) -> None:
    ann = world.absent("ann")
    world.runner.broken.add("write")
    world.connect().refused(13, MsgId.LOGIN, id=ann.id, password="pw")
    world.runner.broken.clear()
    world.log_in(ann)


def test_force_does_not_count_for_a_client_that_has_gone(world: World) -> None:
    ann = world.user("ann")
    late = world.connect()
    late.peer.present = False
    late.refused(2, MsgId.LOGIN, name="ann", password="pw", force=True)
    assert ann.peer.closed is None
    ann.leave()
    late.login(name="ann", force=True)

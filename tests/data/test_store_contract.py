"""The contract of ports.Store; each backend runs it by a subclass of a few lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy import text as sql

from greenchat.data import Inline, SqlStore, open_store
from greenchat.data.engine.sqlite import SqliteStatements
from greenchat.errors import (
    AlreadyOnline,
    BadCredentials,
    Blocked,
    Busy,
    CidUsed,
    GroupNameTaken,
    NameTaken,
    NoSuchGroup,
    NoSuchMessage,
    NoSuchUser,
    NotAllowed,
    NotAMember,
)
from greenchat.model.instants import to_instant, to_seconds
from greenchat.model.records import (
    DELETED,
    SHOWN_MEMBERS,
    Account,
    Contact,
    DeviceCheck,
    Failure,
    Follower,
    Group,
    Member,
    NewEntry,
    NewHook,
    Node,
    Span,
    User,
)
from tests.data.shared import NOW, Told, append, pair, recall, text

HERE = Node("here", 1)
THERE = Node("there", 1)
HOSTILE = ["x' OR '1'='1", '"; DROP TABLE "User"; --', "%s ? :name %(a)s {0}", "\\' \\ \x01", "a\u200db"]


def generation(store: SqlStore, userid: int, device: str) -> int | None:
    account = store.account(id=userid, device=device)
    assert account is not None
    return account.generation


def creators(store: SqlStore, groupid: int) -> list[int]:
    return [member.id for member in store.members(groupid, 0, 500) if member.role == "creator"]


def minute(n: int) -> str:
    return f"2026-11-23T{n // 60:02d}:{n % 60:02d}:00.000Z"


class StoreContract:
    """What every store must do."""

    def open(self, tmp_path: Path, **options: Any) -> SqlStore:
        """Return a store, not yet started; of one ``tmp_path`` always the same."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqlStore]:
        store = self.open(tmp_path, max_friends=3, max_groups=3, max_devices=3)
        store.start()
        yield store
        store.close()

    @pytest.fixture
    def users(self, store: SqlStore) -> list[int]:
        return [store.create_user(name, "hash", NOW) for name in ("ann", "bob", "cem", "dee", "eve")]

    # -- what the tests do

    def append(self, store: SqlStore, *messages: NewEntry) -> list[Any]:
        return append(store, *messages)

    def fill(self, store: SqlStore, conversation: int, sender: int, count: int) -> None:
        self.append(store, *[text(conversation, sender, f"m{n}") for n in range(1, count + 1)])

    def rows(self, store: SqlStore, statement: str) -> list[Any]:
        return store.read(lambda db: [tuple(row) for row in db.execute(sql(statement))])

    def state(self, store: SqlStore, userid: int) -> str:
        return str(self.rows(store, f'SELECT state FROM "User" WHERE id = {userid}')[0][0])

    def backlog(self, store: SqlStore, userid: int, device: str = "") -> list[tuple[int, int, int]]:
        return sorted(store.open_device(userid, device, HERE, NOW).backlog)

    # -- settings and accounts

    def test_a_setting_keeps_its_first_value(self, store: SqlStore) -> None:
        assert store.setting("secret", "one") == "one"
        assert store.setting("secret", "two") == "one"

    def test_everything_is_there_after_a_restart(
        self, store: SqlStore, users: list[int], tmp_path: Path
    ) -> None:
        self.fill(store, pair(users[0], users[1]), users[0], 2)
        store.close()
        again = self.open(tmp_path)
        again.start()
        try:
            assert again.user(name="ann") == User(users[0], "ann")
            assert again.head(pair(users[0], users[1])) == 2
        finally:
            again.close()

    def test_an_account_is_found_by_id_and_by_exact_name(self, store: SqlStore) -> None:
        userid = store.create_user("Éva", "hash", NOW)
        assert userid > 0
        assert store.account(id=userid) == store.account(name="Éva") == Account(userid, "Éva", "hash", None)
        assert store.account(id=userid + 1) is None

    @pytest.mark.parametrize("other", ["Eva", "éva", "EVA", "Éva ", "E\u0301va"])
    def test_names_are_compared_exactly(self, store: SqlStore, other: str) -> None:
        store.create_user("Éva", "hash", NOW)
        assert store.account(name=other) is None
        assert store.create_user(other, "hash", NOW)

    def test_emoji_differ_from_one_another(self, store: SqlStore) -> None:
        first, second = store.create_user("🦀", "h", NOW), store.create_user("🦑", "h", NOW)
        assert store.user(name="🦀").id == first != store.user(name="🦑").id == second

    def test_a_name_is_given_once(self, store: SqlStore) -> None:
        store.create_user("ann", "hash", NOW)
        with pytest.raises(NameTaken):
            store.create_user("ann", "hash", NOW)

    def test_a_password_is_changed_and_ends_all_tokens(self, store: SqlStore, users: list[int]) -> None:
        before = {device: store.open_device(users[0], device, HERE, NOW).generation for device in "ab"}
        other = store.open_device(users[1], "a", HERE, NOW).generation
        with pytest.raises(BadCredentials):
            store.set_password(users[0], "not the hash", "new", "a")
        assert generation(store, users[0], "a") == before["a"]
        assert store.set_password(users[0], "hash", "new", "a") == before["a"] + 1
        account = store.account(id=users[0])
        assert account
        assert account.password == "new"
        assert all(generation(store, users[0], device) != before[device] for device in "ab")
        assert generation(store, users[1], "a") == other

    def test_the_tokens_of_one_device_are_ended(self, store: SqlStore, users: list[int]) -> None:
        first = store.open_device(users[0], "a", HERE, NOW).generation
        kept = store.open_device(users[0], "b", HERE, NOW).generation
        assert generation(store, users[0], "a") == first
        store.end_tokens(users[0], "a")
        assert generation(store, users[0], "a") == first + 1
        assert store.open_device(users[0], "a", HERE, NOW).generation == first + 1
        assert generation(store, users[0], "b") == kept
        assert generation(store, users[0], "none") is None

    def test_a_forgotten_device_never_takes_its_old_tokens(self, store: SqlStore, users: list[int]) -> None:
        old = store.open_device(users[0], "a", HERE, minute(0)).generation
        store.close_device(users[0], "a", HERE, minute(1))
        for n, device in enumerate("bcd"):
            store.open_device(users[0], device, HERE, minute(2 + n))
            store.close_device(users[0], device, HERE, minute(2 + n))
        assert generation(store, users[0], "a") is None
        assert store.open_device(users[0], "a", HERE, minute(9)).generation != old

    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_sql_in_a_text_is_text(self, store: SqlStore, hostile: str) -> None:
        ann = store.create_user(hostile, hostile, NOW)
        assert store.account(name=hostile) == Account(ann, hostile, hostile, None)
        group = store.create_group(ann, hostile, hostile, NOW)
        assert store.group(ann, name=hostile) == Group(group, hostile, hostile, 1, "creator")
        assert self.append(store, text(-group, ann, hostile, hostile)) == [(1, NOW, False)]
        assert self.append(store, text(-group, ann, hostile, hostile)) == [(1, NOW, True)]
        assert store.entry(-group, 1).body == hostile
        store.open_device(ann, hostile, Node(hostile, 1), NOW)
        store.move_cursor(ann, hostile, -group, 1, 0, 0)
        assert self.backlog(store, ann, hostile) == []
        store.close_node(Node(hostile, 1), NOW)
        assert store.setting(hostile, hostile) == hostile

    # -- devices

    def test_a_user_is_online_with_the_first_device_and_offline_with_the_last(
        self, store: SqlStore, users: list[int]
    ) -> None:
        assert self.state(store, users[0]) == "offline"
        store.open_device(users[0], "a", HERE, NOW)
        store.open_device(users[0], "b", THERE, NOW)
        store.close_device(users[0], "b", THERE, NOW)
        store.write_marks()
        assert self.rows(store, f'SELECT state, node FROM "User" WHERE id = {users[0]}') == [
            ("online", "here")
        ]
        store.close_device(users[0], "a", HERE, minute(3))
        store.write_marks()
        assert self.rows(store, f'SELECT state, node, last_seen FROM "User" WHERE id = {users[0]}') == [
            ("offline", None, minute(3))
        ]

    @pytest.mark.parametrize("since", [THERE, Node("here", 2)])
    def test_a_device_that_went_online_elsewhere_stays_so(
        self, store: SqlStore, users: list[int], since: Node
    ) -> None:
        store.open_device(users[0], "a", HERE, NOW)
        store.open_device(users[0], "a", since, NOW)
        store.close_device(users[0], "a", HERE, NOW)
        store.write_marks()
        assert self.state(store, users[0]) == "online"

    def test_a_device_that_closes_and_opens_again_is_online(self, store: SqlStore, users: list[int]) -> None:
        store.open_device(users[0], "a", HERE, NOW)
        store.close_device(users[0], "a", HERE, NOW)
        store.open_device(users[0], "a", HERE, NOW)
        store.write_marks()
        assert self.state(store, users[0]) == "online"

    def test_many_devices_close_at_a_time(self, store: SqlStore) -> None:
        users = [store.create_user(f"u{n}", "h", NOW) for n in range(250)]
        for user in users:
            store.open_device(user, "", HERE, NOW)
        for user in users:
            store.close_device(user, "", HERE, NOW)
        store.write_marks()
        assert self.rows(store, "SELECT COUNT(*) FROM \"User\" WHERE state = 'online'") == [(0,)]

    def test_whom_a_dead_node_left_online_is_marked_offline(self, store: SqlStore, users: list[int]) -> None:
        store.open_device(users[0], "", HERE, NOW)
        store.open_device(users[1], "", THERE, NOW)
        store.open_device(users[2], "a", HERE, NOW)
        store.open_device(users[2], "b", THERE, NOW)
        store.close_node(THERE, minute(5))
        assert [self.state(store, user) for user in users[:3]] == ["online", "offline", "online"]
        assert self.rows(store, f'SELECT last_seen FROM "User" WHERE id = {users[1]}') == [(minute(5),)]
        store.close_node(HERE, NOW)
        assert [self.state(store, user) for user in users[:3]] == ["offline"] * 3

    def test_a_later_incarnation_of_a_node_is_not_closed_with_an_earlier_one(
        self, store: SqlStore, users: list[int]
    ) -> None:
        for user, incarnation in zip(users, (4, 5, 6), strict=False):
            store.open_device(user, "", Node("there", incarnation), NOW)
        assert store.nodes() == [Node("there", 6)]
        store.close_node(Node("there", 5), NOW)
        assert [self.state(store, user) for user in users[:3]] == ["offline", "offline", "online"]

    def test_the_nodes_are_those_that_somebody_is_online_at(self, store: SqlStore, users: list[int]) -> None:
        assert store.nodes() == []
        store.open_device(users[0], "a", HERE, NOW)
        store.open_device(users[0], "b", THERE, NOW)
        store.close_device(users[0], "a", HERE, NOW)
        store.write_marks()
        assert store.nodes() == [THERE]

    def test_a_login_is_told_where_the_device_was(self, store: SqlStore, users: list[int]) -> None:
        def before(device: str, node: Node) -> str | None:
            return store.open_device(users[0], device, node, NOW).before

        assert before("a", HERE) is None
        assert before("a", HERE._replace(incarnation=2)) is None  # the same node, started anew
        assert before("b", THERE) is None
        assert before("a", THERE) == "here"
        store.close_device(users[0], "a", THERE, NOW)
        assert before("a", HERE) is None

    def test_each_login_of_a_device_is_later_than_the_one_before(
        self, store: SqlStore, users: list[int]
    ) -> None:
        """Also when the clock of its node is not."""
        sinces = [
            store.open_device(users[0], "a", node, now).since
            for node in (HERE, THERE)
            for now in (minute(2), minute(2), minute(1), minute(3))
        ]
        assert sinces == sorted(set(sinces))
        assert store.open_device(users[0], "b", HERE, minute(1)).since < sinces[0]

    def test_a_device_can_be_left_to_a_later_login(self, store: SqlStore, users: list[int]) -> None:
        first = store.open_device(users[0], "a", HERE, NOW).since
        second = store.open_device(users[0], "a", THERE, NOW).since
        with pytest.raises(AlreadyOnline):
            store.open_device(users[0], "a", HERE, NOW, if_last=first)
        assert store.nodes() == [THERE]
        assert store.open_device(users[0], "a", HERE, NOW, if_last=second).since > second

    def test_a_device_that_is_online_elsewhere_can_be_left_there(
        self, store: SqlStore, users: list[int]
    ) -> None:
        store.open_device(users[0], "a", THERE, NOW)
        with pytest.raises(AlreadyOnline):
            store.open_device(users[0], "a", HERE, NOW, unless_elsewhere=True)
        assert store.nodes() == [THERE]
        store.open_device(users[0], "b", HERE, NOW, unless_elsewhere=True)
        store.open_device(users[0], "b", HERE, NOW, unless_elsewhere=True)
        store.close_device(users[0], "a", THERE, NOW)
        store.open_device(users[0], "a", HERE, NOW, unless_elsewhere=True)

    def test_a_change_of_the_password_marks_the_other_devices_offline(
        self, store: SqlStore, users: list[int]
    ) -> None:
        store.open_device(users[0], "a", HERE, NOW)
        store.open_device(users[0], "b", THERE, NOW)
        store.set_password(users[0], "hash", "new", "a")
        assert store.check_devices([(users[0], "a")], HERE).lost == {}
        assert store.check_devices([(users[0], "b")], THERE).lost == {(users[0], "b"): None}

    def test_a_look_tells_which_devices_are_not_here(self, store: SqlStore, users: list[int]) -> None:
        store.open_device(users[0], "a", HERE, NOW)
        store.open_device(users[0], "b", THERE, NOW)
        store.open_device(users[1], "", HERE._replace(incarnation=2), NOW)
        asked = [(users[0], "a"), (users[0], "b"), (users[1], ""), (users[2], "never")]
        assert store.check_devices(asked, HERE).lost == {
            (users[0], "b"): "there",
            (users[1], ""): "here",
            (users[2], "never"): None,
        }
        assert store.check_devices([], HERE) == DeviceCheck({}, {})

    def test_a_look_tells_in_which_conversations_something_is_lacking(
        self, store: SqlStore, users: list[int]
    ) -> None:
        ann, bob, cara = users[:3]
        group = store.create_group(bob, "group", "", NOW)
        self.append(store, text(-group, bob, "one"), text(-group, bob, "two"))
        store.join_group(ann, group, NOW)
        for user in (ann, bob):
            store.open_device(user, "a", HERE, NOW)

        def lacking(*devices: tuple[int, str]) -> dict[int, int]:
            return store.check_devices(devices, HERE).heads

        assert lacking((ann, "a")) == {}  # what was before the joining is not ann's
        conversations = [pair(ann, bob), pair(ann, ann), pair(ann, cara), -group]
        self.append(store, *[text(conversation, bob, "hi") for conversation in conversations])
        heads = {conversation: 3 if conversation < 0 else 1 for conversation in conversations}
        assert lacking((ann, "a")) == heads
        assert lacking((bob, "a")) == {pair(ann, bob): 1, -group: 3}
        for conversation, head in heads.items():
            store.move_cursor(ann, "a", conversation, head, 0, 0)
        store.write_marks()
        assert lacking((ann, "a")) == {}
        assert lacking((ann, "a"), (bob, "a")) == {pair(ann, bob): 1, -group: 3}
        assert lacking((ann, "other")) == {}

    def test_a_look_is_good_for_many_devices(self, store: SqlStore) -> None:
        users = [store.create_user(f"u{n}", "h", NOW) for n in range(450)]
        for user in users:
            store.open_device(user, "", HERE, NOW)
        self.append(store, *[text(pair(users[0], user), user, "hi") for user in users])
        look = store.check_devices([(user, "") for user in [*users, 10_000]], HERE)
        assert look.lost == {(10_000, ""): None}
        assert look.heads == {pair(users[0], user): 1 for user in users}

    def test_cursors_are_those_of_the_devices_asked_for(self, store: SqlStore, users: list[int]) -> None:
        ann, bob = users[:2]
        chat = pair(ann, bob)
        self.append(store, *[text(chat, ann, "hi")] * 3)
        for user, device, received in ((ann, "a", 1), (ann, "b", 2), (bob, "a", 3)):
            store.open_device(user, device, HERE, NOW)
            store.move_cursor(user, device, chat, received, 0, 0)
        store.write_marks()
        asked = [(ann, "a"), (bob, "a"), (bob, "b")]
        assert store.cursors(chat, asked) == {(ann, "a"): 1, (bob, "a"): 3}
        assert store.cursors(pair(ann, ann), asked) == {}
        assert store.cursors(chat, []) == {}

    def test_the_longest_unused_device_that_is_offline_is_forgotten(
        self, store: SqlStore, users: list[int]
    ) -> None:
        ann, chat = users[0], pair(users[0], users[1])
        self.fill(store, chat, users[1], 2)
        for n, device in enumerate("abc"):
            store.open_device(ann, device, HERE, minute(n))
        store.move_cursor(ann, "b", chat, 2, 0, 0)
        store.close_device(ann, "c", HERE, minute(4))
        store.close_device(ann, "b", HERE, minute(5))
        assert store.open_device(ann, "d", HERE, minute(6)).backlog == []
        known = self.rows(store, f'SELECT device FROM "Device" WHERE userid = {ann} ORDER BY device')
        assert known == [("a",), ("c",), ("d",)]
        assert self.rows(store, f'SELECT device FROM "Cursor" WHERE userid = {ann}') == [("d",)]

    def test_devices_that_are_online_are_not_forgotten(self, store: SqlStore, users: list[int]) -> None:
        for n, device in enumerate("abcd"):
            store.open_device(users[0], device, HERE, minute(n))
        assert all(generation(store, users[0], device) is not None for device in "abcd")

    def test_a_device_is_remembered_without_coming_online(self, store: SqlStore, users: list[int]) -> None:
        ann, chat = users[0], pair(users[0], users[1])
        self.fill(store, chat, users[1], 5)
        store.open_device(ann, "a", HERE, minute(0))
        store.move_cursor(ann, "a", chat, 4, 0, 0)
        store.close_device(ann, "a", HERE, minute(1))
        account = store.remember_device(ann, "web", minute(2))
        assert account == store.remember_device(ann, "web", minute(3)) == store.account(id=ann, device="web")
        assert account.generation is not None
        assert self.rows(store, f"""SELECT node FROM "Device" WHERE userid = {ann} AND device = 'web'""") == [
            (None,)
        ]
        assert self.backlog(store, ann, "web") == [(chat, 4, 5)]
        assert store.remember_device(ann, "b", minute(4)).generation != account.generation
        store.remember_device(ann, "c", minute(5))  # one more than is remembered
        assert generation(store, ann, "a") is None
        with pytest.raises(BadCredentials):
            store.remember_device(999, "web", minute(6))

    # -- friends

    def test_a_friend_is_added_once_one_sided_and_removed(self, store: SqlStore, users: list[int]) -> None:
        ann, bob = users[:2]
        assert store.add_friend(ann, bob, NOW) == store.add_friend(ann, bob, NOW) == User(bob, "bob")
        assert store.friends(ann) == store.open_device(ann, "", HERE, NOW).friends == [User(bob, "bob")]
        assert store.friends(bob) == []
        store.remove_friend(ann, bob)
        store.remove_friend(ann, bob)
        assert store.friends(ann) == []

    def test_friends_have_a_limit_that_no_friend_counts_twice_for(
        self, store: SqlStore, users: list[int]
    ) -> None:
        for friend in reversed(users[1:4]):
            store.add_friend(users[0], friend, NOW)
        with pytest.raises(NotAllowed):
            store.add_friend(users[0], users[4], NOW)
        store.add_friend(users[0], users[3], NOW)
        assert [friend.id for friend in store.friends(users[0])] == users[1:4]

    def test_who_is_nobody_cannot_be_found_added_or_blocked(self, store: SqlStore, users: list[int]) -> None:
        for call in (
            lambda: store.add_friend(users[0], 999, NOW),
            lambda: store.block(users[0], 999),
            lambda: store.user(id=999),
            lambda: store.user(name="ANN"),
        ):
            with pytest.raises(NoSuchUser):
                call()

    def test_followers_are_those_with_a_device_at_the_node(self, store: SqlStore, users: list[int]) -> None:
        ann, bob, cem, dee, eve = users
        for follower in (bob, cem, dee, eve):
            store.add_friend(follower, ann, NOW)
        store.add_friend(ann, eve, NOW)
        for online in (bob, cem, ann):
            store.open_device(online, "", HERE, NOW)
        store.open_device(bob, "phone", HERE, NOW)
        store.open_device(eve, "", THERE, NOW)
        store.block(ann, cem)
        store.block(bob, ann)
        assert sorted(store.followers([ann, eve, 99], HERE)) == [
            Follower(ann, bob, is_blocked=False),
            Follower(ann, cem, is_blocked=True),
            Follower(eve, ann, is_blocked=False),
        ]
        assert store.followers([ann], THERE) == [Follower(ann, eve, is_blocked=False)]
        assert store.followers([], HERE) == []
        assert sorted(store.followers([ann, *range(100, 110)], HERE)) == sorted(store.followers([ann], HERE))
        assert store.blocked_friends(users) == store.blocked_friends([cem]) == [(ann, cem)]
        assert store.blocked_friends([ann, bob]) == store.blocked_friends([]) == []

    def test_a_block_holds_one_way_until_it_is_undone(self, store: SqlStore, users: list[int]) -> None:
        ann, bob = users[:2]
        store.block(ann, bob)
        store.block(ann, bob)
        assert store.contact(bob, ann) is Contact.BLOCKED
        assert store.contact(ann, bob) is Contact.OPEN
        assert store.contact(ann, 999) is Contact.NO_RECEIVER
        assert store.blockers(bob) == {ann}
        assert store.blockers(ann) == set()
        store.unblock(ann, bob)
        store.unblock(ann, bob)
        assert store.contact(bob, ann) is Contact.OPEN

    # -- groups

    def test_a_group_has_its_creator_and_who_joins(self, store: SqlStore, users: list[int]) -> None:
        ann, bob = users[:2]
        group = store.create_group(bob, "tea", "at five", NOW)
        assert store.join_group(ann, group, NOW).joined == 0
        assert store.group(bob, id=group) == Group(group, "tea", "at five", 2, "creator")
        assert store.group(users[2], name="tea") == Group(group, "tea", "at five", 2, "normal")
        assert store.membership(group) == {ann: 0, bob: 0}
        assert [store.joined(user, group) for user in users[:3]] == [0, 0, None]
        members = [Member(ann, "ann", "normal"), Member(bob, "bob", "creator")]
        assert store.members(group, 0, 10) == members
        assert store.members(group, ann, 10) == members[1:]
        assert store.members(group, 0, 1) == members[:1]
        state = store.open_device(ann, "", HERE, NOW)
        assert state.groups == store.groups(ann) == [Group(group, "tea", "at five", 2, "normal")]
        assert store.groups(users[2]) == []
        assert state.members == {group: members}

    def test_a_login_tells_numbers_from_texts_and_has_all_in_order(self, store: SqlStore) -> None:
        one, two, three = [store.create_user(name, "0", NOW) for name in ("1", "22", "333")]
        for friend in (three, two):
            store.add_friend(one, friend, NOW)
            store.add_friend(friend, one, NOW)
            store.open_device(friend, "", HERE, NOW)
        groups = [store.create_group(three, name, "0", NOW) for name in ("7", "06")]
        for group in reversed(groups):
            store.join_group(one, group, NOW)
        state = store.open_device(one, "", HERE, NOW)
        assert (state.password, type(state.generation), state.before) == ("0", int, None)
        assert state.friends == [(two, "22"), (three, "333")]
        assert state.groups == [(groups[0], "7", "0", 2, "normal"), (groups[1], "06", "0", 2, "normal")]
        members = [Member(one, "1", "normal"), Member(three, "333", "creator")]
        assert state.members == dict.fromkeys(groups, members)

    def test_members_of_large_groups_are_left_out_of_a_login(self, store: SqlStore) -> None:
        users = [store.create_user(f"u{n}", "h", NOW) for n in range(101)]
        group = store.create_group(users[0], "crowd", "", NOW)
        for user in users[1:100]:
            store.join_group(user, group, NOW)
        assert len(store.open_device(users[0], "", HERE, NOW).members[group]) == 100
        store.join_group(users[100], group, NOW)
        assert store.open_device(users[0], "", HERE, NOW).members == {}

    def test_more_members_than_fit_an_answer_are_not_read(self, store: SqlStore, tmp_path: Path) -> None:
        store.close()
        store = self.open(tmp_path, max_groups=200)
        store.start()
        ann = store.create_user("ann", "h", NOW)
        most = SHOWN_MEMBERS // 100
        for number in range(most):
            store.create_group(ann, f"g{number}", "", NOW)
        # The sizes alone count: 15,000 members would take long to make.
        store.write(lambda db: db.execute(sql('UPDATE "AllGroup" SET size = 100')))
        state = store.open_device(ann, "", HERE, NOW)
        assert (len(state.members), state.rows) == (most, 2 * most)
        store.create_group(ann, "one more", "", NOW)
        state = store.open_device(ann, "", HERE, NOW)
        assert (state.members, state.rows) == ({}, most + 1)
        store.close()

    def test_a_groups_name_is_given_once_and_exactly(self, store: SqlStore, users: list[int]) -> None:
        store.create_group(users[0], "tea", "", NOW)
        with pytest.raises(GroupNameTaken):
            store.create_group(users[1], "tea", "", NOW)
        store.create_group(users[1], "Tea", "", NOW)
        with pytest.raises(NoSuchGroup):
            store.group(users[0], name="TEA")

    def test_a_group_that_is_not_there_is_told(self, store: SqlStore, users: list[int]) -> None:
        for call in (
            lambda: store.join_group(users[0], 99, NOW),
            lambda: store.leave_group(users[0], 99),
            lambda: store.group(users[0], id=99),
            lambda: store.membership(99),
            lambda: store.joined(users[0], 99),
        ):
            with pytest.raises(NoSuchGroup):
                call()

    def test_groups_have_a_limit(self, store: SqlStore, users: list[int]) -> None:
        groups = [store.create_group(users[0], f"g{n}", "", NOW) for n in range(3)]
        other = store.create_group(users[1], "other", "", NOW)
        with pytest.raises(NotAllowed):
            store.create_group(users[0], "g4", "", NOW)
        with pytest.raises(NotAllowed):
            store.join_group(users[0], other, NOW)
        assert store.join_group(users[0], groups[0], NOW) == (0, False)

    def test_the_longest_standing_member_takes_over(self, store: SqlStore, users: list[int]) -> None:
        ann, bob, cem = users[:3]
        group = store.create_group(ann, "tea", "", minute(1))
        store.join_group(cem, group, minute(2))
        store.join_group(bob, group, minute(3))
        store.leave_group(ann, group)
        assert creators(store, group) == [cem]
        store.leave_group(bob, group)
        assert creators(store, group) == [cem]
        with pytest.raises(NotAMember):
            store.leave_group(bob, group)

    def test_who_joined_first_takes_over_whatever_the_clock_said(
        self, store: SqlStore, users: list[int]
    ) -> None:
        ann, bob, cem, dee, _ = users
        group = store.create_group(ann, "tea", "", minute(50))
        store.join_group(dee, group, minute(40))  # the clock was put back
        store.join_group(cem, group, minute(30))
        self.fill(store, -group, ann, 1)
        store.join_group(bob, group, minute(10))
        for leaves, heir in ((ann, dee), (dee, cem), (cem, bob)):
            store.leave_group(leaves, group)
            assert creators(store, group) == [heir]

    def test_who_joins_an_empty_group_becomes_its_creator(self, store: SqlStore, users: list[int]) -> None:
        group = store.create_group(users[0], "tea", "", NOW)
        store.leave_group(users[0], group)
        assert store.membership(group) == {}
        store.join_group(users[1], group, NOW)
        assert creators(store, group) == [users[1]]

    def test_who_joins_again_starts_at_the_log_of_then(self, store: SqlStore, users: list[int]) -> None:
        ann, bob = users[:2]
        group = store.create_group(ann, "tea", "", NOW)
        self.fill(store, -group, ann, 2)
        assert store.join_group(bob, group, NOW) == (2, True)
        assert self.backlog(store, bob) == []
        self.fill(store, -group, ann, 1)
        assert store.join_group(bob, group, NOW) == (2, False)
        assert self.backlog(store, bob) == [(-group, 2, 3)]
        store.move_cursor(bob, "", -group, 3, 0, 0)
        store.write_marks()
        store.leave_group(bob, group)
        assert self.backlog(store, bob) == []
        assert self.rows(store, f'SELECT * FROM "Cursor" WHERE userid = {bob}') == []
        self.fill(store, -group, ann, 2)
        assert store.join_group(bob, group, NOW) == (5, True)
        self.fill(store, -group, ann, 1)
        assert self.backlog(store, bob) == [(-group, 5, 6)]

    # -- the log

    def test_seq_has_no_gap_and_keeps_the_order_in_each_conversation(
        self, store: SqlStore, users: list[int]
    ) -> None:
        ann, bob, cem = users[:3]
        chats = [pair(ann, bob), pair(ann, cem), -store.create_group(ann, "g", "", NOW)]
        messages = [text(chats[n % 3], ann, f"m{n}", f"c{n}") for n in range(999)]
        assert [outcome[0] for outcome in self.append(store, *messages)] == [n // 3 + 1 for n in range(999)]
        for place, chat in enumerate(chats):
            entries = store.entries([Span(chat, 0, 333)])
            assert [entry.seq for entry in entries] == list(range(1, 334))
            assert [entry.body for entry in entries] == [f"m{n}" for n in range(place, 999, 3)]
            assert store.head(chat) == 333
        assert store.head(pair(bob, cem)) == 0

    def test_entries_come_in_the_order_of_the_spans(self, store: SqlStore, users: list[int]) -> None:
        ann, bob = users[:2]
        self.fill(store, pair(ann, bob), ann, 3)
        self.fill(store, pair(ann, ann), ann, 2)
        found = store.entries([Span(pair(ann, bob), 1, 3), Span(pair(ann, ann), 0, 1)])
        assert [(entry.conversation, entry.seq) for entry in found] == [
            (pair(ann, bob), 2),
            (pair(ann, bob), 3),
            (pair(ann, ann), 1),
        ]
        assert store.entries([]) == []

    def test_a_page_has_the_first_entries_and_no_more_than_its_limit(
        self, store: SqlStore, users: list[int]
    ) -> None:
        one, two, three = (pair(users[0], user) for user in users[:3])
        for chat in (one, two, three):
            self.fill(store, chat, users[0], 3)
        found = store.entries([Span(two, 0, 3), Span(one, 1, 3), Span(three, 0, 3)], 4)
        assert [(entry.conversation, entry.seq) for entry in found] == [
            (two, 1),
            (two, 2),
            (two, 3),
            (one, 2),
        ]

    def test_what_the_database_does_not_have_yet_does_not_pass_for_deleted(
        self, store: SqlStore, users: list[int]
    ) -> None:
        one = pair(users[0], users[0])
        self.fill(store, one, users[0], 3)
        with pytest.raises(Busy):
            store.entries([Span(one, 1, 4)])
        self.fill(store, one, users[0], 1)
        assert [entry.seq for entry in store.entries([Span(one, 1, 4)])] == [2, 3, 4]

    def prune(self, store: SqlStore, which: str) -> None:
        """Delete messages as an operator does."""
        store.write(lambda db: db.execute(sql(f'DELETE FROM "Message" WHERE {which}')))

    def test_messages_that_were_deleted_are_passed_over(self, store: SqlStore, users: list[int]) -> None:
        one = pair(users[0], users[0])
        self.fill(store, one, users[0], 12)
        self.prune(store, "seq IN (1, 2, 5, 6, 7, 12)")
        assert [entry.seq for entry in store.entries([Span(one, 0, 12)])] == [3, 4, 8, 9, 10, 11]
        assert [entry.seq for entry in store.entries([Span(one, 0, 12)], 3)] == [3, 4, 8]
        assert store.entries([Span(one, 4, 7)]) == []
        with pytest.raises(NoSuchMessage):
            store.entry(one, 5)

        def page(before: int | None, limit: int) -> tuple[list[int], bool]:
            entries, more = store.history(one, 0, before, None, limit)
            return [entry.seq for entry in entries], more

        assert page(None, 3) == ([9, 10, 11], True)
        assert page(9, 3) == ([3, 4, 8], False)
        assert page(7, 2) == ([3, 4], False)
        assert page(7, 1) == ([4], True)
        assert page(3, 1) == ([], False)
        self.fill(store, one, users[0], 1)
        assert page(None, 2) == ([11, 13], True)

    def test_a_day_is_found_though_messages_were_deleted(self, store: SqlStore, users: list[int]) -> None:
        notes = pair(users[0], users[0])
        days = [f"2026-11-{day:02}T12:00:00.000Z" for day in range(1, 10)]
        self.append(store, *[text(notes, users[0], "m", time=day) for day in days for _ in range(4)])
        self.prune(store, "seq % 3 <> 0 OR seq > 30")
        for number, day in enumerate(days[:-1]):
            entries, more = store.history(notes, 0, None, (day, days[number + 1]), 10)
            there = [seq for seq in range(number * 4 + 1, number * 4 + 5) if seq % 3 == 0 and seq <= 30]
            assert ([entry.seq for entry in entries], more) == (there, False)
        self.prune(store, "seq > 0")
        assert store.history(notes, 0, None, (days[0], days[1]), 10) == ([], False)

    def test_a_message_whose_sender_is_gone_is_shown_with_a_name_that_nobody_has(
        self, store: SqlStore, users: list[int]
    ) -> None:
        ann, bob = users[:2]
        chat = pair(ann, bob)
        self.fill(store, chat, ann, 2)
        store.write(lambda db: db.execute(sql(f'DELETE FROM "User" WHERE id = {ann}')))
        entries = store.entries([Span(chat, 0, 2)])
        assert [(entry.seq, entry.sender, entry.name) for entry in entries] == [
            (1, ann, DELETED),
            (2, ann, DELETED),
        ]
        assert store.history(chat, 0, None, None, 10) == (entries, False)
        assert store.entry(chat, 2) == entries[1]
        shown = self.rows(store, f'SELECT message FROM "OfflineMessage" WHERE userid = {bob}')
        assert [json.loads(message)["name"] for (message,) in shown] == [DELETED] * 2

    def set_back(self, store: SqlStore, seq: int) -> None:
        """Have the database lack the entries after a seq, as a replica that becomes the primary may."""

        def undo(db: Connection) -> None:
            db.execute(sql(f'DELETE FROM "Message" WHERE seq > {seq}'))
            db.execute(sql(f'UPDATE "Conversation" SET last_seq = {seq} WHERE last_seq > {seq}'))

        store.write(undo)
        if isinstance(store.database.statements, SqliteStatements):
            store.database.statements.forget_heads()

    def test_a_login_draws_back_a_cursor_that_is_beyond_the_logs_end(
        self, store: SqlStore, users: list[int]
    ) -> None:
        ann, bob = users[:2]
        store.join_group(bob, group := store.create_group(ann, "g", "", NOW), NOW)
        chats = [pair(ann, bob), pair(bob, bob), -group]
        for chat in chats:
            self.fill(store, chat, bob, 3)
        for userid in (ann, bob):
            store.open_device(userid, "", HERE, NOW)
            for chat in chats:
                store.move_cursor(userid, "", chat, 3, 0, 0)
        store.write_marks()
        self.set_back(store, 1)
        for userid in (ann, bob):
            assert store.open_device(userid, "", HERE, NOW).backlog == []
        for chat in chats:
            self.fill(store, chat, bob, 1)
        assert sorted(self.backlog(store, bob)) == sorted((chat, 1, 2) for chat in chats)
        assert sorted(self.backlog(store, ann)) == sorted((chat, 1, 2) for chat in (chats[0], chats[2]))

    def test_marks_are_set_back_for_some_users(self, store: SqlStore, users: list[int]) -> None:
        ann, bob, cem = users[:3]
        chat = pair(ann, bob)
        self.fill(store, chat, ann, 3)
        for userid in (ann, bob, cem):
            store.open_device(userid, "", HERE, NOW)
            store.move_cursor(userid, "", chat, 2, 0, 0)
            store.mark_read(userid, chat, 2)
        store.write_marks()
        store.move_cursor(ann, "", chat, 3, 0, 0)
        store.set_back(chat, [ann, bob], 1)
        store.write_marks()
        marks = self.rows(store, 'SELECT userid, delivered_seq FROM "Cursor" ORDER BY userid')
        assert marks == [(ann, 1), (bob, 1), (cem, 2)]
        assert self.rows(store, 'SELECT userid, read_seq FROM "ReadMark" ORDER BY userid') == marks

    def test_a_user_who_was_deleted_in_the_middle_of_a_login_is_refused(
        self, store: SqlStore, users: list[int]
    ) -> None:
        store.write(lambda db: db.execute(sql(f'DELETE FROM "User" WHERE id = {users[0]}')))
        with pytest.raises(BadCredentials):
            store.open_device(users[0], "new", HERE, NOW)
        assert self.rows(store, 'SELECT * FROM "Device"') == []

    def test_an_entry_is_what_was_appended(self, store: SqlStore, users: list[int]) -> None:
        chat = pair(users[0], users[1])
        self.append(store, text(chat, users[1], "héllo 🦀\n\u2028\\", "c1", minute(7)))
        assert store.entry(chat, 1) == (
            chat, 1, users[1], "bob", "c1", "text", "héllo 🦀\n\u2028\\", minute(7), 0,
        )  # fmt: skip
        with pytest.raises(NoSuchMessage):
            store.entry(chat, 2)

    def test_a_message_sent_again_is_stored_once(self, store: SqlStore, users: list[int]) -> None:
        ann, chat = users[0], pair(users[0], users[1])
        first = text(chat, ann, "hi", "c1", minute(1))
        assert self.append(store, first) == [(1, minute(1), False)]
        again = first._replace(time=minute(2))
        between = text(chat, ann, "more", "c2", minute(3))
        assert self.append(store, again, between, again) == [
            (1, minute(1), True),
            (2, minute(3), False),
            (1, minute(1), True),
        ]
        assert store.head(chat) == 2

    def test_a_message_twice_in_one_batch_is_stored_once(self, store: SqlStore, users: list[int]) -> None:
        message = text(pair(users[0], users[1]), users[0], "hi", "c1")
        assert self.append(store, message, message, message) == [
            (1, NOW, False),
            (1, NOW, True),
            (1, NOW, True),
        ]

    def test_messages_without_cid_are_all_stored(self, store: SqlStore, users: list[int]) -> None:
        message = text(pair(users[0], users[1]), users[0], "hi")
        assert [outcome[0] for outcome in self.append(store, message, message)] == [1, 2]

    def test_two_senders_may_use_the_same_cid(self, store: SqlStore, users: list[int]) -> None:
        chat = pair(users[0], users[1])
        told = self.append(store, text(chat, users[0], "hi", "c1"), text(chat, users[1], "ho", "c1"))
        assert told == [(1, NOW, False), (2, NOW, False)]

    @pytest.mark.parametrize("together", [True, False])
    def test_a_cid_is_good_for_one_message(self, store: SqlStore, users: list[int], together: bool) -> None:
        ann, bob, cem = users[:3]
        first = text(pair(ann, bob), ann, "hi", "c1")
        others = [
            first._replace(body="ho"),
            first._replace(conversation=pair(ann, cem)),
            first._replace(kind="recall", body="1"),
        ]
        calls = [[first, *others]] if together else [[first], *([other] for other in others)]
        told = [outcome for call in calls for outcome in self.append(store, *call)]
        assert told[0] == (1, NOW, False)
        assert [type(outcome) for outcome in told[1:]] == [CidUsed] * 3
        assert all("cid" in str(outcome) for outcome in told[1:])
        assert store.entry(pair(ann, bob), 1).body == "hi"
        assert self.append(store, text(pair(ann, bob), ann, "next")) == [(2, NOW, False)]

    def test_nobody_writes_who_is_blocked_or_no_member(self, store: SqlStore, users: list[int]) -> None:
        ann, bob, cem = users[:3]
        chat, group = pair(ann, bob), store.create_group(bob, "g", "", NOW)
        store.join_group(ann, group, NOW)
        allowed = [text(chat, bob, "hi"), text(pair(ann, cem), ann, "hi"), text(pair(ann, ann), ann, "hi")]
        both = text(chat, ann, "hi"), text(-group, ann, "hi")
        assert self.append(store, *both, *allowed) == [(seq, NOW, False) for seq in (1, 1, 2, 1, 1)]
        store.block(bob, ann)
        store.leave_group(ann, group)
        outcomes = self.append(store, *both, *allowed, text(-group, cem, "hi"), text(-group, bob, "hi"))
        refused = [type(outcomes[place]) for place in (0, 1, 5)]
        assert refused == [Blocked, NotAMember, NotAMember]
        assert [outcomes[place] for place in (2, 3, 4, 6)] == [(seq, NOW, False) for seq in (3, 2, 2, 2)]
        assert self.append(store, recall(chat, ann, 1)) == [(4, NOW, False)]
        store.unblock(bob, ann)
        store.join_group(ann, group, NOW)
        assert self.append(store, *both) == [(5, NOW, False), (3, NOW, False)]

    def test_a_recall_is_an_entry_and_blanks_its_target(self, store: SqlStore, users: list[int]) -> None:
        ann, chat = users[0], pair(users[0], users[1])
        self.append(store, text(chat, ann, "oh no", "c1"))
        assert self.append(store, recall(chat, ann, 1, "c2")) == [(2, NOW, False)]
        assert [(entry.kind, entry.body) for entry in store.entries([Span(chat, 0, 2)])] == [
            ("text", ""),
            ("recall", "1"),
        ]

    def test_a_recall_sent_again_is_stored_once(self, store: SqlStore, users: list[int]) -> None:
        ann, chat = users[0], pair(users[0], users[1])
        self.append(store, text(chat, ann, "oh no"), text(chat, ann, "fine"))
        first = recall(chat, ann, 1, "c2")
        assert self.append(store, first, first) == [(3, NOW, False), (3, NOW, True)]
        assert self.append(store, first) == [(3, NOW, True)]

    def test_a_recalled_message_sent_again_is_a_repetition(self, store: SqlStore, users: list[int]) -> None:
        ann, chat = users[0], pair(users[0], users[1])
        message = text(chat, ann, "oh no", "c1")
        self.append(store, message)
        self.append(store, recall(chat, ann, 1))
        assert self.append(store, message) == [(1, NOW, True)]
        assert store.entry(chat, 1).body == ""

    @pytest.mark.parametrize("target", [2, 3, 99])
    def test_what_is_recalled_or_not_there_cannot_be_recalled(
        self, store: SqlStore, users: list[int], target: int
    ) -> None:
        ann, chat = users[0], pair(users[0], users[1])
        self.append(store, text(chat, ann, "one"), text(chat, ann, "two"))
        assert self.append(store, recall(chat, ann, 2)) == [(3, NOW, False)]
        failed, stored = self.append(store, recall(chat, ann, target, "c9"), text(chat, ann, "three"))
        assert isinstance(failed, NoSuchMessage)
        assert stored == (4, NOW, False)

    def test_of_two_recalls_in_one_batch_the_second_fails(self, store: SqlStore, users: list[int]) -> None:
        ann, chat = users[0], pair(users[0], users[1])
        self.append(store, text(chat, ann, "one"))
        told = self.append(store, recall(chat, ann, 1, "c1"), recall(chat, ann, 1, "c2"))
        assert told[0] == (2, NOW, False)
        assert isinstance(told[1], NoSuchMessage)
        assert store.head(chat) == 2

    def test_history_reads_back_in_pages(self, store: SqlStore, users: list[int]) -> None:
        chat = pair(users[0], users[1])
        assert store.history(chat, 0, None, None, 5) == ([], False)
        self.fill(store, chat, users[0], 10)

        def page(after: int, before: int | None, limit: int) -> tuple[list[int], bool]:
            entries, more = store.history(chat, after, before, None, limit)
            return [entry.seq for entry in entries], more

        assert page(0, None, 4) == ([7, 8, 9, 10], True)
        assert page(0, 7, 4) == ([3, 4, 5, 6], True)
        assert page(0, 3, 4) == ([1, 2], False)
        assert page(0, 3, 2) == ([1, 2], False)
        assert page(6, 9, 4) == ([7, 8], False)
        assert page(6, 9, 1) == ([8], True)
        assert page(10, None, 4) == page(0, 1, 4) == ([], False)
        assert page(0, 2**63 - 1, 2) == ([9, 10], True)

    @pytest.mark.parametrize("back", [1, 60, 179], ids="{} minutes".format)
    def test_the_history_of_a_day_is_whole_though_a_clock_was_put_back(
        self, store: SqlStore, users: list[int], back: int
    ) -> None:
        notes = pair(users[0], users[0])
        midnight = to_seconds("2026-11-21T00:00:00.000Z")
        forwards = [midnight + 600 * step for step in range(-144, 145)]
        last = 0
        for put_back_at in range(138, 162, 3):
            times = forwards[:put_back_at] + [time - 60 * back for time in forwards[put_back_at:]]
            self.append(store, *[text(notes, users[0], "m", time=to_instant(time)) for time in times])
            for day in (20, 21):
                bounds = (f"2026-11-{day}T00:00:00.000Z", f"2026-11-{day}T24:00:00.000Z")
                wanted = [
                    last + place + 1
                    for place, time in enumerate(times)
                    if bounds[0] <= to_instant(time) < bounds[1]
                ]
                entries, _ = store.history(notes, last, None, bounds, 1000)
                assert [entry.seq for entry in entries] == wanted
            last += len(times)

    def test_history_of_a_day_ends_with_the_day(self, store: SqlStore, users: list[int]) -> None:
        chat = pair(users[0], users[1])
        days = [f"2026-11-{day:02d}" for day in (20, 20, 20, 21, 23, 23)]
        times = [f"{day}T12:00:00.000Z" for day in days]
        times[3] = "2026-11-21T00:00:00.000Z"
        times[2] = "2026-11-20T23:59:59.999Z"
        self.append(store, *[text(chat, users[0], "m", time=time) for time in times])

        def page(day: int, after: int = 0, before: int | None = None, limit: int = 9) -> Any:
            bounds = (f"2026-11-{day:02d}T00:00:00.000Z", f"2026-11-{day + 1:02d}T00:00:00.000Z")
            entries, more = store.history(chat, after, before, bounds, limit)
            return [entry.seq for entry in entries], more

        assert page(19) == page(22) == page(24) == ([], False)
        assert page(20) == ([1, 2, 3], False)
        assert page(20, limit=2) == ([2, 3], True)
        assert page(20, before=2) == ([1], False)
        assert page(20, after=1) == ([2, 3], False)
        assert page(21) == ([4], False)
        assert page(21, after=4) == page(21, after=99) == ([], False)
        assert page(23) == ([5, 6], False)

    # -- what is undelivered

    def test_the_backlog_is_what_lies_behind_the_cursor(self, store: SqlStore, users: list[int]) -> None:
        ann, bob, cem = users[:3]
        group = store.create_group(bob, "tea", "", NOW)
        store.join_group(ann, group, NOW)
        for chat in (pair(ann, bob), pair(cem, ann), pair(ann, ann), pair(bob, cem), -group):
            self.fill(store, chat, bob, 3)
        everything = [(-group, 0, 3), (pair(ann, ann), 0, 3), (pair(ann, bob), 0, 3), (pair(ann, cem), 0, 3)]
        assert self.backlog(store, ann) == everything
        assert self.backlog(store, cem) == [(pair(ann, cem), 0, 3), (pair(bob, cem), 0, 3)]
        store.move_cursor(ann, "", pair(ann, bob), 2, 0, 0)
        store.move_cursor(ann, "", pair(ann, cem), 3, 0, 0)
        store.move_cursor(ann, "", -group, 1, 0, 0)
        assert self.backlog(store, ann) == [(-group, 1, 3), everything[1], (pair(ann, bob), 2, 3)]

    @pytest.mark.parametrize(
        ("steps", "stands"),
        [
            ([(3, 0, 0)], 3),
            ([(3, 0, 0), (2, 0, 0)], 2),  # of calls that wait, the newest counts
            ([(3, 0, 0), None, (2, 0, 0)], 3),
            ([(9, 0, 0)], 5),
            ([(0, 1, 2)], 2),
            ([(0, 2, 3)], 0),
            ([(1, 2, 3)], 3),
            ([(1, 3, 4)], 1),
            ([(2, 0, 0), None, (0, 3, 4)], 4),
            ([(2, 0, 0), None, (0, 4, 5)], 2),
            ([(2, 0, 0), None, (1, 3, 4)], 4),
            ([(4, 0, 0), None, (0, 2, 3)], 4),
            ([(1, 2, 9)], 5),
            ([(0, 1, 2), None, (0, 0, 0)], 2),
        ],
    )
    def test_a_cursor_moves_ahead_and_over_the_devices_own_run(
        self, store: SqlStore, users: list[int], steps: list[tuple[int, int, int] | None], stands: int
    ) -> None:
        chat = pair(users[0], users[1])
        self.fill(store, chat, users[1], 5)
        store.open_device(users[0], "", HERE, NOW)
        for step in steps:
            if step is None:
                store.write_marks()
            else:
                store.move_cursor(users[0], "", chat, *step)
        assert self.backlog(store, users[0]) == ([(chat, stands, 5)] if stands < 5 else [])

    def test_a_groups_cursor_starts_where_its_user_joined(self, store: SqlStore, users: list[int]) -> None:
        ann, bob = users[:2]
        group = store.create_group(ann, "tea", "", NOW)
        self.fill(store, -group, ann, 3)
        store.join_group(bob, group, NOW)
        store.open_device(bob, "", HERE, NOW)
        self.fill(store, -group, bob, 2)
        self.fill(store, -group, ann, 1)
        store.move_cursor(bob, "", -group, 0, 4, 5)
        assert self.backlog(store, bob) == [(-group, 5, 6)]

    def test_no_mark_is_kept_of_a_conversation_that_is_not_there(
        self, store: SqlStore, users: list[int]
    ) -> None:
        chat = pair(users[0], users[1])
        store.move_cursor(users[0], "", chat, 5, 1, 5)
        store.mark_read(users[0], chat, 5)
        store.write_marks()
        self.fill(store, chat, users[1], 1)
        assert self.rows(store, 'SELECT * FROM "ReadMark"') == []
        assert self.backlog(store, users[0]) == [(chat, 0, 1)]

    def test_a_second_device_starts_where_the_most_advanced_one_stands(
        self, store: SqlStore, users: list[int]
    ) -> None:
        ann, bob, cem = users[:3]
        self.fill(store, pair(ann, bob), bob, 5)
        self.fill(store, pair(ann, cem), cem, 5)
        for device in "ab":
            store.open_device(ann, device, HERE, NOW)
        store.move_cursor(ann, "a", pair(ann, bob), 4, 0, 0)
        store.move_cursor(ann, "b", pair(ann, bob), 2, 0, 0)
        store.move_cursor(ann, "b", pair(ann, cem), 3, 0, 0)
        assert self.backlog(store, ann, "c") == [(pair(ann, bob), 4, 5), (pair(ann, cem), 3, 5)]
        assert self.backlog(store, ann, "a") == [(pair(ann, bob), 4, 5), (pair(ann, cem), 0, 5)]

    def test_read_marks_move_ahead_within_the_log(self, store: SqlStore, users: list[int]) -> None:
        chat = pair(users[0], users[1])
        self.fill(store, chat, users[1], 5)
        for seqs, stands in (([3, 2], 3), ([1], 3), ([99], 5)):
            for seq in seqs:
                store.mark_read(users[0], chat, seq)
            store.write_marks()
            assert self.rows(store, 'SELECT read_seq FROM "ReadMark"') == [(stands,)]
            assert store.read_mark(users[0], chat) == stands

    def test_a_read_mark_is_known_before_it_is_written(self, store: SqlStore, users: list[int]) -> None:
        chat = pair(users[0], users[1])
        self.fill(store, chat, users[1], 5)
        assert store.read_mark(users[0], chat) == 0
        store.mark_read(users[0], chat, 3)
        assert store.read_mark(users[0], chat) == 3
        assert store.read_mark(users[1], chat) == 0

    def test_marks_are_written_at_the_end(self, store: SqlStore, users: list[int], tmp_path: Path) -> None:
        chat = pair(users[0], users[1])
        self.fill(store, chat, users[1], 5)
        store.open_device(users[0], "", HERE, NOW)
        store.move_cursor(users[0], "", chat, 4, 0, 0)
        store.close_device(users[0], "", HERE, NOW)
        store.close()
        again = self.open(tmp_path)
        again.start()
        try:
            assert self.state(again, users[0]) == "offline"
            assert self.backlog(again, users[0]) == [(chat, 4, 5)]
        finally:
            again.close()

    # -- hooks

    def test_a_hook_is_found_by_its_key_and_added_once(self, store: SqlStore, users: list[int]) -> None:
        incoming = NewHook("a" * 64, users[0], conversation=-7)
        outgoing = NewHook("b" * 64, users[1], url="https://example.org/é", secret="whsec_x")
        first, second = store.add_hook(incoming, NOW), store.add_hook(outgoing, NOW)
        assert store.add_hook(incoming, minute(1)) == first
        assert store.hook("a" * 64) == first
        assert (first.userid, first.name, first.conversation, first.url) == (users[0], "ann", -7, "")
        assert (second.name, second.url, second.secret) == ("bob", "https://example.org/é", "whsec_x")
        assert store.hook("c" * 64) is None
        assert store.hooks() == [first, second]

    def test_a_hook_needs_a_user(self, store: SqlStore) -> None:
        with pytest.raises(NoSuchUser):
            store.add_hook(NewHook("a" * 64, 999), NOW)
        assert store.hooks() == []

    def test_the_hook_of_a_deleted_user_is_still_listed(self, store: SqlStore, users: list[int]) -> None:
        store.add_hook(NewHook("a" * 64, users[0]), NOW)
        store.write(lambda db: db.execute(sql(f'DELETE FROM "User" WHERE id = {users[0]}')).rowcount)
        assert [hook.name for hook in store.hooks()] == [DELETED]

    def test_a_removed_hook_leaves_nothing_behind(self, store: SqlStore, users: list[int]) -> None:
        hook = store.add_hook(NewHook("a" * 64, users[0], url="https://example.org"), NOW)
        chat = pair(users[0], users[1])
        self.fill(store, chat, users[1], 5)
        for device in (hook.device, "phone"):
            store.open_device(users[0], device, HERE, NOW)
        store.hook_delivered(hook, chat, 3)
        store.hook_failed(hook.id, chat, Failure(NOW, 1, NOW, "refused"))
        assert store.remove_hook(hook.id) is True
        assert store.remove_hook(hook.id) is False
        assert store.hooks() == []
        assert store.hook_failures(hook.id) == {}
        assert store.cursors(chat, [(users[0], hook.device)]) == {}
        assert self.rows(store, 'SELECT device FROM "Device"') == [("phone",)]

    def test_a_delivery_is_committed_at_once_and_ends_the_failure(
        self, store: SqlStore, users: list[int]
    ) -> None:
        hook = store.add_hook(NewHook("a" * 64, users[0], url="https://example.org"), NOW)
        chat, other = pair(users[0], users[1]), pair(users[0], users[2])
        place = (users[0], hook.device)
        self.fill(store, chat, users[1], 5)
        store.open_device(*place, HERE, NOW)
        failure = Failure(NOW, 3, minute(1), "status 500")
        for conversation in (chat, other):
            store.hook_failed(hook.id, conversation, failure)
        for seq, stands in ((3, 3), (2, 3), (99, 5)):
            store.hook_delivered(hook, chat, seq)
            assert store.cursors(chat, [place]) == {place: stands}
        assert store.hook_failures(hook.id) == {other: failure}

    def test_the_last_failure_of_a_conversation_counts(self, store: SqlStore, users: list[int]) -> None:
        hook = store.add_hook(NewHook("a" * 64, users[0], url="https://example.org"), NOW)
        for tries in (1, 2):
            store.hook_failed(hook.id, -7, Failure(NOW, tries, minute(tries), "r" * 200))
        assert store.hook_failures(hook.id) == {-7: Failure(NOW, 2, minute(2), "r" * 200)}

    def test_a_hook_that_is_switched_on_begins_without_failures(
        self, store: SqlStore, users: list[int]
    ) -> None:
        hook = store.add_hook(NewHook("a" * 64, users[0], url="https://example.org"), NOW)
        store.hook_failed(hook.id, -7, Failure(NOW, 1, NOW, "refused"))
        store.end_hook(hook.id, "gone")
        assert store.hooks() == [hook._replace(ended="gone")]
        assert len(store.hook_failures(hook.id)) == 1
        store.end_hook(hook.id, "")
        assert store.hooks() == [hook]
        assert store.hook_failures(hook.id) == {}


class TestSqliteInMemory(StoreContract):
    """SQLite in memory, in place: as the service's tests use it."""

    # What is in memory is gone with it.
    test_everything_is_there_after_a_restart = None  # type: ignore[assignment]
    test_marks_are_written_at_the_end = None  # type: ignore[assignment]

    def open(self, tmp_path: Path, **options: Any) -> SqlStore:
        return open_store("sqlite://", runner=Inline(), **options)

    def append(self, store: SqlStore, *messages: NewEntry) -> list[Any]:
        told = [Told() for _ in messages]
        for message, delivery in zip(messages, told, strict=True):
            store.append(message, delivery)
        store.commit_waiting()
        return [delivery.outcomes[0] for delivery in told]


class TestSqlite(StoreContract):
    """SQLite, with its native threads."""

    def open(self, tmp_path: Path, **options: Any) -> SqlStore:
        return open_store(f"sqlite:///{tmp_path}/chat.db", **options)

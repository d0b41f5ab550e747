"""What users see of a cluster: whatever node they and their devices are at, it is as if there were one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, Line, entries, people
from tests.service.world import Person, presence

# -- Groups


def three_in_a_group(cluster: Cluster) -> tuple[Person, Person, Person, int]:
    """Return ann at node a, bob at b and cem at c, and the group that all are in."""
    ann, bob, cem = people(cluster)
    return ann, bob, cem, ann.group("g", bob, cem)


def log_in_with_two(cluster: Cluster, person: Person) -> tuple[Person, Person]:
    """Log somebody in with a phone at node c and with a tablet at a."""
    return cluster["c"].log_in(person, device="phone"), cluster["a"].log_in(person, device="tablet")


@contextmanager
def joining_unheard(person: Person, groupid: int, at: str) -> Iterator[None]:
    """Let somebody join a group, and hold word of it back from a node until the end of the block."""
    assert isinstance(person, Line)
    cluster = person.node.cluster
    with cluster.held(person.node.me.name, at):
        person.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        yield
    cluster.run()


def test_who_joins_at_one_node_gets_the_group_on_devices_at_others(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    groupid = ann.group("g")
    ann.say(groupid)
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    ann.say(groupid)
    assert (bob.live(), phone.live()) == ([2], [2])


def test_who_leaves_at_one_node_gets_the_group_nowhere(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    groupid = ann.group("g", bob, cem)
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    bob.pushed(), phone.pushed()
    for speaker in (ann, cem):
        speaker.say(groupid)
    assert (bob.live(), phone.live()) == ([], [])
    phone.refused(8, MsgId.GROUP_CHAT, groupid=groupid, msg="hi")


def test_who_made_a_group_gets_it_on_devices_at_other_nodes(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    phone = cluster["c"].log_in(ann, device="phone")
    groupid = ann.group("g", bob)
    phone.pushed()
    bob.say(groupid)
    ann.say(groupid)
    assert phone.live() == [1, 2]
    phone.say(groupid)
    assert (ann.live(), bob.live()) == ([1, 3], [2, 3])


@pytest.mark.parametrize("fate", ["late", "lost"])
def test_what_was_said_before_a_node_learnt_of_a_joining_is_made_up_for(cluster: Cluster, fate: str) -> None:
    """The device is at a node where others are in the group: it has handed out what was said."""
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    phone = cluster["c"].log_in(bob, device="phone")
    ann.say(groupid)
    with joining_unheard(bob, groupid, at="c"):
        ann.say(groupid)
        cem.say(groupid)
        if fate == "lost":
            cluster.lose("b", "c")
    cluster.pass_time(2)
    assert entries(phone) == [2, 3]
    ann.say(groupid)
    assert (entries(phone), cem.live()) == ([4], [1, 2, 4])


def test_an_entry_that_comes_before_the_word_of_a_joining_waits_for_those_before_it(cluster: Cluster) -> None:
    """The node knows of the membership, since somebody there has asked, but not since when."""
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    phone = cluster["c"].log_in(bob, device="phone")
    with joining_unheard(bob, groupid, at="c"):
        ann.say(groupid)
        cem.say(groupid)
        phone.history(groupid=groupid)  # looks into the database
        ann.say(groupid)
        assert entries(phone) == [1, 2, 3]
    cluster.pass_time(2)
    assert entries(phone) == []


def test_a_device_that_logs_in_while_word_of_a_joining_is_under_way_gets_nothing_twice(
    cluster: Cluster,
) -> None:
    ann, bob, _ = people(cluster)
    groupid = ann.group("g")
    with joining_unheard(bob, groupid, at="c"):
        ann.say(groupid)
        phone = cluster["c"].log_in(bob, device="phone")
        assert phone.ack["offlinemsg"]
        ann.say(groupid)
    cluster.pass_time(2)
    assert phone.live() == [2]


def test_who_joins_again_before_anything_was_said_misses_nothing(cluster: Cluster) -> None:
    """What is said is handed out at the same node before the joining has been heard of there."""
    ann, _, cem = people(cluster)
    groupid = ann.group("g", cem)
    ann = cluster["c"].log_in(ann, device="phone")
    cem.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    ann.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    cem.put(MsgId.ADD_GROUP, groupid=groupid)
    cluster.run()
    cluster.pass_time(2)
    assert cem.live() == [1]


def test_who_joins_again_elsewhere_before_anything_was_said_misses_nothing(cluster: Cluster) -> None:
    ann, bob, cem, groupid = three_in_a_group(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    cem.history(groupid=groupid)  # node c looks who is in the group
    with joining_unheard(bob, groupid, at="c"):
        ann.say(groupid)
    cluster.pass_time(2)
    assert (cem.live(), phone.live(), bob.live()) == ([1], [1], [1])


def test_word_of_a_leaving_that_comes_after_a_new_joining_changes_nothing(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    groupid = ann.group("g", bob)
    phone, tablet = log_in_with_two(cluster, bob)
    with cluster.held("b", "c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        ann.say(groupid)
        tablet.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        ann.say(groupid)
    cluster.run()
    ann.say(groupid)
    cluster.pass_time(2)
    assert entries(phone)[-2:] == [2, 3]
    assert (entries(bob), entries(tablet)) == ([2, 3], [2, 3])


@pytest.mark.parametrize("said", [0, 1])
@pytest.mark.parametrize("first", ["a", "b", None])
def test_what_came_by_a_membership_that_was_out_of_date_does_not_come_again(
    cluster: Cluster, said: int, first: str | None
) -> None:
    """Word of the leaving (from b) and of the new joining (from a) come late, in whatever order."""
    ann, bob, cem, groupid = three_in_a_group(cluster)
    phone, tablet = log_in_with_two(cluster, bob)
    for _ in range(said):
        ann.say(groupid)
    with cluster.held("a", "c"), cluster.held("b", "c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        tablet.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        cem.say(groupid)
        if first is not None:
            for wire in cluster.wires(first, "c"):
                wire.held = False
            cluster.run()
    cluster.run()
    ann.say(groupid)
    cluster.pass_time(2)
    assert entries(phone) == list(range(1, said + 3))


def test_who_was_out_of_a_group_unheard_misses_nothing_of_it(cluster: Cluster) -> None:
    """The node has read the membership meanwhile, and handed out by it; word of the leaving is lost."""
    _, bob, cem, groupid = three_in_a_group(cluster)
    phone, tablet = log_in_with_two(cluster, bob)
    dan = cluster["a"].user("dan")
    with cluster.held("b", "c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        dan.ok(MsgId.ADD_GROUP, groupid=groupid)
        cem.history(groupid=groupid)
        with joining_unheard(tablet, groupid, at="c"):
            cem.say(groupid)
        cluster.lose("b", "c")
    cluster.run()
    cluster.pass_time(3)
    assert entries(phone) == [1]


def test_word_of_a_joining_that_comes_after_the_leaving_hides_no_later_joining(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    phone, tablet = log_in_with_two(cluster, bob)
    with joining_unheard(tablet, groupid, at="c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        cluster.run()
    cem.history(groupid=groupid)
    with joining_unheard(bob, groupid, at="c"):
        cem.say(groupid)
    cluster.pass_time(3)
    assert entries(phone) == [1]


def test_a_login_misses_nothing_where_the_membership_is_known_from_before_the_joining(
    cluster: Cluster,
) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    cem.history(groupid=groupid)
    with joining_unheard(bob, groupid, at="c"):
        ann.say(groupid)
        phone = cluster["c"].log_in(bob, device="phone")
        missed = phone.sync_all()
        cluster.run()
        missed += phone.pushed()
    cluster.pass_time(3)
    assert [entry["seq"] for entry in missed] == [1]
    assert entries(phone) == []


def test_who_joins_where_their_leaving_has_not_been_heard_of_has_joined_everywhere(cluster: Cluster) -> None:
    ann, bob, cem, groupid = three_in_a_group(cluster)
    phone, tablet = log_in_with_two(cluster, bob)
    ann.history(groupid=groupid)
    with cluster.held("b", "a"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        cem.history(groupid=groupid)
        tablet.put(MsgId.ADD_GROUP, groupid=groupid)
        cluster.run()
        cem.say(groupid)
        assert entries(phone) == [1]


@pytest.mark.parametrize("turns", range(12))
def test_who_joins_while_a_message_is_stored_misses_no_later_one(cluster: Cluster, turns: int) -> None:
    """The sender's node has looked who is in the group before, and word of the joining comes first."""
    _, bob, cem, groupid = three_in_a_group(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    cem.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    cluster.take_turns(turns)
    bob.put(MsgId.ADD_GROUP, groupid=groupid)
    cluster.run_youngest_first()  # the joining overtakes the message
    cluster.pass_time(2)
    cem.say(groupid)
    joined = cluster["b"].store.membership(groupid)[bob.id]
    assert entries(phone) == entries(bob) == list(range(joined + 1, 3))


def test_a_node_that_lost_the_word_of_a_leaving_and_of_a_block_has_it_right_soon(
    cluster: Cluster,
) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", bob)
    ann.say(groupid)
    with cluster.held("a", "c"), cluster.held("b", "c"):
        bob.ok(MsgId.LEAVE_GROUP, groupid=groupid)
        phone = cluster["c"].log_in(bob, device="phone")
        ann.put(MsgId.BLOCK, userid=cem.id)
        cluster.run()
        cluster.lose(target="c")
    cluster.pass_time(1)
    phone.pushed()
    ann.say(groupid)
    assert phone.live() == []
    cem.refused(10, MsgId.ONE_CHAT, toid=ann.id, msg="hi")


def test_a_device_that_has_all_gets_nothing_again_where_the_group_was_known_before(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    cem.history(groupid=groupid)  # node c reads the membership, without bob
    cem.leave()
    cluster.run()
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    for _ in range(3):
        ann.say(groupid)
    assert bob.live() == [1, 2, 3]
    bob.send(MsgId.RECEIVED, groupid=groupid, seq=3)
    cluster.pass_time(2)
    bob.leave()
    cluster.run()
    cluster.pass_time(3600)
    bob = cluster["c"].log_in(bob)
    first = [e["seq"] for e in bob.ack["offlinemsg"]]
    ann.say(groupid)
    cluster.pass_time(2)
    assert (first, entries(bob)) == ([], [4])


def test_a_device_that_has_all_and_speaks_gets_nothing_again(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    cem.history(groupid=groupid)
    cem.leave()
    cluster.run()
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    for _ in range(3):
        ann.say(groupid)
    bob.send(MsgId.RECEIVED, groupid=groupid, seq=3)
    cluster.pass_time(2)
    bob.leave()
    cluster.run()
    bob = cluster["c"].log_in(bob)
    bob.say(groupid)
    cluster.pass_time(2)
    assert entries(bob) == []


def test_who_joins_while_a_message_waits_to_be_stored_elsewhere_gets_it(cluster: Cluster) -> None:
    ann, bob, cem = people(cluster)
    groupid = ann.group("g", cem)
    c = cluster["c"]
    real, kept = c.store.append, []
    c.store.append = lambda *it: kept.append(it)
    cem.put(MsgId.GROUP_CHAT, groupid=groupid, msg="hi")
    cluster.run()
    c.store.append = real
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    cluster.pass_time(2)
    real(*kept[0])
    cluster.run()
    cluster.pass_time(10)
    assert (ann.live(), bob.live()) == ([1], [1])


# -- Messages


def test_a_message_goes_to_all_devices_of_both_wherever_they_are(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    tablet, phone = cluster["c"].log_in(ann, device="tablet"), cluster["a"].log_in(bob, device="phone")
    ann.chat(bob, "hi", cid="mine")
    for person in (tablet, bob, phone):
        (frame,) = person.pushed()
        assert (frame["id"], frame["toid"], frame["msg"], frame["seq"]) == (ann.id, bob.id, "hi", 1)
        assert frame.get("cid") == ("mine" if person is tablet else None)
    assert ann.pushed() == []


def test_a_chat_to_oneself_goes_to_ones_other_devices(cluster: Cluster) -> None:
    ann, _, _ = people(cluster)
    phone = cluster["b"].log_in(ann, device="phone")
    assert ann.chat(ann) == 1
    assert phone.chat(ann) == 2
    assert (ann.live(), phone.live()) == ([2], [1])


def test_recalls_typing_and_read_marks_go_everywhere(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    ann.chat(bob)
    ann.send(MsgId.TYPING, toid=bob.id)
    ann.ok(MsgId.RECALL, peerid=bob.id, target=1)
    for person in (bob, phone):
        assert [frame["msgid"] for frame in person.pushed()] == [6, 26, 17]
    bob.send(MsgId.READ, peerid=ann.id, seq=1)
    assert [frame["msgid"] for frame in (*ann.pushed(), *phone.pushed())] == [27, 27]


def test_a_classic_client_gets_its_messages_from_other_nodes(cluster: Cluster) -> None:
    ann, _, _ = people(cluster)
    dan = cluster["a"].absent("dan")
    ann.chat(dan)
    classic = cluster["b"].connect(classic=True)
    classic.send(MsgId.LOGIN, id=dan.id, password="pw")
    assert [frame["msgid"] for frame in classic.pushed()] == [MsgId.LOGIN_ACK]
    ann.chat(dan)
    ann.ok(MsgId.RECALL, peerid=dan.id, target=2)
    ann.chat(dan)
    assert [(frame["msgid"], frame["seq"]) for frame in classic.pushed()] == [(6, 2), (6, 4)]
    classic.leave()
    cluster.pass_time(1)
    assert cluster["c"].log_in(dan).ack["offlinemsg"] == []


@pytest.mark.parametrize("blocks", [True, False])
def test_a_block_holds_at_all_nodes_at_once(cluster: Cluster, blocks: bool) -> None:
    ann, bob, _ = people(cluster)
    bob.chat(ann)  # node b remembers that it may
    ann.ok(MsgId.BLOCK, userid=bob.id)
    if not blocks:
        bob.refused(10, MsgId.ONE_CHAT, toid=ann.id, msg="hi")
        ann.ok(MsgId.UNBLOCK, userid=bob.id)
    assert bob.ask(MsgId.ONE_CHAT, toid=ann.id, msg="hi")["errno"] == (10 if blocks else 0)


# -- Logins


def test_a_device_that_is_online_at_another_node_is_refused_or_replaced(cluster: Cluster) -> None:
    _, bob, _ = people(cluster)
    line = cluster["c"].connect()
    line.refused(2, MsgId.LOGIN, id=bob.id, password="pw")
    assert bob.peer.closed is None
    line.login(id=bob.id, force=True)
    assert (bob.peer.closed, line.peer.closed) == ("replaced", None)
    cluster.pass_time(3)
    assert line.peer.closed is None
    cluster["a"].connect().refused(2, MsgId.LOGIN, id=bob.id, password="pw")


@pytest.mark.parametrize("turns", range(0, 24, 2))
def test_of_two_logins_of_a_device_at_a_time_one_at_most_succeeds(cluster: Cluster, turns: int) -> None:
    _, bob, _ = people(cluster)
    bob.leave()
    lines = [cluster["a"].begin(bob)]
    cluster.take_turns(turns)
    lines.append(cluster["b"].begin(bob))
    cluster.run()
    cluster.pass_time(3)
    errnos = sorted(line.reply("login")["errno"] for line in lines)
    assert errnos in ([0, 2], [2, 2])
    assert [line.session.user for line in lines].count(bob.id) == errnos.count(0)


@pytest.mark.parametrize("turns", range(0, 24, 2))
def test_of_two_forced_logins_of_a_device_at_a_time_no_two_stay(cluster: Cluster, turns: int) -> None:
    _, bob, _ = people(cluster)
    lines = [cluster["a"].begin(bob, force=True)]
    cluster.take_turns(turns)
    lines.append(cluster["c"].begin(bob, force=True))
    cluster.run()
    cluster.pass_time(3)
    assert bob.peer.closed == "replaced"
    assert [line.peer.closed for line in lines] == ["replaced", None]


def test_eight_devices_are_online_at_most_wherever_they_are(cluster: Cluster) -> None:
    _, bob, _ = people(cluster)
    lines = [cluster["abc"[n % 3]].log_in(bob, device=f"d{n}") for n in range(7)]
    ninth = cluster["a"].connect()
    ninth.refused(14, MsgId.LOGIN, id=bob.id, password="pw", device="d8")
    ninth.refused(14, MsgId.LOGIN, id=bob.id, password="pw", device="d8", force=True)
    lines[0].leave()
    assert ninth.login(id=bob.id, device="d8")
    assert cluster["b"].log_in(bob, device="d8", force=True)  # in its own place


def test_a_change_of_the_password_ends_the_sessions_at_other_nodes(cluster: Cluster) -> None:
    _, bob, _ = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    token = phone.token
    bob.ok(MsgId.CHANGE_PASSWORD, old="pw", new="new")
    assert (bob.peer.closed, phone.peer.closed) == (None, "replaced")
    cluster["a"].connect().refused(1, MsgId.LOGIN, token=token, device="phone")
    cluster.pass_time(2)
    assert cluster["a"].log_in(bob, device="phone", password="new")
    assert bob.peer.closed is None


@pytest.mark.parametrize("turns", range(6))
def test_a_password_login_beside_a_logout_of_the_same_device_is_no_wrong_password(
    cluster: Cluster, turns: int
) -> None:
    """The logout ends the device's tokens, which were not used."""
    _, bob, _ = people(cluster)
    line = cluster["c"].begin(bob, force=True)
    cluster.take_turns(turns)
    bob.put(MsgId.LOGINOUT)
    cluster.run_youngest_first()
    assert line.reply("login")["errno"] == 0


@pytest.mark.parametrize("turns", range(14))
def test_a_login_that_a_change_of_the_password_overtakes_leaves_the_device_online_where_it_is(
    cluster: Cluster, turns: int
) -> None:
    """Redis has lost who is where; so the login finds nobody, and takes the device in the database."""
    ann, bob, _ = people(cluster)
    befriend(ann, bob)
    cluster.seats[cluster["b"].me].clear()
    line = cluster["c"].begin(bob)
    cluster.take_turns(turns)
    bob.put(MsgId.CHANGE_PASSWORD, old="pw", new="new")
    cluster.run_youngest_first()
    cluster.pass_time(3)
    lines = [one for one in (bob, line) if one.peer.closed is None and one.session.user]
    online = cluster.database.online()
    assert [online.get((bob.id, ""))] == ([one.node.me.name for one in lines] or [None])
    states = [state for _, state in presence(ann)]
    assert states[-1:] in ([["online"], []] if lines else [["offline"]])


# -- Presence


def befriend(ann: Person, bob: Person) -> None:
    """Let ann see what becomes of bob."""
    ann.ok(MsgId.ADD_FRIEND, friendid=bob.id)
    ann.pushed()


def test_a_friend_comes_with_the_first_device_and_goes_with_the_last(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    befriend(ann, bob)
    phone = cluster["c"].log_in(bob, device="phone")
    bob.leave()
    cluster["a"].log_in(bob, device="tablet").leave()
    assert presence(ann) == []
    phone.leave()
    assert presence(ann) == [(bob.id, "offline")]
    cluster["a"].log_in(bob)
    assert presence(ann) == [(bob.id, "online")]
    cluster["b"].log_in(bob, force=True)
    assert presence(ann) == []


@pytest.mark.parametrize("turns", range(0, 30, 2))
def test_of_two_devices_that_come_at_a_time_one_is_told_of(cluster: Cluster, turns: int) -> None:
    ann, bob, _ = people(cluster)
    befriend(ann, bob)
    bob.leave()
    assert presence(ann) == [(bob.id, "offline")]
    cluster["b"].begin(bob)
    cluster.take_turns(turns)
    cluster["c"].begin(bob, device="phone")
    cluster.run_youngest_first()  # the second overtakes the first
    assert presence(ann) == [(bob.id, "online")]


@pytest.mark.parametrize("turns", range(0, 12, 2))
def test_of_two_devices_that_go_at_a_time_the_last_is_told_of(cluster: Cluster, turns: int) -> None:
    ann, bob, _ = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    befriend(ann, bob)
    bob.peer.close("closed by peer")
    cluster.take_turns(turns)
    phone.peer.close("closed by peer")
    cluster.run()
    assert presence(ann) == [(bob.id, "offline")]


@pytest.mark.parametrize("leaves", [True, False], ids=["left", "died"])
@pytest.mark.parametrize("comes_back", [True, False])
def test_friends_are_told_of_who_was_at_a_node_that_has_gone(
    cluster: Cluster, leaves: bool, comes_back: bool
) -> None:
    ann, bob, _ = people(cluster)
    befriend(ann, bob)
    cluster["b"].stop() if leaves else cluster["b"].kill()
    cluster.pass_time(1)
    assert presence(ann) == []
    if not leaves:
        cluster.bury_dead()
    if comes_back:
        cluster["c"].log_in(bob)
    cluster.pass_time(5)
    states = [state for _, state in presence(ann)]
    assert states[-1:] == (["online"] if comes_back else ["offline"])
    assert "offline" not in states or not (leaves and comes_back)


def test_users_of_a_dead_node_are_offline_and_may_come_back_without_force(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    cluster["b"].kill()
    cluster["a"].connect().refused(2, MsgId.LOGIN, id=bob.id, password="pw")
    cluster.bury_dead()
    assert ann.ok(MsgId.FIND, name="bob")["user"]["state"] == "offline"
    bob = cluster["c"].log_in(bob)
    assert ann.ok(MsgId.FIND, name="bob")["user"]["state"] == "online"
    ann.chat(bob)
    assert bob.live() == [1]
    node = cluster.start("b")
    node.log_in(bob, force=True)
    assert bob.peer.closed == "replaced"

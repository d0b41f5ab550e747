"""Logins in a cluster: whatever node a device comes to, it is online at one, and at one only."""

from __future__ import annotations

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, befriend, people
from tests.service.world import presence


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

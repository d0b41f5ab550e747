"""What a device missed: pages at login and by SYNC, and live messages behind them."""

from __future__ import annotations

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.world import Person, World, compact, seqs

NOW = "2027-01-15T08:00:00.000Z"


def test_what_was_missed_comes_as_it_would_have_live(world: World, ann: Person, bob: Person) -> None:
    groupid = ann.group("g", bob)
    phone = world.log_in(bob, device="phone")
    bob.leave()
    ann.chat(bob, "one", cid="c1")
    ann.say(groupid, "two", cid="c2")
    phone.chat(ann, "three", cid="c3")
    ann.chat(bob, "oops")
    ann.ok(MsgId.RECALL, peerid=bob.id, target=3)
    missed = world.log_in(bob).ack["offlinemsg"]
    live = phone.pushed()
    three = {
        "msgid": 6,
        "id": bob.id,
        "name": "bob",
        "toid": ann.id,
        "msg": "three",
        "seq": 2,
        "time": NOW,
        "cid": "c3",
    }
    oops = {"msgid": 6, "id": ann.id, "name": "ann", "toid": bob.id, "recalled": True, "seq": 3, "time": NOW}
    recall = {"msgid": 17, "id": ann.id, "target": 3, "seq": 4, "time": NOW, "peerid": ann.id}
    of_the_pair = [entry for entry in missed if "groupid" not in entry]
    assert of_the_pair == [live[0], three, oops, recall]
    assert [entry for entry in missed if "groupid" in entry] == [live[1]]
    assert live[-1] == recall


def test_a_users_very_first_device_starts_at_the_beginning(world: World, ann: Person) -> None:
    stranger = world.connect()
    userid = stranger.ok(MsgId.REG, name="new", password="pw")["id"]
    ann.ok(MsgId.ONE_CHAT, toid=userid, msg="welcome")
    assert seqs(stranger.login(name="new", device="any")["offlinemsg"]) == [1]


def test_pages_have_200_messages_and_more_says_whether_others_follow(
    world: World, ann: Person, bob: Person
) -> None:
    bob.leave()
    ann.fill(401, toid=bob.id)
    bob = world.log_in(bob)
    pages = [bob.ack, bob.ok(MsgId.SYNC), bob.ok(MsgId.SYNC), bob.ok(MsgId.SYNC)]
    assert [seqs(page["offlinemsg"]) for page in pages] == [[*range(1, 201)], [*range(201, 401)], [401], []]
    assert [page["more"] for page in pages] == [True, True, False, False]


def test_exactly_200_are_one_page(world: World, ann: Person, bob: Person) -> None:
    bob.leave()
    ann.fill(200, toid=bob.id)
    ack = world.log_in(bob).ack
    assert (len(ack["offlinemsg"]), ack["more"]) == (200, False)


@pytest.mark.parametrize(("spare", "count"), [(0, 200), (-1, 199)])
def test_a_page_has_256_kib_at_most_to_the_byte(
    world: World, ann: Person, bob: Person, spare: int, count: int
) -> None:
    ann.chat(bob, "x")
    (entry,) = bob.pushed()
    bob.send(MsgId.RECEIVED, peerid=ann.id, seq=1)
    bob.leave()
    empty = len(compact(entry)) - 2  # without its seq and its text, of one byte each
    texts = (262_144 - len("[]") - 199 - 200 * empty - sum(len(str(seq)) for seq in range(2, 202))) // 200
    ann.fill(200, "x" * (texts - spare), toid=bob.id)
    ack = world.log_in(bob).ack
    assert len(ack["offlinemsg"]) == count
    assert len(compact(ack["offlinemsg"])) <= 262_144


def test_pages_of_large_messages_lose_nothing(world: World, ann: Person, bob: Person) -> None:
    bob.leave()
    ann.fill(50, "\U0001f600" * 4_096, toid=bob.id)
    bob = world.log_in(bob)
    assert len(bob.ack["offlinemsg"]) == 15
    assert len(compact(bob.ack["offlinemsg"])) <= 262_144
    assert seqs(bob.sync_all()) == [*range(1, 51)]


def test_pages_go_over_all_conversations(world: World, ann: Person, bob: Person, cem: Person) -> None:
    groupid = ann.group("g", bob)
    bob.leave()
    ann.fill(150, toid=bob.id)
    cem.fill(150, toid=bob.id)
    ann.fill(150, groupid=groupid)
    world.log_in(bob, device="phone").fill(1, toid=bob.id)
    missed = world.log_in(bob).sync_all()
    for key in ((ann.id, None), (cem.id, None), (ann.id, groupid)):
        assert seqs([e for e in missed if (e["id"], e.get("groupid")) == key]) == [*range(1, 151)]
    assert len(missed) == 451


# -- Live messages behind pages, commits within a login


def test_live_messages_wait_behind_the_pages_of_their_conversation_alone(
    world: World, ann: Person, bob: Person, cem: Person
) -> None:
    bob.leave()
    ann.fill(201, toid=bob.id)
    bob = world.log_in(bob)
    ann.chat(bob, "behind")
    cem.chat(bob, "at once")
    assert [(frame["id"], frame["seq"]) for frame in bob.pushed()] == [(cem.id, 1)]
    page = bob.ok(MsgId.SYNC)
    assert (seqs(page["offlinemsg"]), page["more"]) == ([201, 202], False)
    ann.chat(bob, "live")
    assert bob.live() == [203]


def test_after_the_last_page_live_messages_come_whoever_writes_first(
    world: World, ann: Person, bob: Person
) -> None:
    bob.leave()
    ann.chat(bob)
    for _ in range(3):
        bob = world.log_in(bob)
        assert bob.ack["more"] is False
        bob.chat(ann)
        bob.chat(ann)
        seq = ann.chat(bob)
        assert bob.live() == [seq]
        bob.leave()


def test_ones_own_messages_do_not_stop_the_pages(world: World, ann: Person, bob: Person) -> None:
    bob.leave()
    ann.fill(250, toid=bob.id)
    bob = world.log_in(bob)
    assert bob.chat(ann) == 251
    page = bob.ok(MsgId.SYNC)
    assert seqs(page["offlinemsg"])[:50] == [*range(201, 251)]
    assert page["more"] is False
    assert ann.chat(bob) == 252
    assert bob.live() == [252]


@pytest.mark.parametrize("where", range(12))
@pytest.mark.parametrize("missed", [0, 3])
def test_a_message_that_is_committed_anywhere_within_a_login_comes_once(
    world: World, ann: Person, bob: Person, where: int, missed: int
) -> None:
    bob.leave()
    ann.fill(missed, toid=bob.id)
    world.switching(*[lambda: None] * where, lambda: ann.chat(bob), lambda: ann.chat(bob))
    bob = world.log_in(bob)
    world.runner.hooks.clear()
    assert bob.peer.frames == [] or bob.peer.frames[0]["msgid"] != MsgId.LOGIN_ACK
    head = ann.chat(bob)
    assert seqs(bob.ack["offlinemsg"]) + bob.live() == [*range(1, head + 1)]


@pytest.mark.parametrize("where", range(3))
def test_a_message_that_is_committed_while_a_page_is_read_comes_once(
    world: World, ann: Person, bob: Person, where: int
) -> None:
    bob.leave()
    ann.fill(201, toid=bob.id)
    bob = world.log_in(bob)
    world.switching(*[lambda: None] * where, lambda: ann.chat(bob))
    page = bob.ok(MsgId.SYNC)
    world.runner.hooks.clear()
    got = seqs(page["offlinemsg"]) + bob.live()
    while page["more"]:
        page = bob.ok(MsgId.SYNC)
        got += seqs(page["offlinemsg"])
    head = ann.chat(bob)
    assert got + bob.live() == [*range(201, head + 1)]


@pytest.mark.parametrize("where", range(10))
def test_of_two_logins_of_a_device_at_a_time_one_stays_and_has_all(
    world: World, ann: Person, bob: Person, where: int
) -> None:
    bob.leave()
    ann.chat(bob)
    slower, quicker = world.connect(), world.connect()
    world.switching(
        *[lambda: None] * where, lambda: quicker.put(MsgId.LOGIN, id=bob.id, password="pw", force=True)
    )
    slower.send(MsgId.LOGIN, id=bob.id, password="pw")
    world.runner.hooks.clear()
    (winner,) = [person for person in (slower, quicker) if person.session.user == bob.id]
    ann.chat(bob)
    first, *live = winner.pushed()
    assert seqs(first["offlinemsg"]) + seqs(live) == [1, 2]
    assert ann.ok(MsgId.FIND, name="bob")["user"]["state"] == "online"
    slower.leave()
    quicker.leave()
    assert ann.ok(MsgId.FIND, name="bob")["user"]["state"] == "offline"
    assert seqs(world.log_in(bob).ack["offlinemsg"]) == [1, 2]


def test_a_page_that_cannot_be_read_is_asked_for_again(world: World, ann: Person, bob: Person) -> None:
    bob.leave()
    ann.fill(201, toid=bob.id)
    bob = world.log_in(bob)
    world.runner.broken.add("read")
    bob.refused(13, MsgId.SYNC)
    world.runner.broken.clear()
    assert seqs(bob.ok(MsgId.SYNC)["offlinemsg"]) == [201]


def test_a_group_that_one_has_left_is_offered_no_more(world: World, ann: Person, bob: Person) -> None:
    groupid = ann.group("g", bob)
    bob.leave()
    ann.fill(2, groupid=groupid)
    other = world.log_in(bob, device="phone")
    other.ok(MsgId.LEAVE_GROUP, groupid=groupid)
    assert world.log_in(bob).ack["offlinemsg"] == []

"""HISTORY: back from the end, from a seq, within a day, and no further than one may see."""

from __future__ import annotations

import json
from typing import Any

import pytest

from greenchat.model.instants import to_instant
from greenchat.protocol.messages import MsgId
from tests.service.world import NOON, Person, World, compact

DAY = 86_400


def page(person: Person, **fields: Any) -> tuple[list[int], bool]:
    """Return the seqs of a page and whether there are older ones."""
    reply = person.ok(MsgId.HISTORY, **fields)
    return [entry["seq"] for entry in reply["messages"]], reply["more"]


def test_history_is_empty_before_the_first_message(ann: Person, bob: Person) -> None:
    groupid = ann.group("g")
    assert page(ann, peerid=bob.id) == page(ann, peerid=ann.id) == page(ann, groupid=groupid) == ([], False)


def test_messages_are_as_they_were_delivered_and_own_ones_have_the_cid(ann: Person, bob: Person) -> None:
    ann.chat(bob, "one", cid="c1")
    bob.chat(ann, "two", cid="c2")
    (one,) = bob.pushed(MsgId.ONE_CHAT)
    (two,) = ann.pushed(MsgId.ONE_CHAT)
    assert ann.history(peerid=bob.id) == [one | {"cid": "c1"}, two]
    assert bob.history(peerid=ann.id) == [one, two | {"cid": "c2"}]


def test_a_page_has_50_without_a_limit_and_200_at_most(ann: Person, bob: Person) -> None:
    ann.fill(250, toid=bob.id)
    assert page(ann, peerid=bob.id) == ([*range(201, 251)], True)
    assert page(bob, peerid=ann.id, limit=200) == ([*range(51, 251)], True)
    assert page(bob, peerid=ann.id, limit=1) == ([250], True)
    ann.refused(3, MsgId.HISTORY, peerid=bob.id, limit=201)


@pytest.mark.parametrize(
    ("before", "seqs", "more"),
    [(1, [], False), (2, [1], False), (4, [1, 2, 3], False), (5, [2, 3, 4], True), (99, [3, 4, 5], True)],
)
def test_before_pages_back(ann: Person, bob: Person, before: int, seqs: list[int], more: bool) -> None:
    ann.fill(5, toid=bob.id)
    assert page(bob, peerid=ann.id, before=before, limit=3) == (seqs, more)


def test_a_page_has_256_kib_at_most_and_the_newest_ones(ann: Person, bob: Person) -> None:
    ann.fill(40, "\U0001f600" * 4_096, toid=bob.id)
    seqs, more = page(bob, peerid=ann.id, limit=200)
    reply = json.loads(bob.peer.raw[-1])["messages"]
    assert 240_000 < len(compact(reply)) <= 262_144
    assert seqs == [*range(seqs[0], 41)]
    assert more
    older, more = page(bob, peerid=ann.id, limit=200, before=seqs[0])
    while more:
        first, more = page(bob, peerid=ann.id, limit=200, before=older[0])
        older = first + older
    assert older == [*range(1, seqs[0])]


def test_a_day_gives_its_last_messages_and_before_pages_back_within_it(
    world: World, ann: Person, bob: Person
) -> None:
    midnight = NOON - NOON % DAY
    for time in (-0.001, 0, 3_600, DAY - 0.001, DAY, DAY + 1):
        world.time = midnight + time
        ann.chat(bob)
    day, next_day = to_instant(midnight)[:10], to_instant(midnight + DAY)[:10]
    assert page(bob, peerid=ann.id, day=day) == ([2, 3, 4], False)
    assert page(bob, peerid=ann.id, day=day, limit=2) == ([3, 4], True)
    assert page(bob, peerid=ann.id, day=day, limit=2, before=3) == ([2], False)
    assert page(bob, peerid=ann.id, day=next_day) == ([5, 6], False)
    assert (
        page(bob, peerid=ann.id, day="1999-12-31")
        == page(bob, peerid=ann.id, day="9999-12-30")
        == ([], False)
    )


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_the_ends_of_the_calendar_do_no_harm(ann: Person, day: str) -> None:
    assert ann.ask(MsgId.HISTORY, peerid=ann.id, day=day)["errno"] in (0, 3)
    assert ann.peer.closed is None


def test_a_member_sees_a_day_of_the_group_from_joining_on(world: World, ann: Person, bob: Person) -> None:
    groupid = ann.group("g")
    ann.say(groupid)
    bob.ok(MsgId.ADD_GROUP, groupid=groupid)
    ann.say(groupid)
    ann.say(groupid)
    assert page(bob, groupid=groupid) == page(bob, groupid=groupid, day="2027-01-15") == ([2, 3], False)
    assert page(bob, groupid=groupid, before=2) == ([], False)
    assert page(ann, groupid=groupid) == ([1, 2, 3], False)


def test_history_of_nobody_and_of_a_group_one_is_not_in(ann: Person, bob: Person) -> None:
    groupid = ann.group("g")
    ann.refused(6, MsgId.HISTORY, peerid=99)
    ann.refused(7, MsgId.HISTORY, groupid=99)
    bob.refused(8, MsgId.HISTORY, groupid=groupid)


def test_nobody_reads_the_conversation_of_two_others(ann: Person, bob: Person, cem: Person) -> None:
    ann.chat(bob, "private")
    assert cem.history(peerid=ann.id) == cem.history(peerid=bob.id) == cem.history(peerid=cem.id) == []

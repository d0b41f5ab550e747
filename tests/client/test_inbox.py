from __future__ import annotations

import pytest

from greenchat.client.inbox import REMEMBERED, Inbox
from greenchat.client.pushes import Message, in_group, with_user
from greenchat.protocol.messages import MsgId
from tests.client.fake_server import TIME


def entry(seq: int, peer: int = 2) -> Message:
    return Message(with_user(peer), seq, peer, "bob", "hi", TIME)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(1)


def test_marks_gather_for_a_tenth_of_a_second(inbox: Inbox) -> None:
    assert inbox.due is None
    assert inbox.handed(entry(1), now=5.0)
    assert not inbox.handed(entry(2), now=5.05)
    inbox.handed(entry(7, peer=3), now=5.06)
    inbox.mark(MsgId.READ, in_group(4), 9, now=5.07)
    assert inbox.due == pytest.approx(5.1)
    assert inbox.take_marks() == [
        {"msgid": 13, "peerid": 2, "seq": 2},
        {"msgid": 13, "peerid": 3, "seq": 7},
        {"msgid": 27, "groupid": 4, "seq": 9},
    ]
    assert (inbox.due, inbox.take_marks()) == (None, [])


def test_marks_of_64_entries_are_due_at_once(inbox: Inbox) -> None:
    for seq in range(1, 64):
        inbox.handed(entry(seq), now=5.0)
    assert inbox.due == pytest.approx(5.1)
    assert inbox.handed(entry(64), now=5.01)
    assert inbox.due == 5.01


def test_a_mark_never_goes_back(inbox: Inbox) -> None:
    inbox.mark(MsgId.READ, with_user(2), 9, now=0)
    inbox.mark(MsgId.READ, with_user(2), 4, now=0)
    assert inbox.take_marks()[0]["seq"] == 9


def test_an_entry_is_taken_once_and_acknowledged_again_if_it_was_handed_over(inbox: Inbox) -> None:
    assert inbox.accept(entry(1), now=0)
    assert not inbox.accept(entry(1), now=0)
    assert inbox.take_marks() == [], "it was acknowledged before the application had it"
    inbox.handed(entry(1), now=0)
    inbox.take_marks()
    assert not inbox.accept(entry(1), now=0)
    assert inbox.take_marks() == [{"msgid": 13, "peerid": 2, "seq": 1}]
    assert inbox.accept(entry(5), now=0), "a gap is our own messages; they are not sent to us"


def test_the_memory_of_own_messages_is_bounded(inbox: Inbox) -> None:
    for seq in range(REMEMBERED + 1):
        inbox.remember((with_user(2), seq))
    assert not inbox.is_own(entry(0))
    assert inbox.is_own(entry(1))

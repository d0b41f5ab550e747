from __future__ import annotations

import pytest

from greenchat.client.core.inbox import LATEST_TIMES, OWN_MESSAGES, Inbox
from greenchat.client.core.pushes import Message, in_group, with_user
from greenchat.protocol.messages import MsgId
from tests.client.fake_server import TIME


def entry(seq: int, peer: int = 2) -> Message:
    return Message(with_user(peer), seq, peer, "bob", "hi", TIME)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(1)


def test_marks_gather_for_a_tenth_of_a_second(inbox: Inbox) -> None:
    assert inbox.due is None
    assert finish(inbox, entry(1), now=5.0)
    assert not finish(inbox, entry(2), now=5.05)
    finish(inbox, entry(7, peer=3), now=5.06)
    inbox.add_receipt(MsgId.READ, in_group(4), 9, now=5.07)
    assert inbox.due == pytest.approx(5.1)
    assert inbox.take_receipts() == [
        {"msgid": 13, "peerid": 2, "seq": 2},
        {"msgid": 13, "peerid": 3, "seq": 7},
        {"msgid": 27, "groupid": 4, "seq": 9},
    ]
    assert (inbox.due, inbox.take_receipts()) == (None, [])


def test_marks_of_64_entries_are_due_at_once(inbox: Inbox) -> None:
    for seq in range(1, 64):
        finish(inbox, entry(seq), now=5.0)
    assert inbox.due == pytest.approx(5.1)
    assert finish(inbox, entry(64), now=5.01)
    assert inbox.due == 5.01


def test_a_mark_never_goes_back(inbox: Inbox) -> None:
    inbox.add_receipt(MsgId.READ, with_user(2), 9, now=0)
    inbox.add_receipt(MsgId.READ, with_user(2), 4, now=0)
    assert inbox.take_receipts()[0]["seq"] == 9


def test_an_entry_is_taken_once_and_acknowledged_again_if_it_is_done(inbox: Inbox) -> None:
    assert inbox.accept(entry(1), now=0)
    assert not inbox.accept(entry(1), now=0)
    assert inbox.take_receipts() == [], "it was acknowledged before the application was done with it"
    inbox.acknowledge(entry(1), now=0)
    inbox.take_receipts()
    assert not inbox.accept(entry(1), now=0)
    assert received(inbox) == 1
    assert inbox.accept(entry(5), now=0), "a gap is our own messages; they are not sent to us"


def test_nothing_behind_an_open_entry_is_acknowledged(inbox: Inbox) -> None:
    for seq in (4, 5, 6):
        inbox.accept(entry(seq), now=0)
    inbox.acknowledge(entry(5), now=0)
    inbox.acknowledge(entry(6), now=0)
    assert received(inbox) is None
    inbox.acknowledge(entry(4), now=0)
    assert received(inbox) == 6


def test_an_entry_that_lapsed_is_taken_once_more_and_holds_up_the_acknowledgement(inbox: Inbox) -> None:
    for seq in (4, 5):
        inbox.accept(entry(seq), now=0)
    inbox.reject(entry(4))
    inbox.acknowledge(entry(5), now=0)
    assert received(inbox) is None
    assert [inbox.accept(entry(seq), now=0) for seq in (4, 4, 5, 6)] == [True, False, False, True]
    assert received(inbox) is None
    inbox.acknowledge(entry(4), now=0)
    assert received(inbox) == 5
    inbox.reject(entry(4))
    assert not inbox.accept(entry(4), now=0), "what is done does not lapse"


def test_a_number_that_is_given_out_again_is_a_new_entry(inbox: Inbox) -> None:
    """A database was restored: the log has gone back from 7 to 4, and on again with other entries."""
    inbox.remember_own((with_user(2), 6))
    for seq in (4, 5, 7):
        finish(inbox, entry(seq), now=0)
    inbox.take_receipts()
    again = entry(5)._replace(time="2026-11-23T06:00:00.000Z")
    assert inbox.accept(again, now=0)
    assert not inbox.accept(again, now=0)
    assert inbox.accept(entry(6), now=0)
    assert not inbox.is_own(entry(6))
    assert not inbox.accept(entry(4), now=0), "4 is the same as it was"
    inbox.acknowledge(again, now=0)
    assert received(inbox) == 5
    inbox.acknowledge(entry(6), now=0)
    assert received(inbox) == 6


def test_the_times_of_the_last_entries_are_remembered(inbox: Inbox) -> None:
    for seq in range(1, LATEST_TIMES + 2):
        finish(inbox, entry(seq), now=0)
    later = "2026-11-23T06:00:00.000Z"
    assert not inbox.accept(entry(1)._replace(time=later), now=0)
    assert inbox.accept(entry(2)._replace(time=later), now=0)


def finish(inbox: Inbox, message: Message, now: float) -> bool:
    """Take an entry and be done with it."""
    inbox.accept(message, now)
    return inbox.acknowledge(message, now)


def received(inbox: Inbox) -> int | None:
    """Return up to where the conversation is acknowledged now, if that is to be told."""
    return next((mark["seq"] for mark in inbox.take_receipts()), None)


def test_the_memory_of_own_messages_is_bounded(inbox: Inbox) -> None:
    for seq in range(OWN_MESSAGES + 1):
        inbox.remember_own((with_user(2), seq))
    assert not inbox.is_own(entry(0))
    assert inbox.is_own(entry(1))

"""The gate: each seq once and in order, whatever the order of pages and commits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from greenchat.model.records import Span
from greenchat.protocol.wire import Shared
from greenchat.service.device.holdback import PAGE_MESSAGES, Event, Gate

NOTHING = Shared()


def passes(gate: Gate, conversation: int, seq: int) -> bool:
    """Do with a live message as a session does, and return True if it is sent."""
    if gate.admit(conversation, seq):
        return True
    gate.extend(conversation, seq)
    return False


def test_a_conversation_that_nothing_is_expected_of_passes() -> None:
    gate = Gate()
    assert passes(gate, 1, 7)
    assert gate.idle
    assert not gate.more


def test_live_messages_wait_behind_what_is_to_come_and_pass_when_it_has() -> None:
    gate = Gate()
    gate.expect(Span(1, 2, 4))
    assert gate.more
    assert not passes(gate, 1, 5)
    assert passes(gate, 2, 1)
    assert gate.plan() == [Span(1, 2, 5)]
    gate.offer(1, 5)
    assert not gate.more
    assert not gate.idle
    assert not passes(gate, 1, 5)
    assert passes(gate, 1, 6)
    assert gate.idle
    assert passes(gate, 1, 7)


def test_a_gap_is_filled_from_the_log() -> None:
    gate = Gate()
    gate.expect(Span(1, 2, 2))
    assert not passes(gate, 1, 4)
    assert gate.plan() == [Span(1, 2, 4)]


def test_a_live_message_that_is_known_to_be_in_the_log_comes_from_there() -> None:
    """Its commit was seen in the log before it was announced: a page may be on its way."""
    gate = Gate()
    gate.expect(Span(1, 2, 2))
    gate.expect_head(1, 3)
    assert not passes(gate, 1, 3)
    assert gate.plan() == [Span(1, 2, 3)]


def test_a_head_counts_only_where_something_is_expected_and_never_goes_back() -> None:
    gate = Gate()
    gate.expect_head(1, 9)
    assert gate.plan() == []
    gate.expect(Span(1, 0, 5))
    gate.expect_head(1, 3)
    assert gate.plan() == [Span(1, 0, 5)]


def test_a_page_is_planned_over_conversations_up_to_200_entries() -> None:
    gate = Gate()
    gate.expect(Span(1, 0, 150))
    gate.expect(Span(2, 10, 90))
    gate.expect(Span(3, 0, 1))
    assert gate.plan() == [Span(1, 0, 150), Span(2, 10, 90)]
    assert gate.plan(only=3) == [Span(3, 0, 1)]
    assert PAGE_MESSAGES == 200


def test_a_shut_gate_gives_back_what_it_held_in_order() -> None:
    gate = Gate()
    gate.shut()
    assert gate.held == []
    assert not gate.idle
    events = [Event(1, seq, NOTHING) for seq in (1, 2)]
    gate.held.extend(events)
    assert gate.open() == events
    assert gate.held is None
    assert gate.open() == []
    assert gate.idle


@given(st.integers(0, 5), st.integers(0, 5), st.lists(st.sampled_from(["live", "page", "half"]), max_size=30))
def test_every_seq_comes_once_and_in_order(after: int, waiting: int, steps: list[str]) -> None:
    gate = Gate()
    head = after + waiting
    gate.expect(Span(1, after, head))
    seen: list[int] = []
    for step in [*steps, "page"]:
        if step == "live":
            head += 1
            if passes(gate, 1, head):
                seen.append(head)
            continue
        for _, start, upto in gate.plan():
            end = upto if step == "page" else (start + upto + 1) // 2  # no more had room
            seen += range(start + 1, end + 1)
            gate.offer(1, end)
    assert seen == list(range(after + 1, head + 1))
    assert not gate.more


def test_what_is_held_of_a_group_in_doubt_comes_from_the_log_behind_what_is_expected() -> None:
    gate = Gate()
    gate.shut()
    assert gate.held is not None
    gate.held += [Event(-1, 2, NOTHING), Event(1, 9, NOTHING), Event(-1, 3, NOTHING)]
    gate.expect(Span(-1, 0, 1))
    assert gate.doubt(-1)
    assert gate.plan(-1) == [Span(-1, 0, 3)]
    assert gate.open() == [Event(1, 9, NOTHING)]


def test_what_is_held_of_a_group_in_doubt_comes_from_the_log() -> None:
    gate = Gate()
    gate.shut()
    assert gate.held is not None
    gate.held += [Event(-1, 8, NOTHING), Event(-1, 9, NOTHING)]
    assert gate.doubt(-1)
    assert gate.plan(-1) == [Span(-1, 7, 9)]


def test_what_is_owed_more_while_the_head_is_being_read_is_not_forgotten() -> None:
    gate = Gate()
    gate.expect(Span(1, 5, 5))
    gate.owed.add(1)
    assert gate.extend(1, 6)
    gate.expect_head(1, 5)  # as it was read before
    assert gate.plan(1) == [Span(1, 5, 6)]


def test_what_the_client_asks_for_is_not_owed() -> None:
    gate = Gate()
    gate.expect(Span(1, 5, 7))
    assert not gate.extend(1, 8)
    assert gate.plan() == [Span(1, 5, 8)]
    gate.offer(1, 8)
    assert not gate.extend(1, 8)
    assert gate.extend(1, 9)

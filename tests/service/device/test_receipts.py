"""How far a device is: the rule of the last run of its own messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.service.device.receipts import Position


def follow(events: str) -> tuple[Position, list[bool]]:
    """Return where a device stands, and which messages it has by what was said.

    Args:
        events: ``m`` is a message of its own, ``o`` another's, a digit says that all up to there is received.
    """
    position, has = Position(), []
    for event in events:
        if event.isdigit():
            upto = min(int(event), len(has))
            position.received = max(position.received, upto)
            has[:upto] = [True] * upto
        else:
            has.append(event == "m")
            if has[-1]:
                assert position.sent(len(has))
    return position, has


@pytest.mark.parametrize(
    ("events", "reached"),
    [
        ("", 0),
        ("o", 0),
        ("m", 1),
        ("mm", 2),
        ("mo", 1),
        ("mom", 1),
        ("mom2", 3),
        ("mmomm3", 5),
        ("o1m", 2),
        ("o1mom", 2),
        ("o1mom3", 4),
        ("om", 0),
        ("omm", 0),
        ("omm1", 3),
        ("oom1", 1),
        ("oom2", 3),
        ("omom", 0),
        ("omom3", 4),
    ],
)
def test_own_messages_count_once_nothing_before_them_is_pending(events: str, reached: int) -> None:
    assert follow(events)[0].after(0) == reached


def test_only_the_last_run_is_remembered() -> None:
    """What is forgotten comes again, that is all."""
    assert follow("omom1")[0].after(0) == 1


@given(st.text("mo123456789", max_size=12))
def test_a_device_is_never_further_than_what_it_has(events: str) -> None:
    position, has = follow(events)
    assert all(has[: position.after(0)])


@pytest.mark.parametrize(("cursor", "reached"), [(0, 0), (3, 3), (4, 6), (5, 6), (6, 6), (9, 9)])
def test_a_cursor_in_the_database_reaches_a_run_too(cursor: int, reached: int) -> None:
    position = Position()
    position.sent(5)
    position.sent(6)
    assert position.after(cursor) == reached


def test_a_message_that_is_sent_again_changes_nothing() -> None:
    position = Position()
    assert [position.sent(seq) for seq in (5, 6, 5, 6)] == [True, True, False, False]
    assert (position.own_from, position.own_to) == (5, 6)


@pytest.mark.parametrize("seqs", [(1,), (1, 2), (7, 8, 9)])
def test_a_run_says_where_it_begins_and_ends(seqs: tuple[int, ...]) -> None:
    position = Position()
    for seq in seqs:
        position.sent(seq)
    assert (position.own_from, position.own_to) == (seqs[0], seqs[-1])

"""How far a device is: the rule of the last run of its own entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.service.device.receipts import Receipts
from tests.service.device.support import Cursors

Moves = list[tuple[int, int, int, int]]


def keep(moves: Moves) -> Receipts:
    """Return receipts that note how they move the cursor."""
    cursors = Cursors()
    cursors.moves = moves
    return Receipts(cursors, 1, "")


def follow(events: str) -> tuple[Receipts, list[bool]]:
    """Return the receipts of a device for conversation 7, and for each entry whether the device has it.

    Args:
        events: ``m`` is an entry of its own, ``o`` one of others, a digit receives all up to there.
    """
    moves: Moves = []
    receipts, has = keep(moves), list[bool]()
    for event in events:
        if event.isdigit():
            upto = min(int(event), len(has))
            receipts.received(7, upto)
            has[:upto] = [True] * upto
        else:
            has.append(event == "m")
            if has[-1]:
                receipts.sent(7, len(has))
                assert moves.pop()[3] == len(has)
    return receipts, has


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
def test_own_entries_count_once_nothing_before_them_is_pending(events: str, reached: int) -> None:
    assert follow(events)[0].reached(7, 0) == reached


def test_only_the_last_run_is_remembered() -> None:
    """An entry of an earlier run is offered again."""
    assert follow("omom1")[0].reached(7, 0) == 1


@given(st.text("mo123456789", max_size=12))
def test_a_device_is_never_further_than_the_entries_it_has(events: str) -> None:
    receipts, has = follow(events)
    assert all(has[: receipts.reached(7, 0)])


@pytest.mark.parametrize(("cursor", "reached"), [(0, 0), (3, 3), (4, 6), (5, 6), (6, 6), (9, 9)])
def test_a_cursor_in_the_database_reaches_a_run_too(cursor: int, reached: int) -> None:
    receipts = keep([])
    receipts.sent(7, 5)
    receipts.sent(7, 6)
    assert receipts.reached(7, cursor) == reached


def test_conversations_are_kept_apart() -> None:
    receipts = keep([])
    receipts.received(7, 5)
    assert (receipts.reached(7, 0), receipts.reached(8, 0)) == (5, 0)


def test_an_entry_that_is_sent_again_moves_no_cursor() -> None:
    moves: Moves = []
    receipts = keep(moves)
    for seq in (5, 6, 5, 6):
        receipts.sent(7, seq)
    assert moves == [(7, 0, 5, 5), (7, 0, 5, 6)]


def test_a_receipt_that_was_given_before_moves_no_cursor() -> None:
    moves: Moves = []
    receipts = keep(moves)
    for seq in (5, 4, 5, 6):
        receipts.received(7, seq)
    assert moves == [(7, 5, 0, 0), (7, 6, 0, 0)]

"""A queue in which nobody keeps the others out."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from greenchat.model.records import Share
from greenchat.server.fair_queue import FairQueue


def share(text: str) -> Share:
    """Return a share: its address and its account, a letter each."""
    return Share(*text)


def filled(size: int, *shares: str) -> FairQueue[str]:
    """Return a queue of items that are called by their shares and numbers."""
    queue: FairQueue[str] = FairQueue(size)
    numbers: Counter[str] = Counter()
    for text in shares:
        numbers[text] += 1
        assert queue.put(share(text), f"{text}{numbers[text]}") is None
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    """Return all that is in a queue, in the order in which it is taken."""
    items = []
    while (item := queue.take()) is not None:
        items.append(item)
    return items


def test_one_share_is_served_in_order() -> None:
    assert drained(filled(3, "ax", "ax", "ax")) == ["ax1", "ax2", "ax3"]


def test_addresses_take_turns_whatever_they_have_waiting() -> None:
    assert drained(filled(9, "ax", "ax", "ax", "bx", "cx", "cx")) == [
        "ax1",
        "bx1",
        "cx1",
        "ax2",
        "cx2",
        "ax3",
    ]


def test_accounts_of_an_address_take_turns() -> None:
    assert drained(filled(9, "ax", "ax", "ay", "bx", "ax")) == ["ax1", "bx1", "ay1", "ax2", "ax3"]


def test_a_full_queue_drops_the_newest_of_the_account_that_has_most_at_the_address_that_has_most() -> None:
    queue = filled(6, "ax", "ay", "ay", "ay", "bx", "bx")
    assert queue.put(share("cx"), "cx1") == "ay3"
    assert queue.put(share("cx"), "cx2") == "ay2"
    assert queue.put(share("cx"), "cx3") == "cx3"
    assert drained(queue) == ["ax1", "bx1", "cx1", "ay1", "bx2", "cx2"]


def test_of_shares_as_large_the_newcomers_gives_way() -> None:
    queue = filled(2, "ax", "bx")
    assert queue.put(share("cx"), "cx1") == "cx1"
    assert queue.put(share("ay"), "ay1") == "ay1"
    assert drained(queue) == ["ax1", "bx1"]


def test_nothing_has_room_where_there_is_none() -> None:
    queue: FairQueue[str] = FairQueue(0)
    assert queue.put(share("ax"), "ax1") == "ax1"
    assert queue.take() is None


def test_an_item_can_be_taken_out() -> None:
    queue = filled(3, "ax", "ax", "by")
    queue.remove(share("ax"), "ax1")
    assert queue.put(share("ax"), "ax3") is None
    assert drained(queue) == ["ax2", "by1", "ax3"]


def test_seventy_of_nine_accounts_keep_nobody_else_out() -> None:
    """Of one address each, or all of one."""
    for address in ("a", None):
        queue: FairQueue[str] = FairQueue(63)
        for number in range(70):
            account = f"{number % 9}"
            queue.put(Share(address or account, account), "guess")
        for number in range(50):
            assert queue.put(Share(address or f"x{number}", f"x{number}"), "login") != "login"
        served = [queue.take() for _ in range(59)]
        assert served.count("login") == 50


@given(st.integers(1, 8), st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))))
def test_what_is_put_in_comes_out_once_or_is_dropped(size: int, shares: list[tuple[str, str]]) -> None:
    queue: FairQueue[int] = FairQueue(size)
    dropped = [queue.put(Share(*one), number) for number, one in enumerate(shares)]
    out = []
    while (item := queue.take()) is not None:
        out.append(item)
    assert len(out) == min(size, len(shares))
    assert sorted([*out, *(item for item in dropped if item is not None)]) == list(range(len(shares)))

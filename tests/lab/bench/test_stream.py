"""What is planted is found: losses, doubles, wrong orders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.bench.stream import Stream


def stream(*batches: list[int], first: int = 1) -> Stream:
    stream = Stream(first)
    for batch in batches:
        stream.take(batch)
    return stream


@pytest.mark.parametrize("batches", [[], [[]], [[1, 2, 3]], [[1], [2], [3]], [[1, 2], [], [3]]], ids=str)
def test_what_comes_once_and_in_order_has_no_faults(batches: list[list[int]]) -> None:
    whole = stream(*batches)
    assert whole.faults(whole.next) == {}


@pytest.mark.parametrize(
    ("batches", "faults"),
    [
        ([[1, 2, 4, 5]], {"lost": 1}),
        ([[2, 3, 4, 5]], {"lost": 1}),
        ([[1, 2, 3]], {"lost": 2}),
        ([], {"lost": 5}),
        ([[1, 2], [5]], {"lost": 2}),
        ([[1, 2, 2, 3, 4, 5]], {"doubled": 1}),
        ([[1, 2, 3, 4, 5], [4, 5]], {"doubled": 2}),
        ([[1, 3, 2, 4, 5]], {"reordered": 1}),
        ([[2, 3, 4], [5, 1]], {"reordered": 1}),
        ([[5, 4, 3, 2, 1]], {"reordered": 4}),
        ([[1, 2, 3, 4, 5, 6]], {"never sent": 1}),
        ([[1, 3, 2, 2, 5]], {"lost": 1, "doubled": 1, "reordered": 1}),
    ],
)
def test_a_planted_fault_is_found(batches: list[list[int]], faults: dict[str, int]) -> None:
    assert stream(*batches).faults(6) == faults


def test_a_stream_may_begin_anywhere_and_a_fault_may_have_a_name() -> None:
    assert stream([7, 8], first=7).faults(9) == {}
    assert stream([8], first=7).faults(9, "seqs ") == {"seqs lost": 1}
    assert stream([6, 7, 8], first=7).faults(9) == {"doubled": 1}


@given(st.permutations(range(1, 9)), st.lists(st.integers(1, 8)), st.sets(st.integers(1, 8)))
def test_every_number_is_there_once_or_is_a_fault(order: list[int], again: list[int], lost: set[int]) -> None:
    came = [number for number in [*order, *again] if number not in lost]
    once = len(set(came))
    faults = stream(*[[number] for number in came]).faults(9)
    assert faults == stream(came).faults(9)
    assert faults["lost"] == 8 - once
    assert faults["doubled"] == len(came) - once
    assert faults["reordered"] == sum(
        number < max(came[: came.index(number)], default=0) for number in set(came)
    )

"""Percentiles of measured values."""

from __future__ import annotations

from math import isnan

import pytest

from lab.percentiles import percentile, spread


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99.9, 7.0),
        ([1, 2, 3, 4], 50, 2),
        ([1, 2, 3], 50, 2),
        (range(1, 101), 99, 99),
        (range(1, 1001), 99.9, 999),
        (range(1, 101), 99.9, 100),
        (range(1, 101), 100, 100),
    ],
)
def test_percentiles_are_by_nearest_rank(values: list[float], percent: float, found: float) -> None:
    assert percentile(values, percent) == found


def test_of_no_values_there_is_no_percentile_and_no_spread() -> None:
    assert isnan(percentile([], 50))
    assert spread([]) == {}


def test_a_spread_has_the_ends_the_median_and_the_tail() -> None:
    found = spread([number / 3 for number in range(100, 0, -1)])
    assert found == {"least": 0.333, "median": 16.667, "p99": 33.0, "most": 33.333}

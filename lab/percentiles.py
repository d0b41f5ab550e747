"""Percentiles of measured values."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the smallest value that is not below ``percent`` % of the values (nearest rank).

    Args:
        ascending: the values, sorted; NaN is returned if there is none.
        percent: above 0, at most 100.
    """
    if not ascending:
        return math.nan
    return ascending[max(0, math.ceil(len(ascending) * percent / 100 - 1e-9) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the least, the median, the 99th percentile and the most of some values, if there are any."""
    ascending = sorted(values)
    if not ascending:
        return {}
    found = {
        "least": ascending[0],
        "median": percentile(ascending, 50),
        "p99": percentile(ascending, 99),
        "most": ascending[-1],
    }
    return {name: round(value, 3) for name, value in found.items()}

"""Instants on the wire."""

from __future__ import annotations

import pytest

from greenchat.model.instants import later, shifted

NOW = "2026-11-23T05:20:00.123Z"


@pytest.mark.parametrize(
    ("than", "expected"),
    [
        ("2026-11-23T05:20:00.122Z", NOW),
        (NOW, "2026-11-23T05:20:00.124Z"),
        ("2026-11-23T05:20:00.999Z", "2026-11-23T05:20:01.000Z"),
        ("2027-12-31T23:59:59.999Z", "2028-01-01T00:00:00.000Z"),
    ],
)
def test_a_later_instant_is_now_or_a_millisecond_after_the_other(than: str, expected: str) -> None:
    assert later(NOW, than) == expected


@pytest.mark.parametrize(
    ("instant", "seconds", "wanted"),
    [
        ("2026-11-21T00:00:00.000Z", -3 * 3600, "2026-11-20T21:00:00.000Z"),
        ("2026-11-21T24:00:00.000Z", 3 * 3600, "2026-11-22T03:00:00.000Z"),
        ("2026-11-21T23:59:59.123Z", 1, "2026-11-22T00:00:00.123Z"),
        ("0001-01-01T00:00:00.000Z", -1, "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T24:00:00.000Z", 1, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_an_instant_can_be_shifted_within_the_calendar(instant: str, seconds: int, wanted: str) -> None:
    assert shifted(instant, seconds) == wanted

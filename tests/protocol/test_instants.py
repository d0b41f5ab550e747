"""Instants on the wire."""

from __future__ import annotations

import pytest

from greenchat.protocol.instants import later

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

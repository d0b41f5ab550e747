"""Instants on the wire: ISO 8601, UTC, milliseconds (``2026-11-23T05:20:00.123Z``).

The form sorts as it counts, so it is also what the database keeps.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache


def to_instant(seconds: float) -> str:
    """Write seconds since 1970 (UTC) as an instant, cut to milliseconds."""
    second, millisecond = divmod(int(seconds * 1000), 1000)
    return f"{_second(second)}.{millisecond:03d}Z"


def to_seconds(instant: str) -> float:
    """Read an instant as seconds since 1970 (UTC)."""
    return datetime.fromisoformat(instant).timestamp()


def later(now: str, than: str) -> str:
    """Return ``now``, or the instant a millisecond after ``than`` if ``now`` is not later."""
    if now > than:
        return now
    next_one = datetime.fromisoformat(than) + timedelta(milliseconds=1)
    return next_one.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shifted(instant: str, seconds: int) -> str:
    """Return the instant so many seconds after another (before it, if negative), within the calendar.

    ``T24:00:00.000Z`` is taken too: it is the end of a day.
    """
    midnight = datetime.fromisoformat(instant[:10])
    hours, minutes, rest = instant[11:-1].split(":")
    passed = timedelta(hours=int(hours), minutes=int(minutes), seconds=float(rest))
    try:
        moved = midnight + passed + timedelta(seconds=seconds)
    except OverflowError:
        moved = datetime.min if seconds < 0 else datetime.max
    return moved.isoformat(timespec="milliseconds") + "Z"


def day_bounds(day: str) -> tuple[str, str]:
    """Return the first instant of a day, ``YYYY-MM-DD`` in UTC, and one after all of its instants.

    Raises:
        ValueError: there is no such day.
    """
    if str(date.fromisoformat(day)) != day:  # it takes other forms too
        raise ValueError(day)
    return f"{day}T00:00:00.000Z", f"{day}T24:00:00.000Z"


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")

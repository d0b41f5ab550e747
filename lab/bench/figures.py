"""The arithmetic: spans of CPU time, rows of results, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

LIMIT = 0.9
"""Share of its core above which the load generator limits the rate."""


class Reading(NamedTuple):
    """The clocks at one instant, in seconds."""

    wall: float
    server: float
    """CPU of the greenchat servers."""
    database: float
    """CPU of the database's and the bus's own processes; 0 where the database is in the server."""
    load: float
    busy: float
    """CPU of all processes of the machine, and the time that the hypervisor took."""


class Span(NamedTuple):
    """Differences of two readings, in seconds; ``noise`` as a share of the machine's time."""

    wall: float
    server: float
    database: float
    load: float
    noise: float

    @classmethod
    def between(cls, start: Reading, end: Reading, cores: int) -> Span:
        """Return the span from one reading to another."""
        passed = Reading(*(late - early for early, late in zip(start, end, strict=True)))
        ours = passed.server + passed.database + passed.load
        noise = (passed.busy - ours) / (passed.wall * cores) if passed.wall else 0.0
        return cls(passed.wall, passed.server, passed.database, passed.load, max(0.0, noise))

    def rate(self, count: float) -> float:
        """Return ``count`` for a second on the clock."""
        return _per(count, self.wall)

    def per_server(self, count: float) -> float:
        """Return ``count`` for a second of the servers' CPU."""
        return _per(count, self.server)

    def per_total(self, count: float) -> float:
        """Return ``count`` for a second of the CPU of servers and database together."""
        return _per(count, self.server + self.database)


@dataclass
class Row:
    """A line of the table.

    Args:
        name: the key for ``--compare``.
        figure: the one that counts.
        unit: of the figure.
        less_is_better: how to read a ratio.
        more: further figures, by name.
        faults: counts of messages lost, doubled, reordered, refused: none, or the figure is worth nothing.
        notes: warnings to the reader.
    """

    name: str
    figure: float
    unit: str
    less_is_better: bool = False
    more: dict[str, float] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def of_cpu(name: str, what: str, count: int, span: Span, faults: Mapping[str, int] | None = None) -> Row:
    """Return the row of something that was done ``count`` times: how often in a second of server CPU."""
    row = Row(name, span.per_server(count), f"{what}/CPU-s", more={"per_second": span.rate(count)})
    if span.database:
        row.more["with_database"] = span.per_total(count)
    return with_span(row, span, faults)


def of_cost(name: str, what: str, count: int, span: Span, faults: Mapping[str, int] | None = None) -> Row:
    """Return the row of something that was done ``count`` times: the cost of each, in ms of server CPU."""
    row = Row(name, 1000 * _per(span.server, count), f"ms CPU/{what}", less_is_better=True)
    row.more["per_second"] = span.rate(count)
    if span.database:
        row.more["with_database"] = 1000 * _per(span.server + span.database, count)
    return with_span(row, span, faults)


def of_core(name: str, span: Span) -> Row:
    """Return the row of something that goes on by itself: how much of a core the server takes for it."""
    row = Row(name, 100 * _per(span.server, span.wall), "% of a core", less_is_better=True)
    if span.database:
        row.more["with_database"] = 100 * _per(span.server + span.database, span.wall)
    return with_span(row, span)


def with_span(row: Row, span: Span, faults: Mapping[str, int] | None = None) -> Row:
    """Add to a row the shares of the machine, the faults, and a note if the load generator was the limit."""
    row.more |= {
        "server_share": _per(span.server, span.wall),
        "load_share": _per(span.load, span.wall),
        "noise": span.noise,
    }
    row.faults |= faults or {}
    if row.more["load_share"] > LIMIT:
        row.notes.append("the load generator was the limit: the server could do more a second")
    return row


def add_tcp(rows: Sequence[Row], beside: Sequence[Row]) -> None:
    """Add to rows the figure of the same over TCP, and its faults."""
    for row, other in zip(rows, beside, strict=False):
        row.more["tcp"] = other.figure
        row.faults |= {f"{fault} over TCP": number for fault, number in other.faults.items()}


def ratios(rows: Sequence[Row], earlier: Mapping[str, Any]) -> dict[str, float]:
    """Return, for each row that an earlier run has too, figure by earlier figure.

    Args:
        rows: of this run.
        earlier: the JSON that the earlier run wrote.
    """
    before = {row["name"]: row for row in earlier["rows"]}
    return {
        row.name: row.figure / before[row.name]["figure"]
        for row in rows
        if row.name in before and before[row.name]["unit"] == row.unit and before[row.name]["figure"]
    }


def _per(count: float, amount: float) -> float:
    return count / amount if amount > 0 else 0.0

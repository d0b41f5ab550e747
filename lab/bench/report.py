"""The report: progress while it runs, the table, and the JSON for the next run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from lab.bench.figures import Row, ratios

NOISE = 0.05
"""Of the machine's time: with more in other processes' hands, figures are to be doubted."""


class Progress:
    """One line for each scenario, with the step under way if the stream is a terminal.

    Args:
        stream: where to.
        total: how many scenarios there are.
    """

    def __init__(self, stream: TextIO, total: int) -> None:
        self._stream = stream
        self._total = total
        self._number = 0
        self._name = ""

    def begin(self, name: str) -> None:
        """Begin a scenario."""
        self._number += 1
        self._name = f"[{self._number}/{self._total}] {name}"
        self._show("")

    def tell(self, what: str) -> None:
        """Show the step under way."""
        if self._stream.isatty():
            self._show(f": {what} …")

    def end(self, what: str) -> None:
        """Show the result."""
        self._show(f": {what}\n")

    def _show(self, rest: str) -> None:
        start = "\r\x1b[K" if self._stream.isatty() else ""
        if start or rest:
            self._stream.write(f"{start}{self._name}{rest}")
            self._stream.flush()


def show(row: Row) -> str:
    """Return a row's figure with its unit."""
    return f"{number(row.figure)} {row.unit}"


def number(value: float) -> str:
    """Return a figure as people read it: three digits count."""
    if abs(value) >= 1000:
        digits = len(str(int(abs(value))))
        return f"{round(value, 3 - digits):,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(rows: Sequence[Row], earlier: Mapping[str, Any] | None = None) -> str:
    """Return the rows as a table (of Markdown, so that it can be pasted).

    Args:
        rows: the results.
        earlier: the JSON of an earlier run, to show ratios to.
    """
    with_database = any("with_database" in row.more for row in rows)
    head = ["what", "figure", "unit", *(["with database's CPU"] if with_database else [])]
    with_tcp = any("tcp" in row.more for row in rows)
    head += ["over TCP", "to TCP"] if with_tcp else []
    head += ["a second", "server", "load", "others", *(["to earlier"] if earlier else [])]
    found = ratios(rows, earlier) if earlier else {}
    lines = [head]
    for row in rows:
        line = [row.name, number(row.figure) + ("" if not row.faults else " (!)"), row.unit]
        line += [_more(row, "with_database", number)] if with_database else []
        line += [_more(row, "tcp", number), _to_tcp(row)] if with_tcp else []
        line += [_more(row, "per_second", number), _more(row, "server_share", _percent)]
        line += [_more(row, "load_share", _percent), _more(row, "noise", _percent)]
        line += [_ratio(row, found)] if earlier else []
        lines.append(line)
    return "\n".join([*_aligned(lines), *_remarks(rows)])


def write_json(path: Path, about: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write the JSON that ``--compare`` reads."""
    found = {**about, "rows": [row.as_json() for row in rows]}
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    return [shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]]


def _more(row: Row, name: str, form: Any) -> str:
    return form(row.more[name]) if name in row.more else ""


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _to_tcp(row: Row) -> str:
    tcp = row.more.get("tcp", 0)
    return f"× {row.figure / tcp:.2f}" if tcp else ""


def _ratio(row: Row, found: Mapping[str, float]) -> str:
    if row.name not in found:
        return ""
    ratio = found[row.name]
    better = "" if ratio == 1 else " better" if (ratio < 1) == row.less_is_better else " worse"
    return f"× {ratio:.2f}{better}"


def _remarks(rows: Sequence[Row]) -> list[str]:
    """Return the remarks, each once, with the rows that it is about."""
    about: dict[str, list[str]] = {}
    for row in rows:
        faults = [f"{count:,} {fault}" for fault, count in row.faults.items()]
        for what in [*faults, *row.notes]:
            about.setdefault(what, []).append(row.name)
    remarks = [f"{', '.join(names)}: {what}" for what, names in about.items()]
    if any(row.more.get("noise", 0) > NOISE for row in rows):
        remarks.append(
            'Other processes had much of the machine ("others"): repeat it, and trust no small difference.'
        )
    return ["", *remarks] if remarks else []


def load_json(path: Path) -> dict[str, Any]:
    """Read the JSON of an earlier run.

    Raises:
        OSError, ValueError: it cannot be read, or is something else.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise ValueError("not written by scripts/bench")
    return found


def complain(sentence: str) -> None:
    """Write an error to standard error."""
    print(f"bench: {sentence}", file=sys.stderr)

"""The command: ``scripts/bench [options]``."""

from __future__ import annotations

import argparse
import fnmatch
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenchat import __version__
from lab import machine
from lab.bench.bench import Bench, Skipped
from lab.bench.figures import Row, add_tcp
from lab.bench.report import Progress, complain, load_json, show, table, write_json
from lab.bench.scenarios import ALL, GROWTH, STANDARD
from lab.bench.site import TCP, WEBSOCKET, Lab, a_lab
from lab.servers.program import LabError

FAULTY, UNUSABLE = 1, 2
"""Exit statuses: something was lost, doubled, reordered or refused; it could not be run."""


def main(arguments: Sequence[str]) -> int:
    """Run it and return the exit status."""
    options = command_line().parse_args(arguments)
    for name in [name for name in os.environ if name.startswith("GREENCHAT_")]:
        del os.environ[name]  # a setting of somebody's own server
    try:
        names = chosen(options.only, options.growth)
        earlier = load_json(options.compare) if options.compare else None
        with a_lab(options.cluster, options.server) as lab:
            seconds = options.seconds or (1.0 if options.quick else 5.0)
            rows = run(names, lab, seconds, options.quick, options.wire)
    except (LabError, OSError, ValueError) as error:
        complain(str(error))
        return UNUSABLE
    print(table(rows, earlier))
    about = _about(lab, options)
    write_json(options.json or Path(f"bench-{datetime.now():%Y%m%d-%H%M%S}.json"), about, rows)
    return FAULTY if any(row.faults for row in rows) else 0


def run(names: Sequence[str], lab: Lab, seconds: float, quick: bool, wire: str = TCP) -> list[Row]:
    """Run scenarios, show how it goes, and return all rows.

    Those over WebSocket have each scenario run over TCP right before, and say what it took there.
    """
    progress = Progress(sys.stderr, len(names))
    bench = Bench(lab, seconds, quick, machine.raise_file_limit(), progress.tell)
    os.sched_setaffinity(0, [lab.cores.load])
    rows: list[Row] = []
    for name in names:
        progress.begin(name)
        try:
            lab.wire = TCP
            beside = ALL[name].run(bench, name) if wire == WEBSOCKET else []
            lab.wire = wire
            found = ALL[name].run(bench, name)
        except Skipped as reason:
            progress.end(f"skipped: it {reason}")
        except LabError as error:
            rows.append(Row(name, 0.0, "", faults={str(error): 1}))
            progress.end(f"failed: {error}")
        else:
            add_tcp(found, beside)
            _add_complaints(bench, found)
            rows += found
            progress.end(", ".join(map(show, found)))
    return rows


def _add_complaints(bench: Bench, rows: Sequence[Row]) -> None:
    """Make the complaints of the servers a fault of the rows."""
    complaints, bench.complaints = bench.complaints, []
    for row in rows if complaints else ():
        row.faults["complaints in the server's log"] = len(complaints)
        row.notes.append(complaints[0])


def chosen(only: str | None, growth: bool) -> list[str]:
    """Return the names of the scenarios to run.

    Args:
        only: names or patterns (``login*``) with commas between; None for all of the set.
        growth: True for the set ``GROWTH``.

    Raises:
        ValueError: there is no such name.
    """
    if only is None:
        return list(GROWTH if growth else STANDARD)
    names: list[str] = []
    for pattern in only.split(","):
        found = fnmatch.filter(ALL, pattern.strip())
        if not found:
            raise ValueError(f"there is no {pattern!r}; there are {', '.join(ALL)}")
        names += [name for name in found if name not in names]
    return names


def command_line() -> argparse.ArgumentParser:
    width = max(map(len, ALL))
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure greenchat: messages for each second of server CPU, logins, memory, latency.\n"
        "docs/performance.md explains the method and the figures.",
        epilog="names:\n" + "\n".join(f"  {name:{width}}  {scenario.what}" for name, scenario in ALL.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cluster", action="store_true", help="two nodes on a private MariaDB and Redis")
    parser.add_argument(
        "--growth", action="store_true", help="does it cost more with more around it? 5 minutes, 2 GB of disk"
    )
    parser.add_argument(
        "--wire",
        choices=(TCP, WEBSOCKET),
        default=TCP,
        help="what the clients speak; with websocket each is run over TCP too, and shown beside it",
    )
    parser.add_argument("--only", metavar="NAMES", help="these alone, as in w1,login*")
    parser.add_argument("--seconds", type=float, metavar="S", help="how long each is measured (default: 5)")
    parser.add_argument("--quick", action="store_true", help="1 s each and small crowds: a look, no figures")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where to write the figures (bench-TIME.json)"
    )
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="show ratios to the figures of an earlier run"
    )
    parser.add_argument("server", nargs="*", metavar="-- OPTION", help="further options of the servers")
    return parser


def _about(lab: Lab, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "greenchat": __version__,
        "commit": _commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "kind": lab.kind,
        "quick": options.quick,
        "seconds": options.seconds,
        "wire": options.wire,
        "options": options.server,
        "machine": machine.describe(),
    }


def _commit() -> str:
    """Return the commit that is checked out, with a mark if the files differ from it; empty if unknown."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return described.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

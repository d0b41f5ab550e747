"""``python -m lab.hostile [NAME …] [--seconds S] [--scale N]``: run scenarios and print a table."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from lab.hostile.scenarios import SCENARIOS, run
from lab.machine import raise_file_limit
from lab.servers.program import LabError


def main() -> None:
    """Run scenarios and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.hostile", description="Attack a server, and see how two innocents fare."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios (default: all)")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--scale", type=int, default=1, help="times the peers of the tests")
    ours = parser.parse_args()
    raise_file_limit()
    form = "{:<30} {:>7} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}"
    columns = "peers", "RSS MiB", "peak MiB", "calm ms", "median ms", "p99 ms", "most ms"
    print(form.format("", *columns), flush=True)
    for name in ours.names or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="greenchat-hostile-") as folder:
            try:
                found = run(name, Path(folder), ours.seconds, ours.scale)
            except LabError as error:
                print(f"{name}: {error}", flush=True)
                continue
        times = found["innocents_ms"]
        row = found["peers"], found["rss_before_mib"], found["rss_peak_mib"], found["calm_ms"]["median"]
        print(form.format(name, *row, times["median"], times["p99"], times["most"]), flush=True)


if __name__ == "__main__":
    main()

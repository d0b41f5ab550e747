"""The report of a failed test says what its servers have complained of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab import ROOT
from lab.servers.node import environment
from tests.complaints import LINES, complaints
from tests.system.server import DEADLINE

LOG = """\
2026-12-01 10:00:00,000 INFO greenchat: well
2026-12-01 10:00:01,000 WARNING greenchat.bus: not so well
2026-12-01 10:00:02,000 INFO greenchat: well
Traceback (most recent call last):
  File "x.py", line 1, in <module>
ValueError: a bug
2026-12-01 10:00:03,000 INFO greenchat: well
2026-12-01 10:00:03 7 [Warning] Aborted connection 7
2026-12-01  9:00:03 7 [Note] ready
2026-12-01 10:00:04,000 ERROR greenchat.data: away
"""

CONFTEST = """
from tests.complaints import pytest_runtest_makereport
from tests.system.conftest import start
"""

FAILING = """
WORDS = "WARNING greenchat.bus: not so well"


def test_that_fails(start):
    server = start(expected=(WORDS,))
    with server.log.open("a") as log:
        print("2026-12-01 10:00:01,000", WORDS, file=log)
    raise AssertionError
"""


def test_complaints_are_warnings_errors_and_tracebacks() -> None:
    assert complaints(LOG) == [LOG.splitlines()[number] for number in (1, 3, 4, 5, 7, 9)]


def test_the_last_ones_are_shown() -> None:
    lines = [f"2026-12-01 10:00:00,000 ERROR greenchat: {number}" for number in range(2 * LINES)]
    assert complaints("\n".join(lines)) == lines[LINES:]


def test_a_failure_shows_them(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILING)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    words = [
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
        "-c",
        "/dev/null",
        "--rootdir",
        str(tmp_path),
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert "1 failed" in ran.stdout, ran.stdout + ran.stderr
    assert "complaints of the server on port " in ran.stdout
    assert ran.stdout.count("WARNING greenchat.bus: not so well") == 1

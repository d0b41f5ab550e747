"""After a restart everybody comes back at once: all are served, and nobody is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from lab import ROOT

DEADLINE = 120.0
"""Seconds that a storm may take: generous, because nothing waits for it when all is well."""


def storm(clients: int, *options: object) -> dict[str, Any]:
    """Let so many clients come at once, and return the figures."""
    words = [sys.executable, "-m", "lab.storm", clients, "--online", 10, *options]
    command = list(map(str, words))
    told = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=DEADLINE)
    assert told.returncode == 0, told.stderr
    figures: dict[str, Any] = json.loads(told.stdout)
    assert figures["broken"] == {}, "evicted, or closed without a word"
    assert figures["online_broken"] == {}
    assert figures["online_heartbeats_ms"]
    return figures


def test_all_are_served_at_the_first_try_where_there_is_room() -> None:
    assert storm(300)["told_to_wait"] == 0


def test_those_beyond_the_limit_of_strangers_are_told_when_to_come_back_and_served_then() -> None:
    figures = storm(300, "--max-strangers", 40)
    assert figures["told_to_wait"] > 0
    waits = figures["wait_seconds"]
    assert waits["least"] >= 1.0
    assert waits["most"] <= 15.0
    assert waits["median"] > waits["least"], "all at once again"

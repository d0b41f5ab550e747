"""How many Python calls and socket calls a server makes for one chat message."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from lab import ROOT

MOST_CALLS = 60
"""Calls of greenchat's functions for a message that comes alone."""

SOCKET_CALLS = 3
"""The request is read, the answer and the message are written."""


def test_a_message_passes_few_calls() -> None:
    """Run the trip in a process of its own, which it patches."""
    done = subprocess.run(
        [sys.executable, "-m", "lab.trip"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    trip = json.loads(done.stdout.splitlines()[-1])
    assert trip["own"] <= MOST_CALLS
    assert trip["sockets"] == SOCKET_CALLS

"""How many Python calls and socket calls a server makes for one chat message."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from lab import ROOT

MOST_CALLS = 60
"""Calls of greenchat's functions for a message that comes alone."""

SOCKET_CALLS = 3
"""The request is read, the answer and the message are written."""


MORE_CALLS = {"tcp": 0, "websocket": 6}
"""The same more for clients of each wire: over WebSocket a frame is made of each answer and entry."""


@pytest.mark.parametrize("wire", MORE_CALLS)
def test_a_message_passes_few_calls(wire: str) -> None:
    """Run the trip in a process of its own, which it patches."""
    done = subprocess.run(
        [sys.executable, "-m", "lab.trip", "--wire", wire],
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
    assert trip["own"] <= MOST_CALLS + MORE_CALLS[wire]
    assert trip["sockets"] == SOCKET_CALLS

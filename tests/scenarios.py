"""Tests that need a monkey-patched process: scenarios, which run in one of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

from lab import ROOT
from lab.servers.mariadb import MariaDb
from lab.servers.redis import Redis

DEADLINE = 150.0
"""Seconds that a scenario may take: generous, because nothing waits for it when all is well."""


class Scenario:
    """Runs the functions of a module in processes of their own, and does to a server what they ask.

    Args:
        module: run as ``python -m MODULE NAME URL``.
        server: what it asks about, by a line on stdout: kill, start, or the name of a signal.
    """

    def __init__(self, module: str, server: MariaDb | Redis) -> None:
        self._module = module
        self._server = server

    def __call__(self, name: str, url: str) -> None:
        """Run one, and fail if it does."""
        running = subprocess.Popen(
            [sys.executable, "-m", self._module, name, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        watchdog = threading.Timer(DEADLINE, running.kill)
        watchdog.start()
        try:
            assert running.stdin
            assert running.stdout
            assert running.stderr
            for request in running.stdout:
                self._do(request.strip())
                running.stdin.write("done\n")
                running.stdin.flush()
            said = running.stderr.read()
            assert running.wait(DEADLINE) == 0, said
            assert "Traceback" not in said, said
            assert "s3cret" not in said
        finally:
            watchdog.cancel()
            running.kill()
            running.communicate()
            self._server.signal(signal.SIGCONT)

    def _do(self, request: str) -> None:
        if request.startswith("SIG"):
            self._server.signal(signal.Signals[request])
        else:
            {"kill": self._server.kill, "start": self._server.start}[request]()

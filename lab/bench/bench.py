"""The means of a scenario: its site, its time, and the size of its crowds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.bench.figures import Reading, Span
from lab.bench.loop import Connection, Loop
from lab.bench.site import WEBSOCKET, Lab, Site
from lab.bench.websocket import WebSocketConnection

HEARTBEAT = 30.0
"""Seconds between heartbeats, where the scenario is not about them."""

SPARE_FILES = 128
"""Open files that are not connections, on either side."""


class Skipped(Exception):
    """Raised if a scenario cannot be run here; the sentence says why."""


@dataclass
class Bench:
    """A run.

    Args:
        lab: makes the sites.
        seconds: how long something is measured.
        quick: True to see only that it works.
        files: open files that a process may have.
        tell: shows the step under way.

    Attributes:
        complaints: warnings and errors that servers have logged.
        peak: messages a second that were reached with a window of 16; 0 before that was measured.
    """

    lab: Lab
    seconds: float
    quick: bool
    files: int
    tell: Callable[[str], None]
    complaints: list[str] = field(default_factory=list)
    peak: float = 0.0

    @property
    def warm_up(self) -> float:
        """Seconds that pass before it is measured."""
        return min(1.0, self.seconds / 5)

    def size(self, full: int, quick: int) -> int:
        """Return how much of something there is to be."""
        return quick if self.quick else full

    def need_connections(self, count: int) -> None:
        """Check that a process may have so many connections.

        Raises:
            Skipped: it may not.
        """
        needed = count + SPARE_FILES
        if needed > self.files:
            raise Skipped(f"needs {needed} open files, the limit is {self.files}: raise ulimit -Hn")

    @contextmanager
    def site(self) -> Iterator[Site]:
        """Make a new database for the block; servers come with ``Site.start``."""
        self.tell("preparing the database")
        with self.lab.site() as site:
            yield site

    @contextmanager
    def loop(self, site: Site, *options: object, heartbeat: float = HEARTBEAT) -> Iterator[Loop]:
        """Start the servers, and a load generator for the block."""
        self.tell("starting")
        if site.wire == WEBSOCKET:
            options = ("--websocket-ping", heartbeat, *options)
        site.start("--heartbeat-interval", heartbeat, "--login-timeout", 60, *options)
        with Loop(heartbeat, WebSocketConnection if site.wire == WEBSOCKET else Connection) as loop:
            yield loop
        self.complaints += site.complaints

    def measure(self, site: Site, loop: Loop, count: Callable[[], int]) -> tuple[int, Span]:
        """Let the load go on, and return by how much ``count`` grew in that time, and its span."""
        self.tell("warming up")
        loop.run(self.warm_up)
        self.tell("measuring")
        before, start = count(), site.reading()
        loop.run(self.seconds)
        return count() - before, self.since(site, start)

    def since(self, site: Site, start: Reading) -> Span:
        """Return the span since a reading."""
        return Span.between(start, site.reading(), os.cpu_count() or 1)

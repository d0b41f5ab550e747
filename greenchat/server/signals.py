"""SIGINT and SIGTERM: the first begins the end, the second hastens it."""

from __future__ import annotations

import signal

import gevent
from gevent.event import Event


class StopSignals:
    """Events that the signals set; they do nothing else (a handler must not switch greenlets).

    Attributes:
        stop: set by the first signal.
        hurry: set by the second.
    """

    def __init__(self) -> None:
        self.stop = Event()
        self.hurry = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            gevent.signal_handler(number, self._caught)

    def _caught(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()

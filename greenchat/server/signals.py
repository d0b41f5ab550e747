"""SIGINT and SIGTERM: the first begins the end, the second hastens it.  SIGHUP: read files again."""

from __future__ import annotations

import signal
from collections.abc import Callable

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


def on_hangup(reload: Callable[[], None]) -> None:
    """Have SIGHUP call this, in a greenlet of its own."""
    gevent.signal_handler(signal.SIGHUP, gevent.spawn, reload)

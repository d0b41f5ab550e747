"""Lines of the log, made at a third of what the standard handler and formatter take.

A login writes a line: that must not be a tenth of its cost.
"""

from __future__ import annotations

import logging
import time
from typing import TextIO


class LineFormatter(logging.Formatter):
    """Format a record as ``2026-11-26 12:00:00,123 INFO greenchat: message`` and its traceback, if any."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._second = (-1, "")  # the last one that was shown; set in one step, as any thread may log

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, without the end of the line."""
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        return f"{self.formatTime(record)} {record.levelname} {record.name}: {record.getMessage()}"

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return local time with milliseconds."""
        now = int(record.created)
        second, shown = self._second
        if now != second:
            shown = time.strftime(self.default_time_format, self.converter(now))
            self._second = now, shown
        return f"{shown},{int(record.msecs):03}"


class LineHandler(logging.Handler):
    """Write records to a stream that any thread may write to.

    Args:
        stream: takes a line in one ``write``, and needs neither a lock nor ``flush``; None for nowhere.
    """

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream
        self.setFormatter(LineFormatter())

    def createLock(self) -> None:
        """Do without a lock: the stream has its own."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Write the line of a record; report a message that does not fit its arguments on stderr."""
        try:
            if self._stream is not None:
                self._stream.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)
        return True

"""Lines of the log, made at a third of the cost of the standard record, formatter and handler.

A login writes a line: that must not be a tenth of its cost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, TextIO


class LineRecord(logging.LogRecord):
    """A record of the parts of a line alone: neither the place in the code nor the thread and process."""

    pathname = filename = module = funcName = ""
    lineno = 0
    thread = threadName = process = processName = None

    def __init__(
        self,
        name: str,
        level: int,
        pathname: str,
        lineno: int,
        msg: object,
        args: Any,
        exc_info: Any,
        func: str | None = None,
        sinfo: str | None = None,
    ) -> None:
        self.name = name
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.msg = msg
        # A dictionary that is the only argument is the message's arguments by name, as in any record.
        is_named = len(args) == 1 and isinstance(args[0], Mapping) and args[0]
        self.args = args[0] if is_named else args
        self.exc_info = exc_info
        self.exc_text = None
        self.stack_info = sinfo
        self.created = created = time.time()
        self.msecs = created % 1 * 1000


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


def start(stream: TextIO | None, level: str) -> None:
    """Write the log of this process to a stream (see ``LineHandler``), from a level on."""
    logging.setLogRecordFactory(LineRecord)
    logging._srcfile = None  # to find the place in the code costs as much as the line itself
    logging.basicConfig(level=level, handlers=[LineHandler(stream)])


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

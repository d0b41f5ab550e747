"""Standard error that never holds up the server: a bounded queue, and a native thread that writes.

The caller of the server chooses where its log goes.  A pipe that nobody reads is full after
64 KiB, a terminal may be stopped, a disk may hang: a write that blocks would then stop the loop, and with it
everybody.

State: text is taken while there is room.  When there is none, everything is left out and counted, until all
that was taken is written: so there is one gap, and a line at its place tells its size.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import select
import sys
from collections.abc import Callable
from typing import Any

from gevent import monkey

from greenchat.metrics import LOG_LINES_LOST
from greenchat.server.log import LineFormatter

LIMIT = 1_048_576
"""Characters that may wait to be written: some 10,000 lines."""

AT_A_TIME = 65_536
"""Characters that are written together, more or less: the capacity of a pipe."""

REST = 0.02
"""Seconds that the writer's thread rests after each write, in which lines gather; one that comes by itself is
written at once.  It takes the interpreter's lock from the loop each time it wakes: once for each line, that
took a fifth of a server's time in a login storm (measured)."""

LAST_WORDS = 2.0
"""Seconds that the end of the process waits for the queue to be written."""

# The loop's thread MUST NOT wait for the writer, nor the writer for the loop: no primitive of gevent's.
_allocate_lock: Callable[[], Any] = monkey.get_original("_thread", "allocate_lock")
_start_thread: Callable[..., int] = monkey.get_original("_thread", "start_new_thread")
_Queue: Callable[[], Any] = monkey.get_original("queue", "SimpleQueue")
_sleep: Callable[[float], None] = monkey.get_original("time", "sleep")
_poll: Callable[[], Any] = monkey.get_original("select", "poll")


class UnblockedStream(io.TextIOBase):
    """A text stream to a file descriptor whose ``write`` returns at once.

    Args:
        fd: where it goes; stays open.
        limit: characters that may wait.
    """

    def __init__(self, fd: int, limit: int = LIMIT) -> None:
        self._fd = fd
        self._limit = limit
        self._queue = _Queue()
        self._lock = _allocate_lock()  # held for moments, for the three below
        self._waiting = 0
        self._left_out = 0
        self._full = False
        _start_thread(self._run, ())

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._fd

    def write(self, text: str) -> int:
        """Take a text to be written, or leave it out if too much waits; never blocks or switches."""
        size = len(text)
        with self._lock:
            if self._full or self._waiting + size > self._limit:
                self._full = True
                self._leave_out(text)
            else:
                self._waiting += size
                self._queue.put(text)
        return size

    def drain(self, seconds: float) -> bool:
        """Wait until all that was taken is written, but not for longer; return True if it is."""
        written = _allocate_lock()
        written.acquire()
        self._queue.put(written)
        return bool(written.acquire(timeout=seconds))

    # -- In the writer's thread

    def _run(self) -> None:
        while True:
            texts, waits = self._take()
            text = "".join(texts)
            is_written = self._has_written(text)
            with self._lock:
                self._waiting -= len(text)
                if not is_written:
                    self._leave_out(text)
                lost = self._left_out if not self._waiting else 0
                self._full = self._full and bool(self._waiting)
            if lost and self._has_written(_notice(lost)):
                with self._lock:
                    self._left_out -= lost
            for written in waits:
                written.release()
            if len(text) < AT_A_TIME:  # else more waits already
                _sleep(REST)

    def _take(self) -> tuple[list[str], list[Any]]:
        """Return a part of the queue, and the callers that wait for it to be written."""
        texts, waits, size = [], [], 0
        while not size or (size < AT_A_TIME and not self._queue.empty()):
            item = self._queue.get()
            if not isinstance(item, str):
                waits.append(item)
                break
            texts.append(item)
            size += len(item)
        return texts, waits

    def _has_written(self, text: str) -> bool:
        """Write a text, however long that takes; return False if it cannot be written."""
        data = text.encode("utf-8", "backslashreplace")
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # another process that shares it has made it non-blocking
                poll = _poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
            except OSError:
                return False
        return True

    def _leave_out(self, text: str) -> None:
        lines = text.count("\n")
        self._left_out += lines
        LOG_LINES_LOST.value += lines


def _notice(lost: int) -> str:
    """Return the line that stands in the place of others."""
    words = f"the log can be written again; {lost} lines of it were lost"
    record = {"name": "greenchat", "levelno": logging.WARNING, "levelname": "WARNING", "msg": words}
    return LineFormatter().format(logging.makeLogRecord(record)) + "\n"


def unblock_stderr() -> None:
    """Have all that this process says on standard error go through a queue, if it has one."""
    if sys.stderr is not None:
        sys.stderr = stream = UnblockedStream(sys.stderr.fileno())
        atexit.register(stream.drain, LAST_WORDS)  # after a last traceback

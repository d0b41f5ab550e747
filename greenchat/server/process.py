"""The process around the server: its log, its open files, its first line on standard output."""

from __future__ import annotations

import logging
import os
import resource
import sys

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from greenchat.config import Settings
from greenchat.errors import StartupError
from greenchat.server import log

SPARE_FILES = 64
"""Open files that are not connections: the database, the log, the listener."""

_log = logging.getLogger("greenchat")


def prepare(settings: Settings) -> None:
    """Set up the log, the umask and the limits of this process.

    Raises:
        StartupError: the limit of open files leaves no room for a connection.
    """
    log.start(sys.stderr, settings.log_level.upper())
    gevent.config.track_greenlet_tree = False  # a third off spawn and join (measured), and memory
    os.umask(0o077)  # files that this process makes are readable by its owner only
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= SPARE_FILES:
        raise StartupError(
            f"the limit of open files (ulimit -n) is {hard}: {SPARE_FILES} are needed for the server itself"
            f" and one for each connection, {SPARE_FILES + settings.max_connections} for max_connections"
        )


def affordable_connections(wanted: int) -> int:
    """Raise the limit of open files as far as it goes, and return how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + SPARE_FILES if hard == resource.RLIM_INFINITY else min(wanted + SPARE_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, soft), hard))
    if files - SPARE_FILES < wanted:
        _log.info("only %d connections: the limit of open files is %d", files - SPARE_FILES, hard)
    return files - SPARE_FILES


def say_ready(line: str, stop: Event) -> None:
    """Print the ready line, and wait for that unless the server is told to stop.

    Standard output may be a pipe that nobody reads: the server serves all the same.

    Raises:
        OSError: it cannot be written.
    """
    writing = ThreadPool(1).spawn(_write, f"{line}\n".encode())
    gevent.wait([writing, stop], count=1)
    error = writing.get() if writing.ready() else None
    if error is not None:
        raise error


def _write(data: bytes) -> OSError | None:
    """Write to standard output; return an exception, as gevent prints those that a thread raises."""
    try:
        while data and sys.stdout is not None:
            data = data[os.write(sys.stdout.fileno(), data) :]
    except OSError as error:
        return error
    return None

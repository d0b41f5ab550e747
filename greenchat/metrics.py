"""Plain integer counters; the admin page of the server exports them.

``COUNTERS.frames_in += 1`` is all there is to it.  They only grow, from the start of the process,
and are touched from the loop's thread alone (``log_lines_lost``: under the lock of the log's queue).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What this process has counted since it started."""

    connections_opened: int = 0
    connections_ended: int = 0
    connections_refused: int = 0  # told to come back later, being over the limit
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    evictions: int = 0  # for missed heartbeats
    login_timeouts: int = 0
    slow_consumers: int = 0
    handler_errors: int = 0  # bugs: each has a traceback in the log
    messages_stored: int = 0
    log_lines_lost: int = 0  # nobody read what standard error goes to, or it cannot be written


COUNTERS = Counters()

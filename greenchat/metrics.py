"""The metrics of this process, in the terms of Prometheus; the admin page exports them.

Everything that is measured is declared here, so this file is the list of all metrics.  The code that
counts writes to an attribute: ``RECEIVED_FRAMES.value += 1`` costs no call, and there are several for each
message.  A gauge is read only when a page is asked for.

Names follow Prometheus' conventions: counters end with ``_total``, other names with their base unit
(``_seconds``, ``_bytes``) or the noun that is counted.  The page adds the prefix ``greenchat_``.

Only the event loop's thread changes metrics (``LOG_LINES_LOST``: under the lock of the log's queue).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

Labels = tuple[str, ...]

SECONDS = (0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of a histogram's buckets for durations: from a commit on a fast disk to a stalled database."""

SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
"""Upper bounds of a histogram's buckets for numbers of messages."""


class Counter:
    """A number that only grows, from the start of the process.

    Example::

        RECEIVED_FRAMES.value += 1

    Attributes:
        name: without the prefix; ends with ``_total``.
        help: one sentence for the page and for docs/metrics.md.
        value: the count.
    """

    __slots__ = ("help", "name", "value")

    def __init__(self, name: str, help: str) -> None:
        self.name = name
        self.help = help
        self.value = 0


class LabelledCounter:
    """Counters that differ in the value of one label.

    Example::

        LOGINS.values["ok"] += 1

    Attributes:
        name: without the prefix; ends with ``_total``.
        help: one sentence.
        label: the name of the label; its values are few and fixed in the code.
        values: the counts by the label's value.
    """

    __slots__ = ("help", "label", "name", "values")

    def __init__(self, name: str, help: str, label: str, expected: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self.label = label
        # A series that begins with its first event hides that event from rate().
        self.values: defaultdict[str, int] = defaultdict(int, dict.fromkeys(expected, 0))


class Histogram:
    """Counts of observed values in buckets, and their sum.

    Example::

        COMMIT_SECONDS.observe(0.004)

    Attributes:
        name: without the prefix; ends with the unit.
        help: one sentence.
        bounds: the buckets' upper bounds, ascending; one more bucket holds what is above the last.
        counts: observations by bucket, not cumulative.
        sum: the sum of all observed values.
    """

    __slots__ = ("bounds", "counts", "help", "name", "sum")

    def __init__(self, name: str, help: str, bounds: Sequence[float]) -> None:
        self.name = name
        self.help = help
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value in its bucket; a value that equals a bound belongs to that bound's bucket."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Yield each upper bound, ``+Inf`` last, with the number of values that are not above it."""
        return zip([*map(str, self.bounds), "+Inf"], accumulate(self.counts), strict=True)


class Gauge:
    """A number that goes up and down, read when the page is asked for.

    Example::

        COMMIT_QUEUE.read = lambda: {(): store.queued}

    Attributes:
        name: without the prefix.
        help: one sentence.
        labels: the names of its labels.
        read: returns the numbers by the labels' values; an empty mapping until the server sets it.
    """

    __slots__ = ("help", "labels", "name", "read")

    def __init__(self, name: str, help: str, labels: Labels = ()) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self.read: Callable[[], Mapping[Labels, float]] = dict


# -- Connections

CONNECTIONS = Gauge(
    "connections",
    "Open connections by listener (tcp, tls; web once they speak WebSocket or read events) and state "
    "(anonymous, logged_in).",
    ("listener", "state"),
)
CONNECTIONS_OPENED = Counter("connections_opened_total", "Connections accepted, refused ones among them.")
CONNECTIONS_CLOSED = Counter("connections_closed_total", "Connections that have ended.")
CONNECTIONS_REFUSED = Counter(
    "connections_refused_total",
    "Connections told to come back later because a limit of connections was reached.",
)
EVICTIONS = LabelledCounter(
    "evictions_total",
    "Connections that the server closed, by reason: missed heartbeats, no login in time, output not taken.",
    "reason",
    ("heartbeat", "login_timeout", "slow_consumer"),
)
RECEIVED_FRAMES = Counter("received_frames_total", "Frames received from clients.")
SENT_FRAMES = Counter("sent_frames_total", "Frames sent to clients.")
RECEIVED_BYTES = Counter("received_bytes_total", "Bytes received from clients, without TLS.")
SENT_BYTES = Counter("sent_bytes_total", "Bytes that the kernel took for clients, without TLS.")
OUTBOX_BYTES = Gauge("outbox_bytes", "Bytes in the outboxes of all connections, not yet taken by the kernel.")

# -- HTTP

HTTP_CONNECTIONS = Gauge(
    "http_connections",
    "Open connections that speak HTTP, by state: idle (between two requests), busy.",
    ("state",),
)
HTTP_REQUESTS = LabelledCounter(
    "http_requests_total",
    "Answered HTTP requests by class of the status; 1xx are connections that became a WebSocket.",
    "status",
    ("1xx", "2xx", "3xx", "4xx", "5xx"),
)

# -- Users

USERS_ONLINE = Gauge("users_online", "Users with at least one device logged in at this server.")
DEVICES_ONLINE = Gauge("devices_online", "Devices logged in at this server.")
LOGINS = LabelledCounter(
    "logins_total",
    "Answered logins by result: ok, or the name of the error in LOGIN_ACK.",
    "result",
    ("ok", "bad_credentials", "already_online", "rate_limited", "busy"),
)

# -- Messages

MESSAGES_STORED = Counter("messages_stored_total", "Messages committed to the database by this server.")
COMMIT_QUEUE = Gauge("commit_queue_messages", "Messages and changes in the queue of the group commit.")
COMMIT_BATCH = Histogram("commit_batch_messages", "Messages in a transaction of the group commit.", SIZES)
COMMIT_SECONDS = Histogram("commit_seconds", "Duration of a transaction of the group commit.", SECONDS)
DELIVERY_SECONDS = Histogram(
    "delivery_seconds",
    "Time from the acceptance of a transaction's oldest message until all its messages were acknowledged and "
    "handed to the receivers' outboxes and the bus.",
    SECONDS,
)

# -- Hooks

INCOMING_MESSAGES = LabelledCounter(
    "incoming_hook_messages_total",
    "Requests to incoming hooks by result: ok, or the name of the error.",
    "result",
    ("ok", "rate_limited", "busy"),
)
OUTGOING_HOOKS = Gauge("outgoing_hooks", "Outgoing hooks that are delivered by this server.")
OUTGOING_DELIVERIES = LabelledCounter(
    "outgoing_hook_deliveries_total",
    "Requests of outgoing hooks by result: delivered (2xx) or failed.",
    "result",
    ("delivered", "failed"),
)
OUTGOING_SECONDS = Histogram(
    "outgoing_hook_seconds", "Duration of a request of an outgoing hook, from its name's look-up on.", SECONDS
)

# -- The process

LOOP_LAG = Histogram(
    "loop_lag_seconds", "Delay of the heartbeat timer: how late the event loop runs.", SECONDS
)
BUS_AWAY = Gauge("bus_away", "1 while Redis counts as away, else 0; absent without a bus.")
BUS_LAG = Gauge(
    "bus_lag_seconds",
    "Age of the newest of this node's own positions that has come back from Redis; absent without a bus.",
)
HANDLER_ERRORS = Counter(
    "handler_errors_total", "Errors in the server's own code; each has a traceback in the log."
)
LOG_LINES_LOST = Counter(
    "log_lines_lost_total", "Log lines dropped because standard error did not take them."
)
BUILD_INFO = Gauge(
    "build_info", "1; the labels tell the server's and Python's version.", ("version", "python")
)

Metric = Counter | LabelledCounter | Histogram | Gauge

METRICS: tuple[Metric, ...] = tuple(
    metric
    for metric in list(globals().values())
    if isinstance(metric, (Counter, LabelledCounter, Histogram, Gauge))
)
"""All metrics, in the order of this file."""

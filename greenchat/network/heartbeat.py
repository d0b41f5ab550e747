"""The supervision of heartbeats, logins and backlogs: one timer greenlet, one tick for all.

A client that is silent for ``max_missed`` whole intervals is evicted, no sooner, and at the latest
two intervals after.  A tick that comes late counts against no one: then the process was stopped,
and the bytes that clients sent meanwhile are still to be read.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from math import ceil, inf
from time import monotonic

import gevent

from greenchat.metrics import EVICTIONS, LOOP_LAG
from greenchat.network.connection import Connection
from greenchat.network.silent import SilentConnections

logger = logging.getLogger(__name__)

CHECKS = 5
"""Checks of a connection, at least, within the shortest time limit that it has."""

LATE = 1.5
"""Times the distance of two ticks after the one before, a tick is late."""


class Heartbeat:
    """Count the missed beats of connections and close the silent ones.

    Any byte is a beat.  A client whose wire has pings is pinged after ``ping_after`` seconds of silence, and
    again after as many; it misses a beat with each ping that it does not answer until the next.

    Exempt are connections that are not logged in (they have ``login_timeout``), clients of wires without
    heartbeats and pings, and connections that are not read at the moment.  A connection that is not read
    because it is behind counts as alive while it takes its output.

    Args:
        connections: the live connections; read at each tick.
        interval: seconds in which a beat is expected.
        max_missed: missed beats in a row that end a connection.
        login_timeout: seconds that a connection may last without a login; a request that is being
            handled then is waited for.
        outbox_seconds: seconds in which a peer must take some of its queued frames; 0 for no limit.
        silent: the connections that have longer than ``login_timeout``; None: no connection has.
        ping_after: the shortest ``ping_after`` of a wire.
    """

    def __init__(
        self,
        connections: Collection[Connection],
        interval: float = 1.0,
        max_missed: int = 5,
        login_timeout: float = 10.0,
        outbox_seconds: float = 0.0,
        silent: SilentConnections | None = None,
        ping_after: float = inf,
    ) -> None:
        self._connections = connections
        self._interval = interval
        self._max_missed = max_missed
        self._login_timeout = login_timeout
        self._outbox_seconds = outbox_seconds or inf
        self._silent = silent
        # Ticks in an interval: more than one where logins, backlogs or pings are looked at more often.
        shortest = min(login_timeout, self._outbox_seconds, CHECKS * ping_after)
        self._ticks = max(1, ceil(interval * CHECKS / shortest))
        self._tick = 0
        self._late = False
        self._greenlet: gevent.Greenlet | None = None
        self._last = monotonic()

    def start(self) -> None:
        """Start the timer greenlet."""
        self._last = monotonic()
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Stop the timer greenlet."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def _run(self) -> None:
        while True:
            # The loop's idea of now is as old as this turn; counted from there, the tick would be early.
            gevent.get_hub().loop.update_now()
            gevent.sleep(self._interval / self._ticks)
            try:
                self.tick(monotonic())
            except Exception:  # without its supervision the server would fill with dead connections
                logger.exception("a bug in the heartbeat supervision")

    def tick(self, now: float) -> None:
        """Look at every connection once.  Does not switch.

        Args:
            now: seconds on the monotonic clock.
        """
        passed, due = now - self._last, self._interval / self._ticks
        LOOP_LAG.observe(max(0.0, passed - due))
        late = passed > LATE * due
        self._late |= late
        self._last = now
        self._tick = (self._tick + 1) % self._ticks
        beat, beat_late = self._tick == 0, self._late  # a beat counts for all ticks since the one before
        if beat:
            self._late = False
        for connection in self._connections:
            session = connection.session
            if session is None:
                continue
            if not late and connection.outbox.stuck(now) >= self._outbox_seconds:
                connection.outbox.cut_off()
            elif session.user is None:
                if not late:
                    self._check_login(connection, now)
            else:
                if connection.anonymous_since is not None:
                    connection.anonymous_since = None
                    connection.take_more()
                    if self._silent is not None:
                        self._silent.remove(connection)
                if connection.wire.ping_after:
                    self._check_beat(connection, late)  # each tick counts, not only a whole interval
                elif beat:
                    self._check_beat(connection, beat_late)

    def _check_beat(self, connection: Connection, late: bool) -> None:
        if connection.reader.heard:
            connection.reader.heard = False
            connection.missed = 0
        elif connection.silent() and not late:
            connection.missed += 1
            wire = connection.wire
            if wire.ping_after:
                self._ping(connection, max(1, round(wire.ping_after * self._ticks / self._interval)))
            elif wire.beats and connection.missed >= self._max_missed:
                self._evict(connection)

    def _ping(self, connection: Connection, ticks: int) -> None:
        """Ping a silent client once in so many ticks; evict it if it has not answered enough of the pings."""
        pings, rest = divmod(connection.missed, ticks)
        if rest:
            return
        if pings > self._max_missed and connection.wire.pongs:
            self._evict(connection)
        else:
            connection.send(connection.wire.ping)

    def _evict(self, connection: Connection) -> None:
        EVICTIONS.values["heartbeat"] += 1
        connection.close("evicted")

    def _check_login(self, connection: Connection, now: float) -> None:
        if connection.anonymous_since is None:
            connection.anonymous_since = now
            return
        if now - connection.anonymous_since < self._login_timeout:
            return
        if self._silent is not None and self._may_think(self._silent, connection, now):
            return
        if connection.reader.busy:
            # The request that is being handled may be the login, and after a restart many wait for the
            # database: the clients are not slow.  But the request is the last one.
            connection.take_no_more()
        else:
            EVICTIONS.values["login_timeout"] += 1
            connection.close("evicted")

    def _may_think(self, silent: SilentConnections, connection: Connection, now: float) -> bool:
        """Return True if a connection may go on without a login although its time is over.

        A typing person gets the longer time anew with each request, any other client the shorter one
        with its first byte.
        """
        if connection not in silent:
            return connection.may_think and silent.timeout > self._login_timeout and silent.grant(connection)
        if not connection.may_think:
            silent.remove(connection)
            connection.anonymous_since = now
            return True
        if connection.reader.heard:
            connection.reader.heard = False
            connection.anonymous_since = now
        assert connection.anonymous_since is not None
        return now - connection.anonymous_since < silent.timeout

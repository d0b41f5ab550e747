"""All live connections of a server, whatever port they came to: counted, limited and supervised together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent
from gevent.event import Event

from greenchat.errors import RateLimited
from greenchat.network.admission import Admission
from greenchat.network.connection import Connection, OpenSession
from greenchat.network.heartbeat import Heartbeat
from greenchat.network.limits import DEFAULTS, Limits
from greenchat.network.outbox import Flusher
from greenchat.network.shaper import shaper_of
from greenchat.network.silent import SilentConnections
from greenchat.network.transport import Transport
from greenchat.protocol.websocket.framing import WebSocketFraming
from greenchat.protocol.websocket.wire import WebSocketWire
from greenchat.protocol.wire import Speech


class Connections:
    """The live connections, their limits and their supervision; shared by the listeners.

    Args:
        limits: of a connection, of an address, and of all together.
        heartbeat_interval: seconds between two beats that are expected of a client.
        max_missed: missed beats in a row after which a client is evicted.
        login_timeout: seconds that a connection may last without a login.
        ping_after: seconds of silence after which a client on WebSocket is pinged.

    Attributes:
        limits, login_timeout: as given.
        admission: counts connections and new ones, and refuses those over a limit.
        silent: those that have been granted a longer time to log in.
        flusher: writes the outboxes.
        heartbeat: the supervision.
    """

    def __init__(
        self,
        limits: Limits = DEFAULTS,
        *,
        heartbeat_interval: float = 1.0,
        max_missed: int = 5,
        login_timeout: float = 10.0,
        ping_after: float = 10.0,
    ) -> None:
        self.limits = limits
        self.login_timeout = login_timeout
        self._live: set[Connection] = set()
        self.silent = SilentConnections(limits)
        self.admission = Admission(
            limits.max_connections,
            limits.max_connections_per_address,
            limits.max_strangers,
            limits.is_exempt,
            self.silent.give_way,
        )
        self.flusher = Flusher()
        self.heartbeat = Heartbeat(
            self._live,
            heartbeat_interval,
            max_missed,
            login_timeout,
            limits.outbox_seconds,
            self.silent,
            ping_after,
        )
        self._empty = Event()

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._live)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._live)

    def add(self, connection: Connection, refusal: RateLimited | None) -> None:
        """Take up a connection that has been admitted, or is to be refused."""
        self._live.add(connection)
        self.admission.register(connection, refusal)

    def serve(self, connection: Connection, open_session: OpenSession) -> None:
        """Serve a connection until it ends, then forget it; the body of its greenlet."""
        try:
            connection.run(open_session)
        finally:
            self.remove(connection)

    def adopt(
        self,
        sock: Transport,
        address: str,
        opened: float,
        received: bytes,
        wire: WebSocketWire,
        open_session: OpenSession,
    ) -> None:
        """Take over an HTTP client that has upgraded to WebSocket, and serve it in a greenlet of its own.

        Does not switch.  The caller has written the answer to the upgrade (101) and does nothing more: it
        neither watches nor closes the socket, nor does it leave the admission, which its listener entered.
        Its greenlet should end, since what that has in memory would last as long as the connection.

        Args:
            sock: connected and non-blocking.
            address: ``HOST:PORT`` of the client, with which the admission was entered.
            opened: when the client came, on the monotonic clock.
            received: bytes that came behind the upgrade.
            wire: how the client is spoken to; shared with others.
            open_session: makes the service's side of the connection.
        """
        framing = WebSocketFraming(self.limits.max_frame, received)
        framing.answer = self._adopt(sock, address, opened, Speech(framing, wire), open_session).send

    def adopt_stream(
        self, sock: Transport, address: str, opened: float, speech: Speech, open_session: OpenSession
    ) -> None:
        """Take over an HTTP client whose answer is a stream without an end, in the same way.

        Args:
            sock, address, opened, open_session: as for ``adopt``.
            speech: how the client is spoken to; its framing makes the client's requests, or none.
        """
        self._adopt(sock, address, opened, speech, open_session)

    def _adopt(
        self, sock: Transport, address: str, opened: float, speech: Speech, open_session: OpenSession
    ) -> Connection:
        limits = self.limits
        shaper = shaper_of(limits, address, opened)
        connection = Connection(sock, address, opened, self.flusher, speech, limits.outbox_limit, shaper)
        self.add(connection, None)
        gevent.spawn(self.serve, connection, open_session)
        return connection

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._live.discard(connection)
        self.admission.leave(connection)
        self.silent.remove(connection)
        if not self._live:
            self._empty.set()

    def close_all(self, reason: str, retry_after: Callable[[], float]) -> None:
        """Close every connection.

        Args:
            reason: the reason of BYE.
            retry_after: gives for each client the seconds after which to come back, spread so
                that not all do at once.
        """
        for connection in self._live:
            connection.close(reason, retry_after())

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until no connection is left; return False if some are after ``timeout`` seconds."""
        self._empty.clear()
        return not self._live or self._empty.wait(timeout)

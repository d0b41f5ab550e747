"""The listener of chat clients: each connection is served from its first byte on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network

import gevent

from greenchat.errors import RateLimited
from greenchat.network.acceptor import Acceptor
from greenchat.network.connection import Connection, OpenSession
from greenchat.network.connections import Connections
from greenchat.network.shaper import shaper_of
from greenchat.network.tls import Certificate
from greenchat.network.transport import Transport
from greenchat.protocol.wire import Opening, Speech


class ChatServer(Acceptor):
    """Accept chat clients on one port, one greenlet each.

    Args:
        address, connections, proxies, certificate: as for ``Acceptor``.  A client over one of the limits
            is sent ERROR ``rate_limited`` with the limit and a time, then BYE.
        open_session: makes the service's side of a connection; called in the connection's greenlet.
        opening: returns how a client speaks, or what finds that out, given its ``HOST:PORT`` and the bytes
            that a frame may have.
        patience: seconds for which the first frame of a connection over a limit is waited for, to
            refuse it in its framing; none with TLS.
    """

    def __init__(
        self,
        address: tuple[str, int],
        connections: Connections,
        open_session: OpenSession,
        opening: Callable[[str, int], Opening | Speech],
        *,
        proxies: Sequence[IPv4Network | IPv6Network] | None = None,
        certificate: Certificate | None = None,
        patience: float = 0.0,
    ) -> None:
        super().__init__(address, connections, proxies=proxies, certificate=certificate)
        self._open_session = open_session
        self._opening = opening
        self._patience = 0.0 if self._encrypts else patience

    def last_words(self, address: str, refusal: RateLimited) -> bytes:
        wire = self._opening(address, self._connections.limits.max_frame).wire
        return b"".join(wire.refused(refusal, None))

    def admitted(self, sock: Transport, address: str, opened: float, refusal: RateLimited | None) -> None:
        """Make the connection and spawn its greenlet; one too many is told why, and to come back later."""
        limits = self._connections.limits
        connection = Connection(
            sock,
            address,
            opened,
            self._connections.flusher,
            self._opening(address, limits.max_frame),
            limits.outbox_limit,
            shaper_of(limits, address, opened),
            self._encrypts,
        )
        self._connections.add(connection, refusal)
        if refusal is not None:
            connection.refuse(refusal, self._patience)
        gevent.spawn(self.handle, connection)

    def handle(self, connection: Connection) -> None:
        """Serve one connection, then forget it; the body of its greenlet."""
        self._connections.serve(connection, self._open_session)

"""A listening socket for chat clients: accept, or refuse."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from time import monotonic
from typing import Any

import gevent
from gevent import monkey, socket
from gevent.server import StreamServer

from greenchat.errors import RateLimited
from greenchat.network.admission import TooManyConnections
from greenchat.network.connection import Connection, OpenSession
from greenchat.network.connections import Connections
from greenchat.network.handshake import Handshakes
from greenchat.network.limits import Limits
from greenchat.network.shaper import Shaper
from greenchat.network.tls import Certificate
from greenchat.network.transport import Transport
from greenchat.protocol.addresses import display, host_of
from greenchat.protocol.wire import Opening, Speech

logger = logging.getLogger(__name__)

BACK_OFF = 0.1
"""Seconds without accepting after the process ran out of file descriptors."""

WARN_AGAIN = 60.0
"""Seconds between two warnings of that."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)
"""Set on the listening socket once; Linux hands them down to each that is accepted."""


class PlainSocket(monkey.get_original("socket", "socket")):  # type: ignore[misc]
    """A socket of the unpatched class: no watchers of its own (two each, unused here), no hidden waiting."""

    __slots__ = ()
    in_flight = 0


class ChatServer(StreamServer):  # type: ignore[misc]
    """Accept chat clients on one port, one greenlet each.

    ``start()`` listens and returns; ``address`` is then what was bound (port 0 takes a free one).

    Args:
        address: host and port; the host ``::`` takes IPv6 and IPv4.
        connections: takes up each connection, beside those of other ports.  A client over one of its limits
            is sent ERROR ``rate_limited`` with the limit and a time, then BYE.
        open_session: makes the service's side of a connection; called in the connection's greenlet.
        opening: returns how a client speaks, or what finds that out, given its ``HOST:PORT`` and the bytes
            that a frame may have.
        proxies: networks of the proxies that all connections come through, each of which begins with a
            PROXY header; None: there are none.
        certificate: for TLS; None: there is none.
        patience: seconds for which the first frame of a connection over a limit is waited for, to
            refuse it in its framing; none with TLS.

    Attributes:
        handshakes: runs the handshakes of connections that are not admitted yet.
    """

    backlog = 4096

    max_accept = 8
    """Accepted in one turn of the loop.  In a flood gevent's 100 are too many for a turn: everything that
    waits for its end, replies among it, waits for a second and longer (measured)."""

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
        super().__init__(address)
        self._connections = connections
        self.handshakes = Handshakes(connections.admission, connections.login_timeout, proxies, certificate)
        self._encrypts = certificate is not None
        self._open_session = open_session
        self._opening = opening
        self._patience = 0.0 if self._encrypts else patience
        self._warned = float("-inf")

    # -- For the server

    def stop_accepting(self) -> None:
        """Close the port for good: the kernel refuses new connections, and the clients try another server."""
        if self.started:
            self.close()  # calls this again
        else:
            super().stop_accepting()

    # -- Called by StreamServer

    @classmethod
    def get_listener(
        cls, address: tuple[str, int], backlog: int | None = None, family: int | None = None
    ) -> Any:
        """Bind and listen; ``::`` and the empty host are dual-stack whatever the system's default."""
        family = socket.AF_INET if family is None else family
        listener = socket.socket(family)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] not in {"", "::"})
            for option in SOCKET_OPTIONS:
                listener.setsockopt(*option)
            listener.bind(address)
            listener.listen(backlog or cls.backlog)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener

    def do_read(self) -> tuple[Any, tuple[Any, ...]] | None:
        """Accept one connection, if there is one."""
        try:
            fd, address = self.socket._accept()
        except OSError as error:
            if error.errno in self.fatal_errors:
                raise
            if error.errno in EXHAUSTED:
                self.back_off(error)
            return None  # there is none, or it has gone again (accept(2): treat like EAGAIN)
        sock = PlainSocket(self.socket.family, self.socket.type, self.socket.proto, fileno=fd)
        sock.setblocking(False)
        return sock, address

    def do_handle(self, sock: Any, address: tuple[Any, ...]) -> None:
        """Begin the handshakes of a new connection, unless there are far too many."""
        try:
            self.handshakes.begin(sock, address, self._admit)
        except TooManyConnections as error:
            if not self._encrypts:
                self._say_why(sock, display(address), error.refusal)
            sock.close()

    def _say_why(self, sock: Any, address: str, error: RateLimited) -> None:
        """Say why to one that is closed at once: no greenlet, no lingering, and the peer may miss it."""
        wire = self._opening(address, self._connections.limits.max_frame).wire
        try:
            sock.send(b"".join(wire.refused(error, None)))
        except OSError:
            pass

    def _admit(self, sock: Transport, address: str, opened: float, error: RateLimited | None) -> None:
        """Make the connection and spawn its greenlet; one too many is told why, and to come back later."""
        limits = self._connections.limits
        connection = Connection(
            sock,
            address,
            opened,
            self._connections.flusher,
            self._opening(address, limits.max_frame),
            limits.outbox_limit,
            _shaper(limits, address, opened),
            self._encrypts,
        )
        self._connections.add(connection, error)
        if error is not None:
            connection.refuse(error, self._patience)
        gevent.spawn(self.handle, connection)

    def handle(self, connection: Connection) -> None:
        """Serve one connection, then forget it; the body of its greenlet."""
        try:
            connection.run(self._open_session)
        finally:
            self._connections.remove(connection)

    def back_off(self, error: OSError) -> None:
        """Leave new connections in the kernel's backlog for a moment; without a pause the loop would spin."""
        super().stop_accepting()
        self._timer = self.loop.timer(BACK_OFF)
        self._timer.start(self._start_accepting_if_started)
        if monotonic() - self._warned > WARN_AGAIN:
            self._warned = monotonic()
            logger.warning("cannot accept connections: %s (raise the limit of open files)", error)


def _shaper(limits: Limits, address: str, now: float) -> Shaper | None:
    if not limits.byte_rate or limits.is_exempt(host_of(address)):
        return None
    return Shaper(limits.byte_rate, limits.byte_burst, now)

"""A listening socket: accept a connection, run its handshakes, admit or refuse it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from time import monotonic
from typing import Any

from gevent import monkey, socket
from gevent.server import StreamServer

from greenchat.errors import RateLimited
from greenchat.network.admission import TooManyConnections
from greenchat.network.connections import Connections
from greenchat.network.handshake import Handshakes
from greenchat.network.tls import Certificate
from greenchat.network.transport import Transport
from greenchat.protocol.addresses import display

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


class Acceptor(StreamServer):  # type: ignore[misc]
    """Accept connections on one port, and hand each that is admitted to ``admitted``.

    Holds what all ports share: the handshakes (PROXY header, TLS), the limits of connections, and the pause
    of a process without free file descriptors.  Subclasses say what a connection is for.

    ``start()`` listens and returns; ``address`` is then what was bound (port 0 takes a free one).

    Args:
        address: host and port; the host ``::`` takes IPv6 and IPv4.
        connections: has the limits, shared with other ports.
        proxies: networks of the proxies that all connections come through, each of which begins with a
            PROXY header; None: there are none.
        certificate: for TLS; None: there is none.
        forwarders: networks of proxies that name a client in each request: such a proxy is not held to the
            limit of an address.

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
        *,
        proxies: Sequence[IPv4Network | IPv6Network] | None = None,
        certificate: Certificate | None = None,
        forwarders: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        super().__init__(address)
        self._connections = connections
        self.handshakes = Handshakes(
            connections.admission, connections.login_timeout, proxies, certificate, forwarders
        )
        self._encrypts = certificate is not None
        self._warned = float("-inf")

    # -- For subclasses

    def admitted(self, sock: Transport, address: str, opened: float, refusal: RateLimited | None) -> None:
        """Take a connection that admission has counted.  Does not switch.

        Args:
            sock: behind the handshakes, at the client's first byte.
            address: ``HOST:PORT`` of the client.
            opened: when it came, on the monotonic clock.
            refusal: the error with which to refuse it; None if it may stay.
        """
        raise NotImplementedError

    def last_words(self, address: str, refusal: RateLimited) -> bytes:
        """Return what a client without TLS is sent that is refused and closed at once."""
        raise NotImplementedError

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
            self.handshakes.begin(sock, address, self.admitted)
        except TooManyConnections as error:
            if not self._encrypts:
                self._say_why(sock, display(address), error.refusal)
            sock.close()

    def _say_why(self, sock: Any, address: str, error: RateLimited) -> None:
        """Say why to one that is closed at once: no greenlet, no lingering, and the peer may miss it."""
        try:
            sock.send(self.last_words(address, error))
        except OSError:
            pass

    def back_off(self, error: OSError) -> None:
        """Leave new connections in the kernel's backlog for a moment; without a pause the loop would spin."""
        super().stop_accepting()
        self._timer = self.loop.timer(BACK_OFF)
        self._timer.start(self._start_accepting_if_started)
        if monotonic() - self._warned > WARN_AGAIN:
            self._warned = monotonic()
            logger.warning("cannot accept connections: %s (raise the limit of open files)", error)

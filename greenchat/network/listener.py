"""The chat server's listening socket: accept or refuse, and keep the set of connections."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from time import monotonic
from typing import Any

import gevent
from gevent import monkey, socket
from gevent.event import Event
from gevent.server import StreamServer

from greenchat.errors import RateLimited
from greenchat.network.admission import Admission, TooManyConnections
from greenchat.network.connection import Connection, OpenSession
from greenchat.network.handshake import Handshakes
from greenchat.network.heartbeat import Heartbeat
from greenchat.network.limits import DEFAULTS, Limits
from greenchat.network.outbox import Flusher
from greenchat.network.shaper import Shaper
from greenchat.network.silent import SilentConnections
from greenchat.network.tls import Certificate
from greenchat.network.transport import Transport
from greenchat.protocol.addresses import display, host_of
from greenchat.protocol.wire import Opening

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
    """Accept chat clients, one greenlet each, and supervise them.

    ``start()`` listens and returns; ``address`` is then what was bound (port 0 takes a free one).

    Args:
        address: host and port; the host ``::`` takes IPv6 and IPv4.
        open_session: makes the service's side of a connection; called in the connection's greenlet.
        opening: returns the ``Opening`` of a client, given its ``HOST:PORT`` and the bytes that a
            frame may have.
        limits: a client over one is sent ERROR ``rate_limited`` with the limit and a time, then BYE.
        heartbeat_interval: seconds between two beats that are expected of a client.
        max_missed: missed beats in a row after which a client is evicted.
        login_timeout: seconds that a connection may last without a login.
        proxies: networks of the proxies that all connections come through, each of which begins with a
            PROXY header; None: there are none.
        certificate: for TLS; None: there is none.
        patience: seconds for which the first frame of a connection over a limit is waited for, to
            refuse it in its framing; none with TLS.

    Attributes:
        connections: those that are open.
        handshakes: runs the handshakes of those that are not admitted yet.
        heartbeat: supervises the connections.
        silent: the connections that have been granted a longer time to log in.
    """

    backlog = 4096

    max_accept = 8
    """Accepted in one turn of the loop.  In a flood gevent's 100 are too many for a turn: everything that
    waits for its end, replies among it, waits for a second and longer (measured)."""

    def __init__(
        self,
        address: tuple[str, int],
        open_session: OpenSession,
        opening: Callable[[str, int], Opening],
        limits: Limits = DEFAULTS,
        *,
        heartbeat_interval: float = 1.0,
        max_missed: int = 5,
        login_timeout: float = 10.0,
        proxies: Sequence[IPv4Network | IPv6Network] | None = None,
        certificate: Certificate | None = None,
        patience: float = 0.0,
    ) -> None:
        super().__init__(address)
        self._limits = limits
        self.silent = SilentConnections(limits)
        self._admission = Admission(
            limits.max_connections,
            limits.max_connections_per_address,
            limits.max_strangers,
            limits.is_exempt,
            self.silent.give_way,
        )
        self.handshakes = Handshakes(self._admission, login_timeout, proxies, certificate)
        self._encrypts = certificate is not None
        self._opening = opening
        self._patience = 0.0 if self._encrypts else patience
        self.connections: set[Connection] = set()
        self.heartbeat = Heartbeat(
            self.connections,
            heartbeat_interval,
            max_missed,
            login_timeout,
            limits.outbox_seconds,
            None if self._encrypts else self.silent,
        )
        self._open_session = open_session
        self._flusher = Flusher()
        self._empty = Event()
        self._warned = float("-inf")

    @property
    def has_tls(self) -> bool:
        """True if clients speak TLS to this server itself."""
        return self._encrypts

    # -- For the server

    def start(self) -> None:
        """Listen, accept and supervise.

        Raises:
            OSError: the address cannot be had; the operator's to mend.
        """
        super().start()
        self.heartbeat.start()

    def stop(self, timeout: float | None = None) -> None:
        """Stop accepting and supervising; the connections go on until they end."""
        super().stop(timeout)
        self.heartbeat.stop()

    def stop_accepting(self) -> None:
        """Close the port for good: the kernel refuses new connections, and the clients try another server."""
        if self.started:
            self.close()  # calls this again
        else:
            super().stop_accepting()

    def close_all(self, reason: str, retry_after: Callable[[], float]) -> None:
        """Close every connection.

        Args:
            reason: the reason of BYE.
            retry_after: gives for each client the seconds after which to come back, spread so
                that not all do at once.
        """
        self.handshakes.close()
        for connection in self.connections:
            connection.close(reason, retry_after())

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until no connection is left; say whether that was so within ``timeout`` seconds."""
        self._empty.clear()
        return not self.connections or self._empty.wait(timeout)

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
        wire = self._opening(address, self._limits.max_frame).wire
        try:
            sock.send(b"".join(wire.refused(error, None)))
        except OSError:
            pass

    def _admit(self, sock: Transport, address: str, opened: float, error: RateLimited | None) -> None:
        """Make the connection and spawn its greenlet; one too many is told why, and to come back later."""
        limits = self._limits
        shaper = self._shaper(address, opened)
        connection = Connection(
            sock,
            address,
            opened,
            self._flusher,
            self._opening(address, limits.max_frame),
            limits.outbox_limit,
            shaper,
        )
        self.connections.add(connection)
        self._admission.register(connection, error)
        if error is not None:
            connection.refuse(error, self._patience)
        gevent.spawn(self.handle, connection)

    def _shaper(self, address: str, now: float) -> Shaper | None:
        limits = self._limits
        if not limits.byte_rate or limits.is_exempt(host_of(address)):
            return None
        return Shaper(limits.byte_rate, limits.byte_burst, now)

    def handle(self, connection: Connection) -> None:
        """Serve one connection, then forget it; the body of its greenlet."""
        try:
            connection.run(self._open_session)
        finally:
            self.connections.discard(connection)
            self._admission.leave(connection)
            self.silent.remove(connection)
            if not self.connections:
                self._empty.set()

    def back_off(self, error: OSError) -> None:
        """Leave new connections in the kernel's backlog for a moment; without a pause the loop would spin."""
        super().stop_accepting()
        self._timer = self.loop.timer(BACK_OFF)
        self._timer.start(self._start_accepting_if_started)
        if monotonic() - self._warned > WARN_AGAIN:
            self._warned = monotonic()
            logger.warning("cannot accept connections: %s (raise the limit of open files)", error)

"""The handshakes before the first frame: a proxy's PROXY header, and TLS.

A connection knows nothing of them.  When they are over, its socket is at the client's first byte (or decrypts
by itself), and its address is the client's, not the proxy's.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from time import monotonic
from typing import Any

import gevent
from gevent.pool import Group

from greenchat.errors import RateLimited
from greenchat.metrics import EVICTIONS
from greenchat.network.admission import Admission, TooManyConnections
from greenchat.network.connection import log_end
from greenchat.network.tls import BrokenTls, Certificate
from greenchat.network.transport import READABLE, Transport
from greenchat.protocol.addresses import display, host_of, plain
from greenchat.protocol.proxy import MAX_HEADER, BadProxyHeader, ProxyHeader, read_header

Admit = Callable[[Transport, str, float, RateLimited | None], None]
"""Takes the socket (with TLS around it), ``HOST:PORT`` of the client, the moment at which it came (monotonic
clock), and the error with which to refuse it, None if it is admitted."""


class Handshakes:
    """Runs the handshakes of new connections, and admits those that complete them.

    A connection that fails is closed, with a line in the log and without BYE: before the handshake is over it
    is not known which protocol the other end speaks.  A refused client is still admitted so that it
    receives the error, unless too many are refused at once.

    Args:
        admission: counts a connection as soon as its address is known.
        timeout: seconds that the handshakes of a connection may take.
        proxies: each connection begins with a PROXY header, and comes from one of these networks.  A
            connection from elsewhere MUST NOT be admitted: it could claim any address, and without a header
            it would look like a client (proxy-protocol.txt, section 2).  None: there are no
            proxies, and a header is a bad frame.
        certificate: for TLS, which begins behind the header; None: there is no TLS.
        forwarders: networks of proxies that are not held to the limit of an address: they name the client
            of each request later.
    """

    def __init__(
        self,
        admission: Admission,
        timeout: float,
        proxies: Sequence[IPv4Network | IPv6Network] | None,
        certificate: Certificate | None,
        forwarders: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        self._forwarders = forwarders
        self._admission = admission
        self._timeout = timeout
        self._proxies = proxies
        self._certificate = certificate
        self._running = Group()

    def __len__(self) -> int:
        """Return the number of handshakes under way."""
        return len(self._running)

    def begin(self, sock: Any, address: tuple[Any, ...], admit: Admit) -> None:
        """Begin the handshakes of a new connection: in a greenlet of its own, unless there are none.

        Args:
            sock: connected and non-blocking; closed if the connection is not admitted.
            address: of the other end, as the socket module gives it.
            admit: called when the handshakes are complete.

        Raises:
            TooManyConnections: no handshake was begun; the caller closes the socket.
        """
        shown, now = display(address), monotonic()
        if self._proxies is not None and not _is_among(address[0], self._proxies):
            sock.close()
            log_end(shown, None, "not in proxy-from", now)
        elif self._proxies is None and self._certificate is None:
            admit(sock, shown, now, self._enter(shown))
        else:
            self._admission.check_handshakes(len(self._running))
            self._running.spawn(self._run, sock, shown, now, admit)

    def close(self) -> None:
        """End all handshakes; their sockets are closed."""
        self._running.kill(block=False)

    def _enter(self, address: str) -> RateLimited | None:
        shared = bool(self._forwarders) and _is_among(host_of(address), self._forwarders)
        return self._admission.enter(address, shared)

    def _run(self, sock: Any, address: str, opened: float, admit: Admit) -> None:
        failure: str | None = "stopped"  # without another one only if the greenlet was killed
        wanted = "PROXY header"
        transport: Transport = sock
        entered, refusal = False, None
        try:
            with gevent.Timeout(self._timeout):
                if self._proxies is not None:
                    address = _client(sock, address)
                refusal = self._enter(address)
                entered = True
                wanted = "TLS handshake"
                if self._certificate is not None:
                    transport = _encrypted(sock, self._certificate)
            failure = None
        except gevent.Timeout:
            EVICTIONS.values["login_timeout"] += 1
            failure = f"no {wanted} in time"
        except (BadProxyHeader, BrokenTls) as error:
            failure = f"bad {wanted} ({error})"
        except TooManyConnections as error:
            failure = str(error)
        except EOFError:
            failure = "closed by peer"
        except OSError:
            failure = "reset"
        finally:
            if failure:
                sock.close()
                if entered:
                    self._admission.leave_unregistered(address, refusal)
                log_end(address, None, failure, opened)
        if not failure:
            admit(transport, address, opened, refusal)


def _is_among(host: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    address = ip_address(plain(host))
    return any(address in network for network in networks)


def _client(sock: socket.socket, address: str) -> str:
    """Return the address in the PROXY header; the proxy's own if the header has none (a health check)."""
    source = _receive_header(sock).source
    return address if source is None else display(source)


def _encrypted(sock: socket.socket, certificate: Certificate) -> Transport:
    """Do the TLS handshake."""
    transport = certificate.wrap(sock)
    while event := transport.handshake():
        _wait(sock, event)
    return transport


def _receive_header(sock: socket.socket) -> ProxyHeader:
    """Read a PROXY header and not a byte more: what follows is only peeked at, and stays in the socket.

    Raises:
        BadProxyHeader: the bytes are no PROXY header.
        EOFError: the peer ended the connection before it was complete.
    """
    head = b""
    while True:
        seen = _peek(sock, MAX_HEADER - len(head))
        if not seen:
            raise EOFError
        header = read_header(head + seen)
        sock.recv(header.size - len(head) if header else len(seen))
        if header:
            return header
        head += seen


def _peek(sock: socket.socket, size: int) -> bytes:
    """Wait for input, and return it without taking it out of the socket."""
    while True:
        try:
            return sock.recv(size, socket.MSG_PEEK)
        except BlockingIOError:
            _wait(sock, READABLE)


def _wait(sock: socket.socket, event: int) -> None:
    hub = gevent.get_hub()
    watcher = hub.loop.io(sock.fileno(), event)
    try:
        hub.wait(watcher)
    finally:
        watcher.close()

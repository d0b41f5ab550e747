"""What comes before the first frame: a proxy says whom it speaks for, and keys are agreed on (TLS).

Nothing of it is left in a connection: when it is over, the socket is at the client's first byte, or
decrypts by itself, and the address is the client's.
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
from greenchat.protocol.addresses import display, plain
from greenchat.protocol.proxy import MAX_HEADER, BadProxyHeader, ProxyHeader, read_header

Admit = Callable[[Transport, str, float, RateLimited | None], None]
"""Takes the socket (with TLS around it), ``HOST:PORT`` of the client, when it came (monotonic clock), and
why it may not stay, None if it may."""


class Handshakes:
    """Greet newcomers, and have those admitted that are who they should be.

    The others are closed, each with a line of the log.  There is no BYE for them: before the greeting
    is over, nobody is known to be there who would understand it.  Who may not stay is admitted all the
    same, to be told so, but for a crowd.

    Args:
        admission: counts newcomers in, as soon as their address is known.
        timeout: seconds that a greeting may take.
        proxies: each connection begins with a PROXY header, and comes from one of these networks.  No
            other MUST be let in: it could pass itself off as any client, and without a header it
            would be indistinguishable from one (proxy-protocol.txt, section 2).  None: there are no
            proxies, and a header is a bad frame.
        certificate: for TLS, which begins behind the header; None: there is no TLS.
    """

    def __init__(
        self,
        admission: Admission,
        timeout: float,
        proxies: Sequence[IPv4Network | IPv6Network] | None,
        certificate: Certificate | None,
    ) -> None:
        self._admission = admission
        self._timeout = timeout
        self._proxies = proxies
        self._certificate = certificate
        self._running = Group()

    def __len__(self) -> int:
        """Return how many are being greeted."""
        return len(self._running)

    def begin(self, sock: Any, address: tuple[Any, ...], admit: Admit) -> None:
        """Greet a newcomer; at once if nothing is asked of it, else in a greenlet of its own.

        Args:
            sock: connected and non-blocking; closed if it is not admitted.
            address: of the other end, as the socket module gives it.
            admit: called at the end, if all is well.

        Raises:
            TooManyConnections: it is one too many, and not greeted; the socket is the caller's to close.
        """
        shown, now = display(address), monotonic()
        if self._proxies is not None and not self._trusts(address[0]):
            sock.close()
            log_end(shown, None, "not in proxy-from", now)
        elif self._proxies is None and self._certificate is None:
            admit(sock, shown, now, self._admission.enter(shown))
        else:
            self._admission.check_handshakes(len(self._running))
            self._running.spawn(self._run, sock, shown, now, admit)

    def close(self) -> None:
        """End all greetings."""
        self._running.kill(block=False)

    def _trusts(self, host: str) -> bool:
        address = ip_address(plain(host))
        return any(address in network for network in self._proxies or ())

    def _run(self, sock: Any, address: str, opened: float, admit: Admit) -> None:
        failure: str | None = "stopped"  # without another one only if the greenlet was killed
        wanted = "PROXY header"
        transport: Transport = sock
        entered, refusal = False, None
        try:
            with gevent.Timeout(self._timeout):
                if self._proxies is not None:
                    address = _client(sock, address)
                refusal = self._admission.enter(address)
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


def _client(sock: socket.socket, address: str) -> str:
    """Return the address of the client: the proxy's, unless it speaks for somebody."""
    source = _receive_header(sock).source
    return address if source is None else display(source)


def _encrypted(sock: socket.socket, certificate: Certificate) -> Transport:
    """Shake hands."""
    transport = certificate.wrap(sock)
    while event := transport.handshake():
        _wait(sock, event)
    return transport


def _receive_header(sock: socket.socket) -> ProxyHeader:
    """Take a PROXY header off the socket, and not a byte more: the rest is looked at, but stays there.

    Raises:
        BadProxyHeader: it is none.
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
    """Return what can be read, as soon as there is something, and leave it there."""
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

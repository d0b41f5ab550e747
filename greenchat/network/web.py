"""The listener of web clients: it admits them, and another room speaks HTTP with them.

A web client counts as a connection that is not logged in, for as long as it speaks HTTP.  An upgraded one (to
WebSocket) becomes a ``Connection`` like any other: ``Visitor.hand_over`` gives its place to that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network

import gevent

from greenchat.errors import RateLimited
from greenchat.metrics import CONNECTIONS_CLOSED, CONNECTIONS_OPENED
from greenchat.network.acceptor import Acceptor
from greenchat.network.admission import Admission, Admitted
from greenchat.network.connections import Connections
from greenchat.network.tls import Certificate
from greenchat.network.transport import Transport
from greenchat.protocol.addresses import plain


class Visitor(Admitted):
    """A web client's place among the counted connections.

    Args:
        sock: at the client's first byte.
        address: ``HOST:PORT`` of the client, or of a proxy that names the client of each request.
        opened: when it came, on the monotonic clock.
        refusal: the error with which to refuse it; None if it may stay.
        admission: has counted it.
        encrypted: TLS protects the connection as far as this process.

    Attributes:
        sock, address, opened, refusal, encrypted: as given; ``address`` is changed by ``move``.
    """

    __slots__ = ("_admission", "_here", "address", "encrypted", "opened", "refusal", "sock")

    address: str

    def __init__(
        self,
        sock: Transport,
        address: str,
        opened: float,
        refusal: RateLimited | None,
        admission: Admission,
        encrypted: bool,
    ) -> None:
        self.sock = sock
        self.address = address
        self.opened = opened
        self.refusal = refusal
        self.encrypted = encrypted
        self._admission = admission
        self._here = True
        admission.register(self, refusal)

    @property
    def is_anonymous(self) -> bool:
        return True

    @property
    def local_host(self) -> str:
        """The address at this end of the connection."""
        return plain(str(self.sock.getsockname()[0]))

    def move(self, address: str, shared: bool = False) -> RateLimited | None:
        """Count for another client from now on, unless that one has too many connections (the error).

        Args:
            address: ``HOST:PORT`` of the client.
            shared: it is a proxy, which has any number.
        """
        refusal = self._admission.move(self.address, address, shared)
        if refusal is None:
            self.address = address
        return refusal

    def hand_over(self) -> None:
        """Leave the place, still counted, to the ``Connection`` that takes up the socket now."""
        self._admission.unregister(self)
        self._here = False
        CONNECTIONS_OPENED.value -= 1  # the Connection, made in the same turn, counts it again

    def leave(self) -> None:
        """Give the place back, unless it was handed over; the socket is closed."""
        if self._here:
            self._here = False
            self._admission.leave(self)
            CONNECTIONS_CLOSED.value += 1


class WebListener(Acceptor):
    """Accept web clients on one port, one greenlet each.

    Args:
        address, connections, proxies, certificate, forwarders: as for ``Acceptor``.
        serve: speaks with a client until its end, and closes the socket unless it handed that over.
        refused: returns the HTTP answer to a client that is closed at once.
    """

    def __init__(
        self,
        address: tuple[str, int],
        connections: Connections,
        serve: Callable[[Visitor], None],
        refused: Callable[[RateLimited], bytes],
        *,
        proxies: Sequence[IPv4Network | IPv6Network] | None = None,
        certificate: Certificate | None = None,
        forwarders: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        super().__init__(
            address, connections, proxies=proxies, certificate=certificate, forwarders=forwarders
        )
        self._serve = serve
        self._refused = refused

    def last_words(self, address: str, refusal: RateLimited) -> bytes:
        return self._refused(refusal)

    def admitted(self, sock: Transport, address: str, opened: float, refusal: RateLimited | None) -> None:
        visitor = Visitor(sock, address, opened, refusal, self._connections.admission, self._encrypts)
        CONNECTIONS_OPENED.value += 1
        gevent.spawn(self.handle, visitor)

    def handle(self, visitor: Visitor) -> None:
        """Serve one client, then give its place back; the body of its greenlet."""
        try:
            self._serve(visitor)
        finally:
            visitor.leave()

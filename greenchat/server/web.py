"""Builds the web listener: the table of routes, the checks, and the way from HTTP into the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from greenchat.config import Settings
from greenchat.http.answers import refused
from greenchat.http.call import Call, Route, TakenOver
from greenchat.http.hooks import hook_routes
from greenchat.http.limits import HttpLimits
from greenchat.http.origin import Origins
from greenchat.http.pages import page_routes
from greenchat.http.routes import Routes
from greenchat.http.server import HttpServer
from greenchat.http.site import Site
from greenchat.http.websocket import websocket_routes
from greenchat.network.connections import Connections
from greenchat.network.tls import Certificate
from greenchat.network.web import WebListener
from greenchat.protocol.websocket.wire import WebSocketWire
from greenchat.service.requests.hooks import ServiceIncomingHooks
from greenchat.service.service import Service
from greenchat.service.session import Session

AS_MANY_AS = 8
"""Connections whose requests an address may make over HTTP.  A limit of a connection would be none, since
each request can have its own."""


class Web:
    """The web side of a node.

    Args:
        settings: all of it.
        service: the state that all sessions of this node share.
        connections: those of all ports.
        trouble: returns the reason why the server cannot do all of its work, empty if it can; may switch.

    Attributes:
        http: serves the connections that speak HTTP.
    """

    def __init__(
        self, settings: Settings, service: Service, connections: Connections, trouble: Callable[[], str]
    ) -> None:
        self._settings = settings
        self._service = service
        self._connections = connections
        host = settings.web.rpartition(":")[0]
        self._origins = Origins(_words(settings.web_hosts), _words(settings.web_origins), host)
        site = Site(
            Routes(self._rows(trouble)), self._origins, service, _limits(settings), settings.web_proxies
        )
        self.http = HttpServer(site)
        self._wire = WebSocketWire(settings.websocket_ping, settings.max_missed)

    def listener(self, address: tuple[str, int], certificate: Certificate | None) -> WebListener:
        """Return the listener for an address; it does not accept yet."""
        settings = self._settings
        return WebListener(
            address,
            self._connections,
            self.http.serve,
            refused,
            proxies=settings.web_proxies if settings.web_proxy_protocol else None,
            certificate=certificate,
            forwarders=settings.web_proxies,
        )

    def _rows(self, trouble: Callable[[], str]) -> Iterator[Route]:
        """Yield all rows of the table of routes."""
        yield from page_routes(trouble)
        yield from hook_routes(ServiceIncomingHooks(self._service), self._settings.max_message)
        yield from websocket_routes(self._origins, self._adopt)

    def _adopt(self, call: Call, taken: TakenOver) -> None:
        """Serve a client that has upgraded to WebSocket; from now on it is a connection like any other."""
        taken.hand_over()
        self._connections.adopt(
            taken.sock,
            taken.address,
            taken.opened,
            taken.received,
            self._wire,
            partial(Session, self._service),
        )


def _limits(settings: Settings) -> HttpLimits:
    return HttpLimits(
        first_seconds=settings.login_timeout,
        head_seconds=settings.login_timeout,
        request_rate=settings.request_rate * AS_MANY_AS,
        request_burst=settings.request_burst * AS_MANY_AS,
        is_exempt=settings.is_exempt,
    )


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()

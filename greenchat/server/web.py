"""Builds the web listener: the table of routes, the checks, and the way from HTTP into the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from greenchat.config import Settings
from greenchat.http.answers import refused
from greenchat.http.api.cookies import Cookies
from greenchat.http.api.door import Door
from greenchat.http.api.events import Events
from greenchat.http.api.openapi import openapi_routes
from greenchat.http.api.table import api_routes
from greenchat.http.call import Call, Route, TakenOver
from greenchat.http.hooks import hook_routes
from greenchat.http.limits import HttpLimits
from greenchat.http.origin import Origins
from greenchat.http.pages import page_routes
from greenchat.http.routes import Routes
from greenchat.http.server import HttpServer
from greenchat.http.site import Site
from greenchat.http.websocket import websocket_routes
from greenchat.network.connection import OpenSession
from greenchat.network.connections import Connections
from greenchat.network.tls import Certificate
from greenchat.network.web import WebListener
from greenchat.protocol.websocket.wire import WebSocketWire
from greenchat.protocol.wire import Speech
from greenchat.service.incoming import ServiceIncomingHooks
from greenchat.service.service import Service
from greenchat.service.session import CookieSession, Session

AS_MANY_AS = 8
"""Connections whose requests an address may make over HTTP.  A limit of a connection would be none, since
each request can have its own."""

DAY = 86_400


class Web:
    """The web side of a node.

    Args:
        settings: all of it.
        service: the state that all sessions of this node share.
        connections: those of all ports.
        trouble: returns the reason why the server cannot do all of its work, empty if it can; may switch.
        cluster: an id of the cluster.

    Attributes:
        http: serves the connections that speak HTTP.
    """

    def __init__(
        self,
        settings: Settings,
        service: Service,
        connections: Connections,
        trouble: Callable[[], str],
        cluster: str,
    ) -> None:
        self._settings = settings
        self._service = service
        self._connections = connections
        host = settings.web.rpartition(":")[0]
        self._origins = Origins(_words(settings.web_hosts), _words(settings.web_origins), host)
        self._cookies = Cookies(cluster[:8], settings.token_days * DAY)
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
        yield from websocket_routes(self._origins, self._adopt, self._has_cookie)
        door = Door(self._service, self._origins, self._cookies)
        yield from api_routes(door, Events(door, self._adopt_stream))
        yield from openapi_routes()

    def _has_cookie(self, call: Call) -> bool:
        return self._cookies.read(call) is not None

    def _adopt(self, call: Call, taken: TakenOver) -> None:
        """Serve a client that has upgraded to WebSocket; from now on it is a connection like any other."""
        cookie = self._cookies.read(call)
        taken.hand_over()
        self._connections.adopt(
            taken.sock,
            taken.address,
            taken.opened,
            taken.received,
            self._wire,
            partial(Session, self._service)
            if cookie is None
            else partial(CookieSession, cookie, self._service),
        )

    def _adopt_stream(self, taken: TakenOver, speech: Speech, open_session: OpenSession) -> None:
        """Serve a client that reads events; it is a connection like any other, too."""
        taken.hand_over()
        self._connections.adopt_stream(taken.sock, taken.address, taken.opened, speech, open_session)


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

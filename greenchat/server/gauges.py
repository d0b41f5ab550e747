"""Connects the gauges of greenchat.metrics to the parts of the server that they show."""

from __future__ import annotations

from collections import Counter
from platform import python_version

from greenchat import __version__, metrics
from greenchat.http.server import HttpServer
from greenchat.network.connections import Connections
from greenchat.outgoing.hooks import OutgoingHooks
from greenchat.ports.bus import Bus
from greenchat.ports.store import Store
from greenchat.protocol.events import EventStream
from greenchat.protocol.websocket.wire import WebSocketWire
from greenchat.service.delivery.hub import Hub

WEB_WIRES = (WebSocketWire, EventStream)
"""The wires of clients that came to the web port and speak HTTP no more."""


def connect_web_gauges(http: HttpServer) -> None:
    """Let the gauges of HTTP read this."""

    def by_state() -> dict[tuple[str, ...], int]:
        return {("idle",): http.idle, ("busy",): len(http) - http.idle}

    metrics.HTTP_CONNECTIONS.read = by_state


def connect_gauges(
    connections: Connections, kind: str, hub: Hub, store: Store, bus: Bus, hooks: OutgoingHooks
) -> None:
    """Let the gauges read these; nothing is computed before a page is asked for.

    Args:
        connections: those of the clients.
        kind: the name of the listener of chat clients.
        hub: the sessions that are logged in here.
        store: the database.
        bus: the connection to the other nodes.  A bus without any others has no lag.
        hooks: those that go out from here.
    """

    def by_state() -> dict[tuple[str, ...], int]:
        states: Counter[tuple[str, ...]] = Counter({(kind, "anonymous"): 0, (kind, "logged_in"): 0})
        states.update(
            (
                "web" if isinstance(connection.wire, WEB_WIRES) else kind,
                "anonymous" if connection.is_anonymous else "logged_in",
            )
            for connection in connections
        )
        return dict(states)

    metrics.CONNECTIONS.read = by_state
    metrics.OUTBOX_BYTES.read = lambda: {(): sum(peer.outbox.unsent for peer in connections)}
    metrics.USERS_ONLINE.read = lambda: {(): len(hub.users())}
    metrics.DEVICES_ONLINE.read = lambda: {(): len(hub.sessions())}
    metrics.COMMIT_QUEUE.read = lambda: {(): store.queued}
    metrics.OUTGOING_HOOKS.read = lambda: {(): len(hooks)}
    metrics.BUILD_INFO.read = lambda: {(__version__, python_version()): 1}
    if not bus.alone:
        metrics.BUS_AWAY.read = lambda: {(): bus.away}
        metrics.BUS_LAG.read = lambda: {(): bus.lag}

"""Builds the server out of its rooms, runs it, and ends it in order."""

from __future__ import annotations

import gc
import logging
import os
import random
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import gevent
from gevent.event import Event
from sqlalchemy.engine import make_url

from greenchat import __version__
from greenchat.bus import open_backend
from greenchat.config import Settings
from greenchat.data import open_store
from greenchat.errors import Away, Busy, ConfigError, StartupError
from greenchat.model.instants import to_instant
from greenchat.model.records import Node
from greenchat.network.acceptor import Acceptor
from greenchat.network.connections import Connections
from greenchat.network.limits import Limits
from greenchat.network.listener import ChatServer
from greenchat.network.tls import Certificate
from greenchat.outgoing.hooks import OutgoingHooks
from greenchat.outgoing.sender import Terms
from greenchat.ports.store import Store
from greenchat.protocol.messages import HeartbeatTerms
from greenchat.server.admin import AdminPages
from greenchat.server.control import Control
from greenchat.server.gauges import connect_gauges, connect_web_gauges
from greenchat.server.hooks import HookCommands
from greenchat.server.offload import Offload
from greenchat.server.ports import Port, ports, web_address
from greenchat.server.process import affordable_connections, prepare, say_ready
from greenchat.server.signals import StopSignals, on_hangup
from greenchat.server.web import Web
from greenchat.service.node_session import NodeSession
from greenchat.service.requests.hosting import ServiceHookHost
from greenchat.service.service import Service
from greenchat.service.session import Session

STARTUP_PAUSE = 0.5
"""Seconds between two tries to reach the database or the bus at the start."""

YOUNG = 10_000
"""New objects after which the garbage collector looks at them.  A message makes a dozen that need no
collector; with Python's 700 it took 4 % of the CPU of a server that is busy with messages."""

STOP_PAUSE = 0.01
"""Seconds between two looks at whether requests are still being handled when the server stops."""

PATIENCE = 10.0
"""Seconds for which the first frame of a newcomer that is refused is waited for: people type that long."""

RETRY_SPREAD = 2.0
"""Seconds over which the clients of a stopping server are told to come back."""

CLUSTER_ID = "cluster_id"
"""The setting in the database that names the cluster: installations that share a Redis do not meet."""

DAY = 86_400.0
"""Seconds."""

T = TypeVar("T")

_log = logging.getLogger("greenchat")


def serve(settings: Settings) -> None:
    """Run a server until SIGINT or SIGTERM.

    Raises:
        ConfigError: a setting cannot be used.
        StartupError: the port, the database or the admin port cannot be had.
    """
    prepare(settings)
    signals = StopSignals()
    app = App(settings)
    app.start(signals.stop)
    try:
        say_ready(app.ready_line(), signals.stop)
        signals.stop.wait()
    except OSError as error:
        raise StartupError(f"cannot write to standard output: {_reason(error)}") from None
    finally:
        app.stop(signals)
    if app.superseded:
        raise StartupError(f"{app.superseded}: this one has ended")


class App:
    """A node: its store, bus, service and listener.

    Args:
        settings: all of it.

    Attributes:
        superseded: how another server has taken this one's place; empty if none has.
    """

    def __init__(self, settings: Settings) -> None:
        self.superseded = ""
        self._settings = settings
        self._bus, self._counters, self._friends = open_backend(settings.bus)
        self._store: Store = open_store(
            settings.store,
            max_friends=settings.max_friends,
            max_groups=settings.max_groups,
            max_members=settings.max_members,
            max_devices=settings.max_devices,
            max_queue=settings.commit_queue,
            upgrade_grace=settings.upgrade_grace,
        )
        self._web_address = web_address(settings)
        self._admin = AdminPages(settings.admin, settings.port, self._trouble)
        self._certificate = _certificate(settings)

    def start(self, stop: Event) -> None:
        """Open the database, join the cluster and listen, in this order.

        Args:
            stop: ends the wait for the database or bus; set here if the server has to end.

        Raises:
            StartupError: one of them failed.
        """
        deadline = time.monotonic() + self._settings.startup_timeout
        _patiently(self._store.start, deadline, stop)
        try:
            give_way = partial(self._give_way, stop, "another server uses the database")
            _patiently(partial(self._store.claim, self._bus.alone, give_way), deadline, stop)
            self._begin(deadline, stop)
        except (Busy, StartupError) as error:
            self._bus.close()
            self._store.close()
            if isinstance(error, Busy):
                raise StartupError("the database does not answer") from None
            raise
        gc.collect()
        gc.freeze()  # objects that exist now stay: leave them out of every later collection
        gc.set_threshold(YOUNG)

    def _begin(self, deadline: float, stop: Event) -> None:
        settings = self._settings
        cluster = self._store.setting(CLUSTER_ID, secrets.token_hex(8))
        known = _patiently(partial(self._bus.open, cluster, settings.node), deadline, stop)
        others = self._store.nodes()
        self._node = Node(settings.node, _next_incarnation(settings.node, others, known))
        self._store.close_node(self._node, _now())
        self._service = Service(
            store=self._store,
            bus=self._bus,
            counters=self._counters,
            friends=self._friends,
            node=self._node,
            limits=settings,
            heartbeat=HeartbeatTerms(settings.heartbeat_interval, settings.max_missed),
            clock=time.time,
            monotonic=time.monotonic,
            offload=Offload(settings.password_queue),
            later=gevent.spawn_later,
            pause=gevent.sleep,
        )
        give_way = partial(self._give_way, stop, f"another server was started as node {settings.node}")
        listener = NodeSession(self._service, give_way)
        _patiently(partial(self._bus.start, self._node, listener, others), deadline, stop)
        self._admin.start()
        self._connections = Connections(
            _limits(settings),
            heartbeat_interval=settings.heartbeat_interval,
            max_missed=settings.max_missed,
            login_timeout=settings.login_timeout,
            ping_after=settings.websocket_ping,
        )
        terms = Terms(settings.hook_http, settings.hook_networks, settings.hook_days * DAY)
        self._hooks = OutgoingHooks(self._store, ServiceHookHost(self._service), terms)
        commands = HookCommands(self._service, self._hooks, terms)
        self._control = Control(settings.control_socket.replace("%p", str(settings.port)), commands.table)
        if settings.control_socket:
            self._control.start()
        kind = "tls" if self._certificate else "tcp"
        connect_gauges(self._connections, kind, self._service.hub, self._store, self._bus, self._hooks)
        self._listeners: list[Acceptor] = [self._listen(port) for port in ports(settings)]
        self._web = Web(settings, self._service, self._connections, self._trouble, cluster)
        if self._web_address is not None:
            connect_web_gauges(self._web.http)
            self._listeners.append(self._started(self._web.listener(self._web_address, self._certificate)))
        self._connections.heartbeat.start()
        self._hooks.start()

    def _listen(self, port: Port) -> Acceptor:
        """Return a listener for a port, which accepts.

        Raises:
            StartupError: the port cannot be had.
        """
        listener = ChatServer(
            port.address,
            self._connections,
            partial(Session, self._service),
            port.opening,
            proxies=self._settings.proxies,
            certificate=self._certificate,
            patience=PATIENCE,
        )
        return self._started(listener)

    def _started(self, listener: Acceptor) -> Acceptor:
        host, number = listener.address
        try:
            listener.start()
        except OSError as error:
            raise StartupError(f"cannot listen on {host}:{number}: {_reason(error)}") from None
        return listener

    def ready_line(self) -> str:
        """Return the line that is printed when the server is ready; a password in a URL is masked.

        A second line names the way in for web clients, if there is one.
        """
        settings = self._settings
        store = make_url(settings.store).render_as_string(hide_password=True)
        bus = make_url(settings.bus).render_as_string(hide_password=True)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{host}:{self._listeners[0].server_port}"
        line = f"greenchat {__version__} listening on {address} store={store} bus={bus} node={settings.node}"
        if self._web_address is None:
            return line
        name, _ = self._web_address
        name = f"[{name}]" if ":" in name else name
        scheme = "https" if self._certificate else "http"
        return f"{line}\nweb client: {scheme}://{name}:{self._listeners[-1].server_port}"

    def stop(self, signals: StopSignals) -> None:
        """Accept nothing more, commit the queue, mark this node's users offline, say BYE, leave.

        The clients are waited for, but not for long, nor at all when told to hurry.  A database that
        hangs is not waited for longer than they are.
        """
        settings, connections = self._settings, self._connections
        _log.info("stopping: %d connections", len(connections))
        self._service.draining = True
        self._control.stop()
        for listener in self._listeners:
            listener.stop_accepting()
        self._web.http.drain()
        for connection in connections:
            connection.pause()
        self._hooks.stop(settings.shutdown_timeout / 2)
        gevent.spawn(self._commit_and_leave).join(settings.shutdown_timeout)
        for listener in self._listeners:
            listener.handshakes.close()
        connections.close_all("shutdown", lambda: round(random.uniform(0, RETRY_SPREAD), 2))
        gone = gevent.spawn(self._wait_closed, settings.shutdown_timeout)
        gevent.wait([gone, gevent.spawn(signals.hurry.wait)], count=1)
        for listener in self._listeners:
            listener.stop()
        connections.heartbeat.stop()
        gevent.spawn(self._store.close).join(settings.shutdown_timeout)
        _log.info("stopped in a hurry" if signals.hurry.is_set() else "stopped")

    def _wait_closed(self, timeout: float) -> None:
        """Wait until no client of any kind is left, but not for longer than the timeout (seconds)."""
        with gevent.Timeout(timeout, False):
            self._connections.wait_closed()
            self._web.http.wait_closed()

    def _commit_and_leave(self) -> None:
        """Mark this node's users offline; messages accepted before are committed first, or with it.

        They may log in elsewhere from then on, before they are told to.  Requests that are being handled are
        waited for: their changes (of memberships, of blocks) are told to the other nodes, and
        nothing can be told once the node has left.
        """
        deadline = time.monotonic() + self._settings.shutdown_timeout / 2
        while self._service.has_to_tell and time.monotonic() < deadline:
            gevent.sleep(STOP_PAUSE)
        try:
            self._store.close_node(self._node, _now())
        except Busy:
            _log.warning("the database is away: this node's users are marked offline at its next start")
        self._bus.close()

    def _give_way(self, stop: Event, reason: str) -> None:
        """End: another server has taken this one's place."""
        self.superseded = reason
        stop.set()

    def _trouble(self) -> str:
        """Return the reason why this server cannot do all of its work, empty if it can.  May switch."""
        try:
            self._store.setting("schema_version", "")
        except Busy:
            return "the database does not answer"
        return self._bus.trouble


def _next_incarnation(name: str, shown: list[Node], known: int) -> int:
    """Return a number for this start of a node that is above those of all earlier ones.

    The clock's milliseconds would do, but a clock can be put back.

    Args:
        name: of the node.
        shown: the nodes that the database shows users at.
        known: the newest incarnation that the bus remembers.
    """
    last = max(known, *(node.incarnation for node in shown if node.name == name), 0)
    return max(int(time.time() * 1000), last + 1)


def _patiently(start: Callable[[], T], deadline: float, stop: Event) -> T:
    """Call a function that needs the database or bus, and try again until the deadline; return its answer.

    The deadline is one of the monotonic clock.

    Raises:
        StartupError: it stays away, or the server is told to stop.
    """
    waiting = False
    while True:
        try:
            return start()
        except Away as error:
            if time.monotonic() >= deadline:
                raise
            if not waiting:
                waiting = True
                _log.warning("%s; waiting for it", error)
        if stop.wait(STARTUP_PAUSE):
            raise StartupError("told to stop while it waited at the start")


def _certificate(settings: Settings) -> Certificate | None:
    """Read the certificate for TLS, if there is to be any, now and at each SIGHUP."""
    if not settings.tls_cert:
        on_hangup(partial(_log.info, "SIGHUP: there is nothing to read again, since there is no tls_cert"))
        return None
    certificate = Certificate(settings.tls_cert, settings.tls_key)

    def reload() -> None:
        try:
            certificate.reload()
            _log.info("the certificate was read again: %s", settings.tls_cert)
        except ConfigError as error:
            _log.error("%s; the certificate that was read before stays", error)

    on_hangup(reload)
    return certificate


def _limits(settings: Settings) -> Limits:
    """Return those of the network, with as many connections as can be had."""
    limits = Limits(**{name: getattr(settings, name) for name in Limits._fields})
    return limits._replace(max_connections=affordable_connections(limits.max_connections))


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _now() -> str:
    return to_instant(time.time())

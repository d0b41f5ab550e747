"""Implementations inherit their ports, so that a reader finds one from the other; this costs no memory."""

from __future__ import annotations

from typing import Any

import pytest

from greenchat.bus.cluster.bus import ClusterBus
from greenchat.bus.local.bus import LocalBus
from greenchat.bus.local.counters import LocalCounters
from greenchat.bus.local.friends import LocalFriends
from greenchat.bus.redis.counters import RedisCounters
from greenchat.bus.redis.friends import RedisFriends
from greenchat.bus.redis.registry import RedisRegistry
from greenchat.bus.redis.transport import RedisTransport
from greenchat.data.engine.database import Database
from greenchat.data.engine.mysql import MysqlDatabase
from greenchat.data.engine.runner import Greenlets, Inline, Runner, Threads
from greenchat.data.engine.sqlite import SqliteDatabase
from greenchat.data.store import SqlStore
from greenchat.network.connection import Connection
from greenchat.network.outbox import Outbox
from greenchat.network.tls import TlsSocket
from greenchat.network.transport import Transport as SocketTransport
from greenchat.outgoing.sender import Sender
from greenchat.ports.bus import Bus, BusListener
from greenchat.ports.cluster import Registry, Transport, TransportListener
from greenchat.ports.counters import Counters
from greenchat.ports.friends import FriendsCache
from greenchat.ports.hooks import HookDevice, HookHost, IncomingHooks, Sink
from greenchat.ports.peer import Peer
from greenchat.ports.store import Delivery, Store
from greenchat.protocol.classic.wire import ClassicWire
from greenchat.protocol.lines import Lines
from greenchat.protocol.native import Native
from greenchat.protocol.opening import TcpOpening
from greenchat.protocol.wire import Opening, Wire
from greenchat.service.device.flow import Flow
from greenchat.service.device.receipts import Receipts
from greenchat.service.device.stream import Stream
from greenchat.service.incoming import ServiceIncomingHooks
from greenchat.service.node_session import NodeSession
from greenchat.service.requests.hosting import HookCaller, HookPeer, ServiceHookHost
from greenchat.service.requests.messaging import EntryDelivery
from greenchat.service.session import Session
from tests.service.fake_bus import FakeBus, FakeCounters, NoCache
from tests.service.fakes import FakePeer
from tests.service.shared import NodeRunner

IMPLEMENTATIONS: dict[Any, tuple[type, ...]] = {
    Bus: (LocalBus, ClusterBus, FakeBus),
    BusListener: (NodeSession,),
    Counters: (LocalCounters, RedisCounters, FakeCounters),
    FriendsCache: (LocalFriends, RedisFriends, NoCache),
    Transport: (RedisTransport,),
    TransportListener: (ClusterBus,),
    Registry: (RedisRegistry,),
    Sink: (Sender,),
    HookDevice: (HookCaller,),
    HookHost: (ServiceHookHost,),
    IncomingHooks: (ServiceIncomingHooks,),
    Peer: (Connection, HookPeer, FakePeer),
    SocketTransport: (TlsSocket,),
    Store: (SqlStore,),
    Delivery: (EntryDelivery,),
    Database: (SqliteDatabase, MysqlDatabase),
    Runner: (Greenlets, Threads, Inline, NodeRunner),
    Wire: (Native, ClassicWire, TcpOpening),
    Opening: (TcpOpening,),
}
"""Each port, and all that implements it."""

PER_CONNECTION = [
    Connection,
    Outbox,
    Lines,
    ClassicWire,
    TcpOpening,
    Session,
    Flow,
    Stream,
    Receipts,
    TlsSocket,
]
"""Classes of which each connection has an object."""


@pytest.mark.parametrize(
    ("port", "implementation"),
    [(port, one) for port, those in IMPLEMENTATIONS.items() for one in those],
    ids=lambda one: one.__name__,
)
def test_an_implementation_inherits_its_port(port: type, implementation: type) -> None:
    assert port in implementation.__mro__


@pytest.mark.parametrize("kept", [*PER_CONNECTION, EntryDelivery], ids=lambda one: one.__name__)
def test_an_object_that_each_connection_has_carries_no_dictionary(kept: type) -> None:
    """A base without ``__slots__`` would give it one: 100 bytes and more for each connection."""
    assert kept.__dictoffset__ == 0

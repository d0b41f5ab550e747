"""The transport over Redis: PUBLISH and SUBSCRIBE, one channel for each node.

Redis does not part channels by database, so that of a node is ``greenchat:CLUSTER:DB:NAME``.
"""

from __future__ import annotations

from greenchat.bus.redis.connection import Commands, RedisServer, Subscription
from greenchat.bus.redis.registry import prefix
from greenchat.ports.cluster import Transport, TransportListener


class RedisTransport(Transport):
    """Frames by the connections to one Redis: commands, and a subscription.

    Both MUST end at one server.  So a failure of the first ends the second, too: the address may be that of
    another server by now.

    Args:
        server: the Redis to connect to.
        commands: the connection for commands; its queue carries the registry's commands too, in order.
    """

    broker = "Redis"

    def __init__(self, server: RedisServer, commands: Commands) -> None:
        self.where = server.where
        self._server = server
        self._commands = commands
        self._subscription: Subscription | None = None

    def start(self, cluster: str, name: str, listener: TransportListener) -> None:
        self._listener = listener
        self._channels = f"{prefix(cluster)}{self._server.database}:"
        self._commands.start(listener.connected, listener.ready, self._failed)
        self._subscription = Subscription(
            self._server,
            self._channels + name,
            listener.subscribed,
            listener.received,
            lambda error: listener.unsubscribed(str(error)),
        )

    def wake(self) -> None:
        self._commands.wake()

    def publish(self, name: str, frame: bytes) -> None:
        # Not waited for: the number of receivers says nothing of a node behind a stuck connection.
        self._commands.post(("PUBLISH", self._channels + name, frame))

    def close(self) -> None:
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None  # so that a failure does not renew it
            subscription.close()
        self._commands.close()

    def _failed(self, error: Exception) -> None:
        self._listener.failed(str(error))
        if self._subscription is not None:
            # The subscription may still be open, to a server that is not the primary any more.
            self._subscription.renew()

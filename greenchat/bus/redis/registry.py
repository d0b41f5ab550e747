"""The registry in Redis: the nodes with their leases, and the devices of the users at each.

Keys, each behind ``greenchat:CLUSTER:``::

    nodes             hash: the name of each node, until it has left or has been cleaned up after, and its
                      incarnation
    node:NAME         hash: "" its incarnation, and for each user here the devices, as JSON;
                      it lives for a lease unless it is renewed: it is the node's lease
    clean:NAME:N      the node that marks the users of a dead one offline

The cluster is an id from the database, so that two installations on one Redis are separate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import redis

from greenchat.bus.redis.connection import ANSWER, TROUBLE, Command, Commands, RedisServer, exchange
from greenchat.errors import BusAway, StartupError
from greenchat.model.records import Node, Seat
from greenchat.ports.cluster import Registry

CLEANING = 30
"""Seconds after which another node may clean up, in case the one that began has died."""

GENERATION = "generation"
"""The key of a counter of the connections that nodes have made (see ``friends``)."""

_CLAIM = """
if redis.call('HEXISTS', KEYS[1], '') == 1 then
  if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
  else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
end
local found = {}
for i = 2, #KEYS do found[i - 1] = redis.call('HGET', KEYS[i], ARGV[1]) or '' end
return found
"""
_RENEW = """
local there = redis.call('HGET', KEYS[1], '')
if there == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return there
"""
# The first write fails if Redis takes none, before something is deleted.  Field by field, because many
# values at a time do not fit on Lua's stack.  A later start of the same node is not overwritten.
_ENTER = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('INCR', KEYS[3])
local there = tonumber(redis.call('HGET', KEYS[2], '') or '0')
if there > tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], there)
  return there
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], '', ARGV[2])
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return tonumber(ARGV[2])
"""
_FORGET_NODE = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
"""


class RedisRegistry(Registry):
    """The leases of the nodes in Redis.

    Args:
        server: the Redis to connect to.
        commands: the connection to it.
    """

    def __init__(self, server: RedisServer, commands: Commands) -> None:
        self._server = server
        self._commands = commands

    def open(self, cluster: str, name: str) -> int:
        self._prefix = self._commands.prefix = prefix(cluster)
        self._nodes = f"{self._prefix}nodes"
        remembered = ("HGET", self._nodes, name), ("HGET", self._key_of(name), "")
        try:
            connection = self._server.connect(ANSWER)
            try:
                # Of both: the hash outlives the lease, but another node may have struck the name out of it.
                return max(int(found or 0) for found in exchange(connection, *remembered))
            finally:
                connection.disconnect()
        except (redis.AuthenticationError, redis.ResponseError) as error:
            raise StartupError(f"the bus at {self._server.where} refuses: {error}") from None
        except TROUBLE as error:
            raise BusAway(f"cannot reach the bus at {self._server.where}: {error}") from None

    def start(self, me: Node, lease: float) -> None:
        self._me = me
        self._lease = int(lease * 1000)
        self._key = self._key_of(me.name)

    # -- This node

    def enter(self, users: Iterable[tuple[int, list[str]]]) -> int:
        fields = [field for userid, devices in users for field in (userid, json.dumps(devices))]
        keys = self._nodes, self._key, self._prefix + GENERATION
        (there,) = self._commands.ask(("EVAL", _ENTER, 3, *keys, *self._me, self._lease, *fields))
        return int(there)

    def renew(self) -> tuple[int | None, dict[str, int]]:
        there, _, nodes = self._commands.ask(
            ("EVAL", _RENEW, 1, self._key, self._me.incarnation, self._lease),
            # Each second: a node that cleaned up after this one in error has struck it out.
            ("HSET", self._nodes, *self._me),
            ("HGETALL", self._nodes),
        )
        registered = zip(map(bytes.decode, nodes[::2]), map(int, nodes[1::2]), strict=True)
        return (None if there is None else int(there)), dict(registered)

    def claim(self, userid: int, devices: list[str], names: Sequence[str]) -> list[Seat]:
        # Write and read are one script: of two that run one after the other, the second sees the first's.
        keys = [self._key, *map(self._key_of, names)]
        value = json.dumps(devices) if devices else ""
        (found,) = self._commands.ask(("EVAL", _CLAIM, len(keys), *keys, userid, value))
        return [
            Seat(name, device)
            for name, there in zip(names, found, strict=True)
            if there
            for device in json.loads(there)
        ]

    def leave(self) -> None:
        self._commands.ask(("DEL", self._key), self._forgetting(self._me))

    # -- The others

    def incarnations(self, names: Iterable[str]) -> list[int | None]:
        asked: list[Command] = [("HGET", self._key_of(name), "") for name in names]
        answers = self._commands.ask(*asked) if asked else ()
        return [None if there is None else int(there) for there in answers]

    def users(self, node: Node) -> set[int] | None:
        key = self._key_of(node.name)
        # The incarnation with the users: the node may have been started anew since its frame.
        number, fields = self._commands.ask(("HGET", key, ""), ("HKEYS", key))
        if number is None or int(number) != node.incarnation:
            return None
        return {int(field) for field in fields if field}

    def may_clean_up(self, node: Node) -> bool:
        # With the incarnation: a node may die twice within ``CLEANING``.
        lock = f"{self._prefix}clean:{node.name}:{node.incarnation}"
        return bool(self._commands.ask(("SET", lock, self._me.name, "NX", "EX", CLEANING))[0])

    def forget(self, node: Node) -> None:
        self._commands.ask(self._forgetting(node))

    def _forgetting(self, node: Node) -> Command:
        return ("EVAL", _FORGET_NODE, 1, self._nodes, node.name, node.incarnation)

    def _key_of(self, name: str) -> str:
        return f"{self._prefix}node:{name}"


def prefix(cluster: str) -> str:
    """Return the beginning of the names of all keys and channels of a cluster."""
    return f"greenchat:{cluster}:"

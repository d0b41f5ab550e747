"""Who is where, as Redis has it: the nodes with their leases, and the devices of the users at each.

Keys, each behind ``greenchat:CLUSTER:``::

    nodes             hash: name of each node that is to be cleaned up after, its incarnation
    node:NAME         hash: "" its incarnation, and for each user here the devices, as JSON;
                      it lives for a lease unless it is renewed: it is the node's lease
    clean:NAME:N      the node that marks the users of a dead one offline

The cluster is an id from the database, so that two installations on one Redis do not meet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from greenchat.bus.redis.connection import Ask, Command, Commands
from greenchat.model.records import Node, Seat

CLEANING = 30
"""Seconds after which another node cleans up, if the one that began has died of it."""

GENERATION = "generation"
"""The key of a counter of the connections that nodes have made (see ``counters``)."""

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
# The first write tells whether Redis takes any, before something is deleted.  Many values at a time would not
# fit on Lua's stack.  A later start of the same node is not overwritten.
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


class Registry:
    """What Redis has of the nodes, read and written by one of them.

    Each method may switch, and raises ``Busy`` if Redis is away or refuses.

    Args:
        commands: the connection to Redis.
        cluster: the id of the cluster.
        me: this node.
        lease: seconds that a node counts as alive after it has renewed its lease.
    """

    def __init__(self, commands: Commands, cluster: str, me: Node, lease: float) -> None:
        self._commands = commands
        self._me = me
        self._lease = int(lease * 1000)
        self._prefix = prefix(cluster)
        self._nodes = f"{self._prefix}nodes"
        self._key = self._key_of(me.name)
        self._keys = self._nodes, self._key, self._prefix + GENERATION

    # -- This node

    def enter(self, ask: Ask, users: Iterable[tuple[int, list[str]]]) -> int:
        """Take a lease, and write down the users here.

        Returns:
            The incarnation that has the lease now: that of a later start of this node is not overwritten.

        Args:
            ask: sends the commands.
            users: each with the devices.
        """
        fields = [field for userid, devices in users for field in (userid, json.dumps(devices))]
        entering = ("EVAL", _ENTER, 3, *self._keys, *self._me, self._lease, *fields)
        return int(ask(entering)[0])

    def renew(self) -> tuple[int | None, dict[str, int]]:
        """Renew the lease; return whose it is (None: it is gone), and all nodes with their incarnations."""
        there, _, nodes = self._commands.ask(
            ("EVAL", _RENEW, 1, self._key, self._me.incarnation, self._lease),
            ("HSET", self._nodes, *self._me),
            ("HGETALL", self._nodes),
        )
        registered = zip(map(bytes.decode, nodes[::2]), map(int, nodes[1::2]), strict=True)
        return (None if there is None else int(there)), dict(registered)

    def claim(self, userid: int, devices: list[str], names: Sequence[str]) -> list[Seat]:
        """Write down a user's devices here, and return those at some other nodes.

        Of two nodes that do so at a time, one at least finds the other's.
        """
        keys = [self._key, *map(self._key_of, names)]
        value = json.dumps(devices) if devices else ""
        (found,) = self._commands.ask(("EVAL", _CLAIM, len(keys), *keys, userid, value))
        return [
            Seat(name, device)
            for name, there in zip(names, found, strict=True)
            if there
            for device in json.loads(there)
        ]

    def leave(self, *last: Command) -> None:
        """End the lease, after some last commands."""
        self._commands.ask(*last, ("DEL", self._key), self._forgetting(self._me))

    # -- The others

    def incarnations(self, names: Iterable[str]) -> list[int | None]:
        """Return which incarnation of each node has a lease; None where none has."""
        asked: list[Command] = [("HGET", self._key_of(name), "") for name in names]
        answers = self._commands.ask(*asked) if asked else ()
        return [None if there is None else int(there) for there in answers]

    def users(self, node: Node) -> set[int] | None:
        """Return the users that are online at a node; None if this incarnation of it has no lease."""
        key = self._key_of(node.name)
        number, fields = self._commands.ask(("HGET", key, ""), ("HKEYS", key))
        if number is None or int(number) != node.incarnation:
            return None
        return {int(field) for field in fields if field}

    def may_clean_up(self, node: Node) -> bool:
        """Return True if this node is the one to clean up after another, for CLEANING seconds."""
        lock = f"{self._prefix}clean:{node.name}:{node.incarnation}"
        return bool(self._commands.ask(("SET", lock, self._me.name, "NX", "EX", CLEANING))[0])

    def forget(self, node: Node) -> None:
        """Strike out a node that has been cleaned up after."""
        self._commands.ask(self._forgetting(node))

    def _forgetting(self, node: Node) -> Command:
        return ("EVAL", _FORGET_NODE, 1, self._nodes, node.name, node.incarnation)

    def _key_of(self, name: str) -> str:
        return f"{self._prefix}node:{name}"


def prefix(cluster: str) -> str:
    """Return the beginning of the names of all keys and channels of a cluster."""
    return f"greenchat:{cluster}:"


def newest_incarnation(ask: Ask, cluster: str, name: str) -> int:
    """Return the newest incarnation of a node that Redis knows, 0 if none.  May switch."""
    begin = prefix(cluster)
    return max(
        int(found or 0) for found in ask(("HGET", f"{begin}nodes", name), ("HGET", f"{begin}node:{name}", ""))
    )

"""Who is where, as Redis has it: the nodes with their leases, and the devices of the users at each.

Keys::

    greenchat:nodes             hash: name of each node that is to be cleaned up after, its incarnation
    greenchat:node:NAME         hash: "" its incarnation, and for each user here the devices, as JSON;
                                it lives for a lease unless it is renewed: it is the node's lease
    greenchat:clean:NAME:N      who marks the users of a dead node offline
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from greenchat.bus.link import Command, Commands, plain
from greenchat.ports import Node, Seat

CLEANING = 30
"""Seconds after which another node cleans up, if the one that began has died of it."""

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
_FORGET_NODE = """
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
"""

NODES = "greenchat:nodes"


class Registry:
    """What Redis has of the nodes, read and written by one of them.

    Each method may switch, and raises ``Busy`` if Redis is away or refuses.

    Args:
        commands: the connection to Redis.
        me: this node.
        lease: seconds that a node counts as alive after it has renewed its lease.
    """

    def __init__(self, commands: Commands, me: Node, lease: float) -> None:
        self._commands = commands
        self._me = me
        self._lease = int(lease * 1000)
        self._key = _key(me.name)

    # -- This node

    def enter(self, users: Iterable[tuple[int, list[str]]]) -> None:
        """Take a lease, and write down who is here.

        Args:
            users: each with the devices.
        """
        fields = [field for userid, devices in users for field in (userid, json.dumps(devices))]
        answers = self._commands.ask(
            ("MULTI",),
            ("DEL", self._key),
            ("HSET", self._key, "", self._me.incarnation, *fields),
            ("PEXPIRE", self._key, self._lease),
            ("HSET", NODES, *self._me),
            ("EXEC",),
        )
        plain(answers[-1])

    def renew(self) -> tuple[int | None, dict[str, int]]:
        """Renew the lease; return whose it is (None: it is gone), and all nodes with their incarnations."""
        there, _, nodes = map(
            plain,
            self._commands.ask(
                ("EVAL", _RENEW, 1, self._key, self._me.incarnation, self._lease),
                ("HSET", NODES, *self._me),
                ("HGETALL", NODES),
            ),
        )
        registered = zip(map(bytes.decode, nodes[::2]), map(int, nodes[1::2]), strict=True)
        return (None if there is None else int(there)), dict(registered)

    def claim(self, userid: int, devices: list[str], names: Sequence[str]) -> list[Seat]:
        """Write down a user's devices here, and return those at some other nodes.

        Of two nodes that do so at a time, one at least finds the other's.
        """
        keys = [self._key, *map(_key, names)]
        value = json.dumps(devices) if devices else ""
        found = plain(self._commands.ask(("EVAL", _CLAIM, len(keys), *keys, userid, value))[0])
        return [
            Seat(name, device)
            for name, there in zip(names, found, strict=True)
            if there
            for device in json.loads(there)
        ]

    def leave(self, *last: Command) -> None:
        """End the lease, after some last commands."""
        self._commands.ask(*last, ("DEL", self._key), _forgetting(self._me))

    # -- The others

    def incarnations(self, names: Iterable[str]) -> list[int | None]:
        """Return which incarnation of each node has a lease; None where none has."""
        asked: list[Command] = [("HGET", _key(name), "") for name in names]
        answers = map(plain, self._commands.ask(*asked)) if asked else ()
        return [None if there is None else int(there) for there in answers]

    def users(self, node: Node) -> set[int] | None:
        """Return who is online at a node; None if this incarnation of it has no lease."""
        key = _key(node.name)
        number, fields = map(plain, self._commands.ask(("HGET", key, ""), ("HKEYS", key)))
        if number is None or int(number) != node.incarnation:
            return None
        return {int(field) for field in fields if field}

    def may_clean_up(self, node: Node) -> bool:
        """Return whether this node is the one to clean up after another, for CLEANING seconds."""
        lock = f"greenchat:clean:{node.name}:{node.incarnation}"
        return bool(plain(self._commands.ask(("SET", lock, self._me.name, "NX", "EX", CLEANING))[0]))

    def forget(self, node: Node) -> None:
        """Strike out a node that has been cleaned up after."""
        self._commands.ask(_forgetting(node))


def _forgetting(node: Node) -> Command:
    return ("EVAL", _FORGET_NODE, 1, NODES, node.name, node.incarnation)


def _key(name: str) -> str:
    return f"greenchat:node:{name}"

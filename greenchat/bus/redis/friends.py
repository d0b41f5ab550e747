"""The cache of friends in Redis.

Keys, each behind ``greenchat:CLUSTER:``::

    friends:ID          set: a user's friends, and minus the generation in which they were read
    friends:ID:changes  counts changes of them
    generation          counts the connections that nodes have made: each makes the friends be read anew

A new connection may be the first after a restore of the database, or to a Redis that was restored, or that
has missed a change.  So the friends that were read before it do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import gevent

from greenchat.bus.redis.connection import Command, Commands
from greenchat.bus.redis.registry import GENERATION
from greenchat.errors import Busy
from greenchat.ports.friends import FriendsCache

SECONDS = 600
"""Seconds that a user's friends are kept in Redis."""

_KEEP = """
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return end
redis.call('DEL', KEYS[1])
redis.call('SADD', KEYS[1], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


class RedisFriends(FriendsCache):
    """The friends of users, shared by the nodes; while Redis is away, they are read from the store.

    Args:
        commands: the connection to Redis.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._mark = 0

    def are_friends(self, userid: int, ids: Sequence[int], load: Callable[[], Iterable[int]]) -> set[int]:
        key, changes = self._keys_of(userid)
        asked = (
            ("GET", self._commands.prefix + GENERATION),
            ("SMISMEMBER", key, self._mark, *ids),
            ("GET", changes),
        )
        try:
            generation, (cached, *found), before = self._commands.ask(*asked)
        except Busy:
            return set(ids).intersection(load())
        # The member that proves the generation is negative, as no id is.  The former one is asked for, so
        # that a single round trip does; the next request asks for the new one.
        mark, self._mark = self._mark, -int(generation or 0)
        if cached and mark == self._mark:
            return {friend for friend, is_one in zip(ids, found, strict=True) if is_one}
        mark = self._mark  # others may move it while the friends are read
        friends = set(load())
        keep = ("EVAL", _KEEP, 2, key, changes, before or "", SECONDS, mark, *friends)
        # The answer does not wait for the cache.
        gevent.spawn(self._quietly, keep)
        return friends.intersection(ids)

    def forget_friends(self, userid: int) -> None:
        key, changes = self._keys_of(userid)
        # If this fails, the connection ends, and the next begins a generation.
        self._quietly(("INCR", changes), ("EXPIRE", changes, 6 * SECONDS), ("DEL", key))

    def _quietly(self, *commands: Command) -> None:
        """Send commands that may fail.  May switch."""
        with suppress(Busy):
            self._commands.ask(*commands)

    def _keys_of(self, userid: int) -> tuple[str, str]:
        prefix = self._commands.prefix
        return f"{prefix}friends:{userid}", f"{prefix}friends:{userid}:changes"

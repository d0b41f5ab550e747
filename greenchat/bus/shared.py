"""What the nodes share in Redis besides who is where: users' friends, counters and locks.

Keys, each behind ``greenchat:CLUSTER:``::

    friends:ID          set: a user's friends, and minus the generation in which they were read
    friends:ID:changes  counts changes of them
    generation          counts the connections that nodes have made: each makes the friends be read anew
    count:KEY, lock:KEY

A new connection may be the first after a restore of the database, or to a Redis that was restored, or that
has missed a change.  So the friends that were read before it do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import gevent

from greenchat.bus.counters import Counters
from greenchat.bus.link import Command, Commands
from greenchat.bus.registry import GENERATION
from greenchat.errors import Busy

FRIENDS = 600
"""Seconds that a user's friends are kept in Redis."""

_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count
"""
_KEEP_FRIENDS = """
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return end
redis.call('DEL', KEYS[1])
redis.call('SADD', KEYS[1], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


class Shared:
    """A part of ``RedisBus``: see ``ports.Bus``.

    While Redis is away, friends are read from the store, and each node counts and locks for itself.
    """

    _commands: Commands
    _prefix: str

    def __init__(self) -> None:
        self._mark = 0
        self._counters = Counters()

    def are_friends(self, userid: int, ids: Sequence[int], load: Callable[[], Iterable[int]]) -> set[int]:
        key, changes = self._keys_of(userid)
        asked = ("GET", self._prefix + GENERATION), ("SMISMEMBER", key, self._mark, *ids), ("GET", changes)
        try:
            generation, (cached, *found), before = self._commands.ask(*asked)
        except Busy:
            return set(ids).intersection(load())
        mark, self._mark = self._mark, -int(generation or 0)
        if cached and mark == self._mark:
            return {friend for friend, is_one in zip(ids, found, strict=True) if is_one}
        mark = self._mark  # others may move it while the friends are read
        friends = set(load())
        keep = ("EVAL", _KEEP_FRIENDS, 2, key, changes, before or "", FRIENDS, mark, *friends)
        gevent.spawn(self._quietly, keep)
        return friends.intersection(ids)

    def forget_friends(self, userid: int) -> None:
        key, changes = self._keys_of(userid)
        # If this fails, the connection ends, and the next begins a generation.
        self._quietly(("INCR", changes), ("EXPIRE", changes, 6 * FRIENDS), ("DEL", key))

    def count(self, key: str, seconds: float) -> int:
        counted: Command = ("EVAL", _COUNT, 1, f"{self._prefix}count:{key}", int(seconds * 1000))
        try:
            return int(self._commands.ask(counted)[0])
        except Busy:
            return self._counters.count(key, seconds)

    def uncount(self, key: str) -> None:
        self._counters.uncount(key)
        self._quietly(("DEL", f"{self._prefix}count:{key}"))

    def lock(self, key: str, seconds: float) -> None:
        self._counters.lock(key, seconds)
        self._quietly(("SET", f"{self._prefix}lock:{key}", "", "PX", int(seconds * 1000)))

    def locked(self, keys: Sequence[str]) -> float:
        here = self._counters.locked(keys)
        try:
            left = self._commands.ask(*(("PTTL", f"{self._prefix}lock:{key}") for key in keys))
        except Busy:
            return here
        return max(here, *(milliseconds / 1000 for milliseconds in left))

    def _quietly(self, *commands: Command) -> None:
        """Send commands that may fail.  May switch."""
        with suppress(Busy):
            self._commands.ask(*commands)

    def _keys_of(self, userid: int) -> tuple[str, str]:
        return f"{self._prefix}friends:{userid}", f"{self._prefix}friends:{userid}:changes"

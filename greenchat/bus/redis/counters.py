"""What the nodes share in Redis besides who is where: users' friends, counters and locks.

Keys, each behind ``greenchat:CLUSTER:``::

    friends:ID          set: a user's friends, and minus the generation in which they were read
    friends:ID:changes  counts changes of them
    generation          counts the connections that nodes have made: each makes the friends be read anew
    count:KEY           failures under a guard, and other counters
    lock:KEY            is there while what a guard guards is locked
    under:KEY           hash: the attempts under way under a guard, and when each counts as over

A new connection may be the first after a restore of the database, or to a Redis that was restored, or that
has missed a change.  So the friends that were read before it do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import time

import gevent

from greenchat.bus.local.counters import Counters
from greenchat.bus.redis.connection import Command, Commands
from greenchat.bus.redis.registry import GENERATION
from greenchat.errors import Busy
from greenchat.model.guards import UNDER_WAY, Guard

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
# KEYS: count, lock and under of each guard.  ARGV: now and the end of the attempt (milliseconds), the
# attempt, and of each guard the failures allowed.
_BEGIN_ATTEMPT = """
local left = 0
for i = 2, #KEYS, 3 do left = math.max(left, redis.call('PTTL', KEYS[i])) end
if left > 0 then return left end
for i = 3, #KEYS, 3 do
  local under, entries = 0, redis.call('HGETALL', KEYS[i])
  for n = 1, #entries, 2 do
    if tonumber(entries[n + 1]) > tonumber(ARGV[1]) then under = under + 1
    else redis.call('HDEL', KEYS[i], entries[n]) end
  end
  local failures = tonumber(redis.call('GET', KEYS[i - 2]) or '0')
  if under > 0 and failures + under > tonumber(ARGV[3 + i / 3]) then return -1 end
end
for i = 3, #KEYS, 3 do
  redis.call('HSET', KEYS[i], ARGV[3], ARGV[2])
  redis.call('PEXPIRE', KEYS[i], ARGV[2] - ARGV[1])
end
return 0
"""
# ARGV: the attempt, its outcome ("wrong", "right" or ""), and of each guard the milliseconds that failures
# count, the failures allowed, the milliseconds of a lock at most, and 1 if a right password forgives.
# The lock is set with the failure: in between another attempt would find a place.
_END_ATTEMPT = """
local locks = {}
for i = 3, #KEYS, 3 do
  local first = 4 * i / 3 - 1
  locks[i / 3] = 0
  redis.call('HDEL', KEYS[i], ARGV[1])
  if ARGV[2] == 'right' and ARGV[first + 3] == '1' then redis.call('DEL', KEYS[i - 2]) end
  if ARGV[2] == 'wrong' then
    local failures = redis.call('INCR', KEYS[i - 2])
    if failures == 1 then redis.call('PEXPIRE', KEYS[i - 2], ARGV[first]) end
    local beyond = failures - ARGV[first + 1]
    if beyond > 0 then
      locks[i / 3] = math.min(1000 * 2 ^ math.min(beyond - 1, 20), tonumber(ARGV[first + 2]))
      redis.call('SET', KEYS[i - 1], '', 'PX', locks[i / 3])
    end
  end
end
return locks
"""
_OUTCOMES = {True: "right", False: "wrong", None: ""}


class RedisCounters:
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

    def begin_attempt(self, guards: Sequence[Guard], attempt: str) -> float | None:
        keys, now = self._guard_keys(guards), int(time() * 1000)
        allowed = [guard.allowed for guard in guards]
        begun: Command = ("EVAL", _BEGIN_ATTEMPT, len(keys), *keys)
        try:
            left = int(self._commands.ask((*begun, now, now + int(UNDER_WAY * 1000), attempt, *allowed))[0])
        except Busy:
            return self._counters.begin_attempt(guards, attempt)
        return None if left < 0 else left / 1000

    def end_attempt(self, guards: Sequence[Guard], attempt: str, right: bool | None) -> list[float]:
        # Here too: if Redis goes away now, what is locked stays locked.
        here = self._counters.end_attempt(guards, attempt, right)
        keys = self._guard_keys(guards)
        terms = [
            term
            for guard in guards
            for term in (
                int(guard.seconds * 1000),
                guard.allowed,
                int(guard.longest * 1000),
                int(guard.forgiving),
            )
        ]
        try:
            locks = self._commands.ask(
                ("EVAL", _END_ATTEMPT, len(keys), *keys, attempt, _OUTCOMES[right], *terms)
            )[0]
        except Busy:
            return here
        return [int(lock) / 1000 for lock in locks]

    def _guard_keys(self, guards: Sequence[Guard]) -> list[str]:
        return [
            f"{self._prefix}{what}:{guard.key}" for guard in guards for what in ("count", "lock", "under")
        ]

    def _quietly(self, *commands: Command) -> None:
        """Send commands that may fail.  May switch."""
        with suppress(Busy):
            self._commands.ask(*commands)

    def _keys_of(self, userid: int) -> tuple[str, str]:
        return f"{self._prefix}friends:{userid}", f"{self._prefix}friends:{userid}:changes"

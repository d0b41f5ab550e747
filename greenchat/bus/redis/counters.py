"""Counters, attempts and locks in Redis.

Keys, each behind ``greenchat:CLUSTER:``::

    count:KEY   failures under a guard, and other counters
    lock:KEY    exists while a guard is locked
    under:KEY   hash: the attempts under way under a guard, and the time at which each counts as over
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from greenchat.bus.local.counters import LocalCounters
from greenchat.bus.redis.connection import Command, Commands
from greenchat.errors import Busy
from greenchat.model.guards import UNDER_WAY, Guard
from greenchat.ports.counters import Counters

_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count
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


class RedisCounters(Counters):
    """Counters that the nodes share; while Redis is away, each node counts and locks for itself.

    Args:
        commands: the connection to Redis.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._here = LocalCounters()

    def count(self, key: str, seconds: float) -> int:
        counted: Command = ("EVAL", _COUNT, 1, f"{self._commands.prefix}count:{key}", int(seconds * 1000))
        try:
            return int(self._commands.ask(counted)[0])
        except Busy:
            return self._here.count(key, seconds)

    def begin_attempt(self, guards: Sequence[Guard], attempt: str) -> float | None:
        keys, now = self._guard_keys(guards), int(time() * 1000)
        allowed = [guard.allowed for guard in guards]
        begun: Command = ("EVAL", _BEGIN_ATTEMPT, len(keys), *keys)
        try:
            left = int(self._commands.ask((*begun, now, now + int(UNDER_WAY * 1000), attempt, *allowed))[0])
        except Busy:
            return self._here.begin_attempt(guards, attempt)
        return None if left < 0 else left / 1000

    def end_attempt(self, guards: Sequence[Guard], attempt: str, right: bool | None) -> list[float]:
        # Here too: if Redis goes away now, the locks of this node stay.
        here = self._here.end_attempt(guards, attempt, right)
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
            f"{self._commands.prefix}{kind}:{guard.key}"
            for guard in guards
            for kind in ("count", "lock", "under")
        ]

"""What the nodes share in Redis besides who is where: users' friends, counters and locks.

Keys::

    greenchat:friends:ID             set: 0 and a user's friends; …:changes counts changes of them
    greenchat:count:KEY, greenchat:lock:KEY
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import gevent

from greenchat.bus.counters import Counters
from greenchat.bus.link import Command, Commands, plain
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

    def __init__(self) -> None:
        self._unforgotten: set[int] = set()
        self._counters = Counters()

    def are_friends(self, userid: int, ids: Sequence[int], load: Callable[[], Iterable[int]]) -> set[int]:
        key, changes = _keys_of(userid)
        try:
            (cached, *found), before = map(
                plain, self._commands.ask(("SMISMEMBER", key, 0, *ids), ("GET", changes))
            )
            if cached:
                return {friend for friend, is_one in zip(ids, found, strict=True) if is_one}
        except Busy:
            return set(ids).intersection(load())
        friends = set(load())
        keep = ("EVAL", _KEEP_FRIENDS, 2, key, changes, before or "", FRIENDS, 0, *friends)
        gevent.spawn(self._quietly, keep)
        return friends.intersection(ids)

    def forget_friends(self, userid: int) -> None:
        key, changes = _keys_of(userid)
        if not self._quietly(("INCR", changes), ("EXPIRE", changes, 6 * FRIENDS), ("DEL", key)):
            self._unforgotten.add(userid)

    def count(self, key: str, seconds: float) -> int:
        counted: Command = ("EVAL", _COUNT, 1, f"greenchat:count:{key}", int(seconds * 1000))
        try:
            return int(plain(self._commands.ask(counted)[0]))
        except Busy:
            return self._counters.count(key, seconds)

    def uncount(self, key: str) -> None:
        self._counters.uncount(key)
        self._quietly(("DEL", f"greenchat:count:{key}"))

    def lock(self, key: str, seconds: float) -> None:
        self._counters.lock(key, seconds)
        self._quietly(("SET", f"greenchat:lock:{key}", "", "PX", int(seconds * 1000)))

    def locked(self, keys: Sequence[str]) -> float:
        here = self._counters.locked(keys)
        try:
            left = [plain(a) for a in self._commands.ask(*(("PTTL", f"greenchat:lock:{k}") for k in keys))]
        except Busy:
            return here
        return max(here, *(milliseconds / 1000 for milliseconds in left))

    def forget_unforgotten(self) -> None:
        """Forget friends that could not be forgotten while Redis was away.  May switch."""
        for userid in self._unforgotten.copy():
            self._unforgotten.discard(userid)
            self.forget_friends(userid)

    def _quietly(self, *commands: Command) -> bool:
        """Send commands that may fail, and return whether they did not.  May switch."""
        try:
            return not any(isinstance(answer, Exception) for answer in self._commands.ask(*commands))
        except Busy:
            return False


def _keys_of(userid: int) -> tuple[str, str]:
    return f"greenchat:friends:{userid}", f"greenchat:friends:{userid}:changes"

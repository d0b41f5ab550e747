"""A bounded cache in front of the store, safe against changes while it loads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

TRIES = 3
"""Reads of a value that is forgotten during each of them; then the last one is returned, and not kept."""

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Keeps loaded values until they are forgotten; a full cache drops the oldest.

    Args:
        load: reads a value; may switch.  Its exceptions pass through, and nothing is kept.
        size: values kept at most.
        loaded: called with each value that was read and is kept from now on.  It must not switch.
        unkept: the value that is never kept; None if all are.
    """

    def __init__(
        self,
        load: Callable[[K], V],
        size: int = 100_000,
        loaded: Callable[[K, V], None] = lambda key, value: None,
        unkept: V | None = None,
    ) -> None:
        self._load = load
        self._loaded = loaded
        self._size = size
        self._unkept = unkept
        self._values: dict[K, V] = {}
        self._loading: dict[K, object] = {}
        # The dictionary's own method, since each message asks: no Python call between.
        self.get = self._values.get

    def load(self, key: K) -> V:
        """Return the value of a key, reading it if it is not here.  May switch."""
        value = self.get(key)
        return self.reload(key) if value is None else value

    def reload(self, key: K) -> V:
        """Read a value anew, and again if it is forgotten or put while it is read.  May switch.

        Race: a value that was read before a change must not be used after it, since the change may have been
        acknowledged.  ``forget`` removes the mark of the read, and so voids it.
        """
        for _ in range(TRIES):
            # Readers of one key share its mark.  The first to return keeps its value and removes the mark;
            # then the others return that value, too.
            mark = self._loading.setdefault(key, object())
            try:
                value = self._load(key)
            except BaseException:
                # Of all readers: those that share the mark read again.
                self._loading.pop(key, None)
                raise
            if value is self._unkept:
                self._loading.pop(key, None)
                return value
            if self._loading.get(key) is mark:
                self.put(key, value)
                self._loaded(key, value)
            # Also if another reader, or a change, has put a newer value meanwhile.
            if key in self._values:
                return self._values[key]
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value that is known to be true now."""
        self._loading.pop(key, None)
        if key not in self._values and len(self._values) >= self._size:
            # The oldest, not the longest unused: so a hit is a lookup and moves nothing.
            del self._values[next(iter(self._values))]
        self._values[key] = value

    def clear(self) -> None:
        """Drop all values, and void the reads under way."""
        self._loading.clear()
        # Emptied, never replaced: ``get`` is bound to this dictionary.
        self._values.clear()

    def forget(self, key: K) -> None:
        """Drop a value that has changed, and void a read of it that is under way."""
        self._loading.pop(key, None)
        self._values.pop(key, None)

"""A bounded cache in front of the store, safe against changes while it loads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Keep what was loaded until it is forgotten or the cache is full (then it starts empty again).

    Args:
        load: reads a value; may switch.  What it raises passes through, and nothing is kept.
        size: values kept at most.
    """

    def __init__(self, load: Callable[[K], V], size: int = 100_000) -> None:
        self._load = load
        self._size = size
        self._values: dict[K, V] = {}
        self._loading: dict[K, object] = {}
        self.get = self._values.get

    def load(self, key: K) -> V:
        """Return the value of a key, reading it if it is not here.  May switch."""
        value = self.get(key)
        return self.reload(key) if value is None else value

    def reload(self, key: K) -> V:
        """Read a value anew; it is kept unless ``put`` or ``forget`` knew better meanwhile.  May switch."""
        mark = self._loading[key] = object()
        value = self._load(key)
        if self._loading.get(key) is mark:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value that is known to be true now."""
        self._loading.pop(key, None)
        if len(self._values) >= self._size:
            self._values.clear()
        self._values[key] = value

    def forget(self, key: K) -> None:
        """Drop a value that has changed, and what is just being read."""
        self._loading.pop(key, None)
        self._values.pop(key, None)

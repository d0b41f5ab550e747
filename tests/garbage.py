"""Objects that are freed as soon as nothing refers to them, without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """Collect all garbage, then nothing more until the end of the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def alive(kind: type[object]) -> int:
    """Return the number of objects of a class."""
    return sum(type(found) is kind for found in gc.get_objects())

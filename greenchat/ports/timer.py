"""The port to the clock: calls at a later time."""

from __future__ import annotations

from collections.abc import Callable

Later = Callable[[float, Callable[[], object]], object]
"""``later(seconds, call)``: call something so many seconds from now, where it may switch."""

"""Names of users that may have been registered: the answer to their COMMIT was lost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

RECENT = 600.0
"""Seconds in which a repeated REG or CREATE_GROUP finds the account or group of the first one."""

NAMES = 1_000
"""Names that are remembered at most: those that came last."""


class DoubtedNames:
    """Remember for ten minutes which names a repeated REG may find taken by itself.

    Args:
        monotonic: seconds, on a clock that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._names: OrderedDict[str, float] = OrderedDict()

    def add(self, name: str) -> None:
        """Remember a name; the first of too many is forgotten."""
        self._names.pop(name, None)
        self._names[name] = self._monotonic()
        if len(self._names) > NAMES:
            self._names.popitem(last=False)

    def __contains__(self, name: str) -> bool:
        """Return True if the registration of a name was in doubt a moment ago."""
        since = self._names.get(name)
        return since is not None and self._monotonic() - since <= RECENT

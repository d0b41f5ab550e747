"""Pacing of SYNC: when to ask for the next page of undelivered entries.  Sans I/O."""

from __future__ import annotations

from collections.abc import Iterable

from greenchat.client.core.backoff import Backoff
from greenchat.client.core.pushes import Conversation, Entry


class Paging:
    """Follow the pages of undelivered entries of one login.

    A page that holds an entry beyond those that this login has offered is progress; the next page may be
    requested as soon as the application has taken it.  After a page without progress (empty, or repeated)
    the next request waits, twice as long each time: a server that answers ``more`` for ever causes no loop.

    Args:
        backoff: bounds of these waits.

    Attributes:
        more: True if the server has further pages.
        asking: True while a SYNC is unanswered.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self.reset()

    def reset(self) -> None:
        """Forget the pages of an earlier login."""
        self.more = self.asking = False
        self._offered: dict[Conversation, int] = {}
        self._repeated = 0

    def add(self, entries: Iterable[Entry], more: bool) -> None:
        """Record a page."""
        progress = False
        for entry in entries:
            if entry.seq > self._offered.get(entry.conversation, 0):
                self._offered[entry.conversation] = entry.seq
                progress = True
        self._repeated = 0 if progress else self._repeated + 1
        self.asking, self.more = False, more

    @property
    def pause(self) -> float:
        """Seconds to wait before the next SYNC."""
        return self._backoff.bound(self._repeated - 1) if self._repeated else 0.0

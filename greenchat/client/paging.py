"""When the next page of undelivered entries is asked for.  Sans I/O."""

from __future__ import annotations

from collections.abc import Iterable

from greenchat.client.backoff import Backoff
from greenchat.client.pushes import Conversation, Entry


class Paging:
    """Follow the pages of one login.

    A page that holds an entry beyond what this login has offered before is progress, and the next one may be
    asked for as soon as the application has taken it.  After a page without progress (empty, or the same
    again) there is a pause, twice as long each time: a server that says "more" for ever is not asked in a
    loop.

    Args:
        backoff: the bounds of the pauses.

    Attributes:
        more: True if the server has further pages.
        asking: True while a page is under way.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self.begin()

    def begin(self) -> None:
        """Forget what an earlier login offered."""
        self.more = self.asking = False
        self._offered: dict[Conversation, int] = {}
        self._vain = 0

    def page(self, entries: Iterable[Entry], more: bool) -> None:
        """Take note of a page."""
        progress = False
        for entry in entries:
            if entry.seq > self._offered.get(entry.conversation, 0):
                self._offered[entry.conversation] = entry.seq
                progress = True
        self._vain = 0 if progress else self._vain + 1
        self.asking, self.more = False, more

    @property
    def pause(self) -> float:
        """The seconds that must pass before the next page is asked for."""
        return self._backoff.bound(self._vain - 1) if self._vain else 0.0

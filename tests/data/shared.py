"""What the tests of the data room share."""

from __future__ import annotations

from typing import Any

import gevent
from gevent.event import Event

from greenchat.errors import RequestError
from greenchat.model.records import NewEntry
from greenchat.ports.store import Store

NOW = "2026-11-23T05:20:00.123Z"


class Told:
    """A delivery that remembers what it was told, and lets a test wait for it."""

    def __init__(self, journal: list[object] | None = None) -> None:
        self.outcomes: list[Any] = []
        self._journal = journal if journal is not None else []
        self._event = Event()

    def stored(self, seq: int, time: str, repeated: bool) -> None:
        self._tell((seq, time, repeated))

    def failed(self, error: RequestError) -> None:
        self._tell(error)

    def _tell(self, outcome: object) -> None:
        self.outcomes.append(outcome)
        self._journal.append(self)
        self._event.set()

    def wait(self, seconds: float = 10.0) -> Any:
        """Return the one outcome, which must come in time."""
        assert self._event.wait(seconds), "nothing was told"
        gevent.sleep(0)
        assert len(self.outcomes) == 1
        return self.outcomes[0]


def append(store: Store, *messages: NewEntry) -> list[Any]:
    """Append messages and return what was told of each."""
    told = [Told() for _ in messages]
    for message, delivery in zip(messages, told, strict=True):
        store.append(message, delivery)
    return [delivery.wait() for delivery in told]


def pair(a: int, b: int) -> int:
    return min(a, b) << 32 | max(a, b)


def text(conversation: int, sender: int, body: str, cid: str | None = None, time: str = NOW) -> NewEntry:
    return NewEntry(conversation, sender, cid, "text", body, time)


def recall(conversation: int, sender: int, target: int, cid: str | None = None, time: str = NOW) -> NewEntry:
    return NewEntry(conversation, sender, cid, "recall", str(target), time)

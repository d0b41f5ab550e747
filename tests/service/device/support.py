"""What the tests of a stream share: a wire and entries that need no encoding."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from greenchat.model.records import Entry
from greenchat.protocol.wire import Shared, Wire

SLOT = 7


class Cursors:
    """A store that only notes how cursors are moved."""

    def __init__(self) -> None:
        self.moves: list[tuple[int, int, int, int]] = []

    def move_cursor(
        self, userid: int, device: str, conversation: int, received: int, own_from: int, own_to: int
    ) -> None:
        """Note a move."""
        assert (userid, device) == (1, "")
        self.moves.append((conversation, received, own_from, own_to))


def wire(*, paced: bool = False) -> Wire:
    """Return a wire, as far as a stream looks at it."""
    return cast(Wire, SimpleNamespace(slot=SLOT, confirms=not paced, pace=0.03 if paced else 0.0))


def live(conversation: int, seq: int) -> Shared:
    """Return an entry that is delivered live; its frame is its conversation and seq."""
    shared = Shared()
    shared.frames[SLOT] = [f"{conversation} {seq}".encode()]
    return shared


def own(conversation: int, seq: int) -> Entry:
    """Return an entry as it is in the log."""
    return Entry(conversation, seq, 1, "ann", None, "text", "hi", "2027-01-15T08:00:00.000Z")

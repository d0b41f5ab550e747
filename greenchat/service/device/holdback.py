"""Hold back the entries and pushes of one connection while its login is being answered."""

from __future__ import annotations

from typing import NamedTuple

from greenchat.model.kinds import changed, target_of
from greenchat.protocol.messages import Push
from greenchat.protocol.wire import Shared, SharedEntry, SharedPush

NO_SEQ = 0
"""The seq of a push, which is no entry of a conversation: a device that is offline never hears of it."""


class Held(NamedTuple):
    """An entry of a conversation, or a push (``NO_SEQ``)."""

    conversation: int
    seq: int
    message: Shared


class Holdback:
    """The entries and pushes that came while a login was being answered, in the order of their coming."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[Held] = []

    def hold(self, conversation: int, seq: int, entry: Shared) -> None:
        """Keep an entry; one that changes a message (a recall) changes it here too.

        Race: a login may take seconds, and a text MUST NOT be sent so long after its recall is acknowledged.
        """
        if isinstance(entry, SharedEntry) and (target := target_of(entry.entry)):
            self._change(conversation, target, entry.entry.kind)
        self._held.append(Held(conversation, seq, entry))

    def _change(self, conversation: int, seq: int, kind: str) -> None:
        for place, held in enumerate(self._held):
            if held[:2] == (conversation, seq) and isinstance(held.message, SharedEntry):
                message = SharedEntry(changed(held.message.entry, kind), held.message.reader)
                self._held[place] = held._replace(message=message)

    def hold_push(self, push: SharedPush) -> None:
        """Keep a push."""
        self._held.append(Held(0, NO_SEQ, push))

    def drop_pushes(self, kind: type[Push]) -> None:
        """Drop the pushes of a kind."""
        self._held = [
            held
            for held in self._held
            if not (isinstance(held.message, SharedPush) and isinstance(held.message.push, kind))
        ]

    def take_out(self, conversation: int) -> list[int]:
        """Drop the entries of a conversation, and return their seqs."""
        seqs = [held.seq for held in self._held if held.conversation == conversation and held.seq != NO_SEQ]
        if seqs:
            self._held = [held for held in self._held if held.conversation != conversation]
        return seqs

    def release(self) -> list[Held]:
        """Return everything that was held, and hold nothing any more."""
        held, self._held = self._held, []
        return held

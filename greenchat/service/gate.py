"""Keeps the live messages of a session behind the pages that it still has to take."""

from __future__ import annotations

from typing import NamedTuple

from greenchat.ports import Span

PAGE_MESSAGES = 200
"""Entries in a page of offline messages at most (docs/protocol.md)."""

MOMENT = 0
"""The seq of an event that is no entry of a conversation: who is not online never hears of it."""


class Event(NamedTuple):
    """A frame for a session: an entry of a conversation, or (``MOMENT``) something of the moment."""

    conversation: int
    seq: int
    frame: bytes


class Gate:
    """What of each conversation was offered to a session from the log, and what it has not seen yet.

    A live message passes if nothing of its conversation before it is still to come from the log;
    otherwise it is dropped here, and comes from the log too.  So whatever the order in which a page
    is read and a commit is announced, a session sees each seq once, in order.

    While the gate is ``shut`` (a login is being answered), live events wait and follow the answer.

    Attributes:
        held: the events that wait; None while the gate is open.
        owed: conversations whose missing entries the server sends by itself, without a SYNC.
        reading: a page is being read, which may switch; only one may be at a time.
    """

    __slots__ = ("_heads", "_offered", "held", "owed", "reading")

    def __init__(self) -> None:
        self.held: list[Event] | None = None
        self.owed: set[int] = set()
        self.reading = False
        self._offered: dict[int, int] = {}
        self._heads: dict[int, int] = {}

    def shut(self) -> None:
        """Hold all live events until ``open``."""
        self.held = []

    def open(self) -> list[Event]:
        """Let live events come again; return those that were held, in order."""
        held, self.held = self.held or [], None
        return held

    def expect(self, span: Span) -> None:
        """Say that this span of a conversation is still to come from the log."""
        self._offered[span.conversation] = span.after
        self._heads[span.conversation] = span.upto

    def expect_after(self, conversation: int, after: int) -> None:
        """Say that what comes after this seq is still to come from the log, and not what was offered."""
        after = max(after, self._offered.get(conversation, 0))
        self.expect(Span(conversation, after, max(after, self._heads.get(conversation, 0))))

    def forget(self, conversation: int) -> None:
        """Expect nothing more of a conversation."""
        self._offered.pop(conversation, None)
        self._heads.pop(conversation, None)
        self.owed.discard(conversation)

    def extend(self, conversation: int, head: int) -> bool:
        """Take note that a conversation that is expected goes on to ``head``.

        Returns:
            Whether the server must send what comes up to there by itself.  Not if the client asks for
            it: pages of that conversation are still to come.
        """
        offered = self._offered[conversation]
        are_asked_for = conversation not in self.owed and self._heads[conversation] > offered
        # Also if it is owed already: the head that is being read for that may be an earlier one.
        self.expect_head(conversation, head)
        return head > offered and not are_asked_for

    def expects(self, conversation: int) -> bool:
        """Return whether the gate is about a conversation."""
        return conversation in self._offered

    def expect_head(self, conversation: int, head: int) -> None:
        """Take note of how long the log of a conversation is, if the gate is about it."""
        if conversation in self._heads:
            self._heads[conversation] = max(self._heads[conversation], head)

    def admit(self, conversation: int, seq: int) -> bool:
        """Return whether a live message may be sent now; if not, it is expected from the log."""
        offered = self._offered.get(conversation)
        if offered is None:
            return True
        if seq == offered + 1 and self._heads[conversation] == offered:
            del self._offered[conversation], self._heads[conversation]
            return True
        self.expect_head(conversation, seq)
        return False

    def plan(self, only: int | None = None) -> list[Span]:
        """Return where the next page is to be read: enough to fill it, if nothing was deleted there.

        The last span goes on to the end of its log, in case something was.

        Args:
            only: the one conversation that it is to be about; None for all that are not owed.
        """
        spans, room = [], PAGE_MESSAGES
        for conversation, offered in self._offered.items():
            wanted = conversation not in self.owed if only is None else conversation == only
            if not wanted:
                continue
            head = self._heads[conversation]
            if head > offered:
                spans.append(Span(conversation, offered, head))
                room -= head - offered
            if room <= 0:
                break
        return spans

    def skip(self, conversation: int, upto: int) -> None:
        """Take note that the device has a conversation up to this seq, if it is still expected."""
        if conversation in self._offered:
            upto = min(upto, self._heads[conversation])
            self._offered[conversation] = max(self._offered[conversation], upto)

    def offer(self, conversation: int, seq: int) -> None:
        """Take note that the log was offered up to this seq, if the conversation is still expected."""
        if conversation in self._offered:
            self._offered[conversation] = seq

    @property
    def more(self) -> bool:
        """Whether anything is still to come from the log when it is asked for."""
        return any(
            self._heads[conversation] > offered
            for conversation, offered in self._offered.items()
            if conversation not in self.owed
        )

    @property
    def idle(self) -> bool:
        """Whether the gate has nothing to do, so that a session can go without it."""
        return self.held is None and not self._offered

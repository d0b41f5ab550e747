"""Keeps the live messages of a session behind the pages that it still has to take."""

from __future__ import annotations

from typing import NamedTuple

from greenchat.model.records import Span
from greenchat.protocol.messages import Push
from greenchat.protocol.wire import Shared, SharedPush

PAGE_MESSAGES = 200
"""Entries in a page of offline messages at most (docs/protocol.md)."""


class Event(NamedTuple):
    """A message for a session: an entry of a conversation, or (``MOMENT``) something of the moment."""

    conversation: int
    seq: int
    message: Shared


class Gate:
    """What of each conversation was offered to a session from the log, and what it has not seen yet.

    A live message passes if nothing of its conversation before it is still to come from the log;
    otherwise it is dropped here, and comes from the log too.  So whatever the order in which a page
    is read and a commit is announced, a session sees each seq once, in order.

    While the gate is ``shut`` (a login is being answered), live events wait and follow the answer.

    Of each conversation that the gate is about, ``offered`` and ``head`` are seqs.  What lies between them
    is a debt, and there is always somebody to pay it:

    ==================  ===================================  =============================================
    state               means                                how it ends
    ==================  ===================================  =============================================
    level               head = offered, not owed             the next live entry passes: not expected
    asked for           head > offered, not owed             the client takes pages (LOGIN, SYNC): level
    owed                in ``owed``                          the server sends it (``catch_up``): level
    owed, in doubt      in ``owed`` and ``doubted``          the membership is looked up: owed, or forgotten
    ==================  ===================================  =============================================

    The head never goes back, and nothing but ``forget`` (the user is no member) drops a debt: whoever reads
    the log late, at a login or to pay what is owed, adds to what is known here and takes nothing from it.

    Attributes:
        held: the events that wait; None while the gate is open.
        owed: conversations whose missing entries the server sends by itself, without a SYNC.
        doubted: those of them that the user is said, or may be, to have left; nothing of them is sent
            before that is looked up, as they may have joined again.
        lapsed: word of a leaving may have been lost while a login was being answered.
        paying: a greenlet is there that sends what is owed; only one may be at a time.
        reading: a page is being read, which may switch; only one may be at a time.
    """

    __slots__ = ("_heads", "_offered", "doubted", "held", "lapsed", "owed", "paying", "reading")

    def __init__(self) -> None:
        self.held: list[Event] | None = None
        self.owed: set[int] = set()
        self.doubted: set[int] = set()
        self.lapsed = False
        self.paying = False
        self.reading = False
        self._offered: dict[int, int] = {}
        self._heads: dict[int, int] = {}

    def shut(self) -> None:
        """Hold all live events until ``open``."""
        self.held = []

    def drop_held(self, kind: type[Push]) -> None:
        """Drop the pushes of a kind that wait: the answer will tell as much."""
        if self.held is not None:
            self.held = [event for event in self.held if not _is_push(event.message, kind)]

    def open(self) -> list[Event]:
        """Let live events come again; return those that were held, in order."""
        held, self.held = self.held or [], None
        return held

    def expect(self, span: Span) -> None:
        """Say that this span of a conversation is still to come from the log, to be asked for.

        A login has read so.  A head that was heard of meanwhile counts if it is higher, and what is in
        doubt stays owed.
        """
        conversation = span.conversation
        self._offered[conversation] = span.after
        self._heads[conversation] = max(span.upto, self._heads.get(conversation, 0))
        if conversation not in self.doubted:
            self.owed.discard(conversation)

    def expect_after(self, conversation: int, after: int) -> None:
        """Say that what comes after this seq is still to come from the log, and not what was offered."""
        after = max(after, self._offered.get(conversation, 0))
        self._offered[conversation] = after
        self._heads[conversation] = max(after, self._heads.get(conversation, 0))

    def forget(self, conversation: int) -> None:
        """Expect nothing more of a conversation: the user is not in it."""
        self._offered.pop(conversation, None)
        self._heads.pop(conversation, None)
        self.owed.discard(conversation)
        self.doubted.discard(conversation)

    def doubt(self, conversation: int) -> bool:
        """Send nothing more of a conversation from the log, nor what is held, before it is looked up.

        Returns:
            True if there is anything that waits.
        """
        if self.held:
            mine = [event.seq for event in self.held if event.conversation == conversation]
            if mine:
                self.held = [event for event in self.held if event.conversation != conversation]
                self._offered.setdefault(conversation, mine[0] - 1)
                self._heads[conversation] = max(mine[-1], self._heads.get(conversation, 0))
        if self.held is None and conversation not in self._offered:
            return False
        self.doubted.add(conversation)
        return True

    def extend(self, conversation: int, head: int) -> bool:
        """Take note that a conversation that is expected goes on to ``head``.

        Returns:
            True if the server must send what comes up to there by itself.  Not if the client asks for
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
        """Return True if a live message may be sent now.

        If not, it is to come from the log: the caller MUST ``extend`` the conversation to it.
        """
        offered = self._offered.get(conversation)
        if offered is None:
            return True
        if seq == offered + 1 and self._heads[conversation] == offered:
            del self._offered[conversation], self._heads[conversation]
            return True
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
            self.expect_after(conversation, upto)

    def offer(self, conversation: int, seq: int) -> None:
        """Take note that the log was offered up to this seq, of a span that stands."""
        self._offered[conversation] = seq

    def stands(self, span: Span, only: int | None) -> bool:
        """Return True if a span that was planned is still what is to come next.

        It is not if the user has left or joined again while it was read.
        """
        conversation = span.conversation
        return (
            self._offered.get(conversation) == span.after
            and conversation not in self.doubted
            and (conversation in self.owed) == (only is not None)
        )

    def asked_for(self) -> list[int]:
        """Return the conversations of which the client is to ask for pages."""
        return [
            conversation
            for conversation, offered in self._offered.items()
            if conversation not in self.owed and self._heads[conversation] > offered
        ]

    @property
    def more(self) -> bool:
        """Whether anything is still to come from the log when it is asked for."""
        return bool(self.asked_for())

    @property
    def idle(self) -> bool:
        """Whether the gate has nothing to do, so that a session can go without it."""
        return self.held is None and not self._offered


def _is_push(message: Shared, kind: type[Push]) -> bool:
    return isinstance(message, SharedPush) and isinstance(message.push, kind)

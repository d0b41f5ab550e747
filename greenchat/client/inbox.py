"""The entries that one user's device was sent: each shown once, in order, then acknowledged.  Sans I/O."""

from __future__ import annotations

from collections.abc import Hashable

from greenchat.client.pushes import Conversation, Entry, Frame, Message, Push
from greenchat.protocol.messages import MsgId

MARK_SECONDS = 0.1
"""How long marks gather: at most one RECEIVED a conversation in this time …"""

MARK_ENTRIES = 64
"""… or in this many entries."""

REMEMBERED = 4096
"""How many of our own messages are known again.  One that is forgotten would be shown, as our own."""


class Inbox:
    """What was shown of each conversation, and what is to be acknowledged.

    Not thread-safe: the Line holds its lock around every call.

    Attributes:
        me: the user's id.
        due: when the marks are to be sent, on the caller's clock; None if there are none.
    """

    def __init__(self, me: int) -> None:
        self.me = me
        self.due: float | None = None
        self._taken: dict[Conversation, int] = {}
        self._handed: dict[Conversation, int] = {}
        self._own: dict[Hashable, None] = {}
        self._marks: dict[tuple[MsgId, Conversation], int] = {}
        self._count = 0

    def accept(self, entry: Entry, now: float) -> bool:
        """Take an entry; False if it was taken before (it may have to be acknowledged anew)."""
        conversation = entry.conversation
        if entry.seq > self._taken.get(conversation, 0):
            self._taken[conversation] = entry.seq
            return True
        if entry.seq <= self._handed.get(conversation, 0):
            self.mark(MsgId.RECEIVED, conversation, self._handed[conversation], now)
        return False

    def is_own(self, entry: Entry) -> bool:
        """Tell whether the entry was sent from here, so that it is no news."""
        if (entry.conversation, entry.seq) in self._own:
            return True
        return isinstance(entry, Message) and entry.cid is not None and entry.cid in self._own

    def remember(self, key: Hashable) -> None:
        """Know again what is sent from here: by its cid, or by conversation and seq."""
        self._own[key] = None
        if len(self._own) > REMEMBERED:
            del self._own[next(iter(self._own))]

    def handed(self, push: Push, now: float) -> bool:
        """Note that the application has got a push, in the order taken; return as ``mark``."""
        if not isinstance(push, Entry):
            return False
        self._handed[push.conversation] = push.seq
        return self.mark(MsgId.RECEIVED, push.conversation, push.seq, now)

    def mark(self, msgid: MsgId, conversation: Conversation, seq: int, now: float) -> bool:
        """Tell the server soon that all up to ``seq`` has been received or read (both are cumulative).

        Returns:
            Whether ``due`` has changed.
        """
        before = self.due
        key = (msgid, conversation)
        self._marks[key] = max(seq, self._marks.get(key, 0))
        self._count += 1
        if self.due is None:
            self.due = now + MARK_SECONDS
        if self._count >= MARK_ENTRIES:
            self.due = now
        return self.due != before

    def take_marks(self) -> list[Frame]:
        """Return the frames that tell the server of all marks, which are then done."""
        frames = [
            {"msgid": int(msgid), place.kind: place.id, "seq": seq}
            for (msgid, place), seq in self._marks.items()
        ]
        self._marks.clear()
        self._count, self.due = 0, None
        return frames

    def restart(self) -> None:
        """Expect again what was taken and never handed over: that was dropped with its login."""
        self._taken = dict(self._handed)
        self.take_marks()

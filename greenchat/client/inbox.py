"""The entries that one user's device was sent: each shown once, in order, then acknowledged.  Sans I/O.

RECEIVED is cumulative, so what is acknowledged of a conversation is one number: all up to it is done.  An
entry is *open* from its arrival until the application is done with it.

| the entry is | offered again by the server | ``done`` | ``lapse`` |
|---|---|---|---|
| new | becomes open | – | – |
| open: queued, or the application is at it | dropped | closed | lapsed |
| lapsed: the callback failed, or the login ended before it was taken | becomes open | closed | lapsed |
| closed | dropped, and acknowledged again | – | – |

What stands before the first open or lapsed entry is acknowledged, and nothing behind it.

A database that was restored gives numbers out again.  An entry whose number was taken, but with another
``time``, is such a one: what is known of the conversation from there on is forgotten.
"""

from __future__ import annotations

from collections.abc import Hashable

from greenchat.client.pushes import Conversation, Entry, Frame, Message, Push
from greenchat.protocol.messages import MsgId

MARK_SECONDS = 0.1
"""How long marks gather: at most one RECEIVED a conversation in this time …"""

MARK_ENTRIES = 64
"""… or in this many entries."""

LATEST = 64
"""Entries of a conversation whose time is remembered."""

REMEMBERED = 4096
"""How many of our own messages are known again.  One that is forgotten would be shown, as our own."""


class Inbox:
    """The state of each conversation's entries, and the marks that are to be sent.

    Not thread-safe: the Line holds its lock around every call.

    Attributes:
        me: the user's id.
        due: when the marks are to be sent, on the caller's clock; None if there are none.
    """

    def __init__(self, me: int) -> None:
        self.me = me
        self.due: float | None = None
        self._taken: dict[Conversation, int] = {}
        # Open (True) or lapsed (False) seqs.  They are added in order, so the first is the least.
        self._open: dict[Conversation, dict[int, bool]] = {}
        self._times: dict[Conversation, dict[int, str]] = {}
        self._own: dict[Hashable, None] = {}
        self._marks: dict[tuple[MsgId, Conversation], int] = {}
        self._count = 0

    def accept(self, entry: Entry, now: float) -> bool:
        """Take an entry; False if it was taken before (it may have to be acknowledged anew)."""
        conversation, seq = entry.conversation, entry.seq
        times = self._times.setdefault(conversation, {})
        if times.get(seq, entry.time) != entry.time:
            self._forget(conversation, seq)
        still_open = self._open.get(conversation, {})
        if seq > self._taken.get(conversation, 0):
            self._taken[conversation] = seq
            self._open.setdefault(conversation, {})[seq] = True
            times[seq] = entry.time
            if len(times) > LATEST:
                del times[next(iter(times))]
            return True
        if seq in still_open:
            has_lapsed = not still_open[seq]
            still_open[seq] = True
            return has_lapsed
        self._confirm(conversation, seq, now)
        return False

    def is_own(self, entry: Entry) -> bool:
        """Return True if the entry was sent from here, so that it is no news."""
        if (entry.conversation, entry.seq) in self._own:
            return True
        return isinstance(entry, Message) and entry.cid is not None and entry.cid in self._own

    def remember(self, key: Hashable) -> None:
        """Know again what is sent from here: by its cid, or by conversation and seq."""
        self._own[key] = None
        if len(self._own) > REMEMBERED:
            del self._own[next(iter(self._own))]

    def done(self, push: Push, now: float) -> bool:
        """Note that the application is done with a push; return as ``mark``."""
        if not isinstance(push, Entry):
            return False
        still_open = self._open.get(push.conversation, {})
        still_open.pop(push.seq, None)
        if not still_open:
            self._open.pop(push.conversation, None)
        return self._confirm(push.conversation, push.seq, now)

    def lapse(self, push: Push) -> None:
        """Note that the application did not get a push, or failed on it: it is taken when offered again."""
        if isinstance(push, Entry) and push.seq in self._open.get(push.conversation, {}):
            self._open[push.conversation][push.seq] = False

    def mark(self, msgid: MsgId, conversation: Conversation, seq: int, now: float) -> bool:
        """Tell the server soon that all up to ``seq`` has been received or read (both are cumulative).

        Returns:
            True if ``due`` has changed.
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

    def _forget(self, conversation: Conversation, seq: int) -> None:
        """Take the entries of a conversation from ``seq`` on as new."""
        self._taken[conversation] = seq - 1
        for known in (self._times[conversation], self._open.get(conversation, {})):
            for number in [number for number in known if number >= seq]:
                del known[number]
        for key in [key for key in self._own if isinstance(key, tuple) and key[0] == conversation]:
            del self._own[key]

    def _confirm(self, conversation: Conversation, seq: int, now: float) -> bool:
        """Acknowledge all before the first entry that is open, if that covers ``seq``; return as ``mark``."""
        still_open = self._open.get(conversation)
        position = next(iter(still_open)) - 1 if still_open else self._taken[conversation]
        return position >= seq and self.mark(MsgId.RECEIVED, conversation, position, now)

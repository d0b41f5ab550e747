"""Entries that one device has received: each delivered once, in order, then acknowledged.  Sans I/O.

RECEIVED is cumulative: one number a conversation acknowledges all entries up to it.  An entry is *in flight*
from its arrival until the application has handled it.

| state of the entry | offered again by the server | ``acknowledge`` | ``reject`` |
|---|---|---|---|
| new | in flight | – | – |
| in flight: queued, or being handled | dropped | acknowledged | rejected |
| rejected: the callback failed, or the login ended first | in flight | acknowledged | rejected |
| acknowledged | dropped, RECEIVED is sent again | – | – |

RECEIVED covers the entries before the first one that is in flight or rejected, and none behind it.

A database that was restored assigns numbers again.  An entry with a known number and another ``time`` is a
new one: all that is known of the conversation from this number on is forgotten.
"""

from __future__ import annotations

from collections.abc import Hashable

from greenchat.client.core.pushes import Conversation, Entry, Frame, Message, Push
from greenchat.protocol.msgids import MsgId

RECEIPT_DELAY = 0.1
"""Seconds that receipts are gathered: at most one RECEIVED a conversation in this time …"""

RECEIPT_BATCH = 64
"""… or in this many entries."""

LATEST_TIMES = 64
"""Entries of a conversation with a remembered time."""

OWN_MESSAGES = 4096
"""Messages of this client that are recognised when they come back.  An older one would be delivered."""


class Inbox:
    """Track the entries of each conversation, and gather the receipts to be sent.

    Not thread-safe.

    Attributes:
        me: id of the user.
        due: when the receipts are to be sent, on the caller's clock; None without any.
    """

    def __init__(self, me: int) -> None:
        self.me = me
        self.due: float | None = None
        self._newest: dict[Conversation, int] = {}
        # In flight (True) or rejected (False), by seq.  Added in order, so that the first is the least.
        self._unhandled: dict[Conversation, dict[int, bool]] = {}
        self._times: dict[Conversation, dict[int, str]] = {}
        self._own: dict[Hashable, None] = {}
        self._receipts: dict[tuple[MsgId, Conversation], int] = {}
        self._count = 0

    def accept(self, entry: Entry, now: float) -> bool:
        """Take an entry in; return True if the application is to get it.

        An entry that was acknowledged before is acknowledged again: the server may have lost the receipt.
        """
        conversation, seq = entry.conversation, entry.seq
        times = self._times.setdefault(conversation, {})
        if times.get(seq, entry.time) != entry.time:
            self._forget(conversation, seq)
        unhandled = self._unhandled.get(conversation, {})
        if seq > self._newest.get(conversation, 0):
            self._newest[conversation] = seq
            self._unhandled.setdefault(conversation, {})[seq] = True
            times[seq] = entry.time
            if len(times) > LATEST_TIMES:
                del times[next(iter(times))]
            return True
        if seq in unhandled:
            was_rejected = not unhandled[seq]
            unhandled[seq] = True
            return was_rejected
        self._acknowledge(conversation, seq, now)
        return False

    def is_own(self, entry: Entry) -> bool:
        """Return True if this client has sent the entry."""
        if (entry.conversation, entry.seq) in self._own:
            return True
        return isinstance(entry, Message) and entry.cid is not None and entry.cid in self._own

    def remember_own(self, key: Hashable) -> None:
        """Remember an entry that this client sends, by its cid or by its conversation and seq."""
        self._own[key] = None
        if len(self._own) > OWN_MESSAGES:
            del self._own[next(iter(self._own))]

    def acknowledge(self, push: Push, now: float) -> bool:
        """Record that the application has handled a push; return True if ``due`` has changed."""
        if not isinstance(push, Entry):
            return False
        unhandled = self._unhandled.get(push.conversation, {})
        unhandled.pop(push.seq, None)
        if not unhandled:
            self._unhandled.pop(push.conversation, None)
        return self._acknowledge(push.conversation, push.seq, now)

    def reject(self, push: Push) -> None:
        """Record that the application has not handled a push: accept it when it is offered again."""
        if isinstance(push, Entry) and push.seq in self._unhandled.get(push.conversation, {}):
            self._unhandled[push.conversation][push.seq] = False

    def add_receipt(self, msgid: MsgId, conversation: Conversation, seq: int, now: float) -> bool:
        """Schedule RECEIVED or READ for all entries up to ``seq``; return True if ``due`` has changed."""
        before = self.due
        key = (msgid, conversation)
        self._receipts[key] = max(seq, self._receipts.get(key, 0))
        self._count += 1
        if self.due is None:
            self.due = now + RECEIPT_DELAY
        if self._count >= RECEIPT_BATCH:
            self.due = now
        return self.due != before

    def take_receipts(self) -> list[Frame]:
        """Return the frames of all receipts, and remove these."""
        frames = [
            {"msgid": int(msgid), conversation.kind: conversation.id, "seq": seq}
            for (msgid, conversation), seq in self._receipts.items()
        ]
        self._receipts.clear()
        self._count, self.due = 0, None
        return frames

    def _forget(self, conversation: Conversation, seq: int) -> None:
        """Treat the entries of a conversation from ``seq`` on as new."""
        self._newest[conversation] = seq - 1
        for known in (self._times[conversation], self._unhandled.get(conversation, {})):
            for number in [number for number in known if number >= seq]:
                del known[number]
        for key in [key for key in self._own if isinstance(key, tuple) and key[0] == conversation]:
            del self._own[key]

    def _acknowledge(self, conversation: Conversation, seq: int, now: float) -> bool:
        """Schedule RECEIVED up to the first unhandled entry if that covers ``seq``; as ``add_receipt``."""
        unhandled = self._unhandled.get(conversation)
        last = next(iter(unhandled)) - 1 if unhandled else self._newest[conversation]
        return last >= seq and self.add_receipt(MsgId.RECEIVED, conversation, last, now)

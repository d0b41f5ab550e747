"""Send one logged-in connection its entries, each at its time: ``states`` has the theory and the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from greenchat.model.conversations import group_of, of_group
from greenchat.model.records import Entry, Span
from greenchat.protocol.messages import Push
from greenchat.protocol.wire import Shared, SharedEntry, SharedPush, Wire
from greenchat.service.delivery.hub import DeviceStream
from greenchat.service.device.holdback import NO_SEQ, Holdback
from greenchat.service.device.receipts import Receipts
from greenchat.service.device.states import (
    CATCHING_UP,
    CHECKING,
    HOLDING,
    LIVE,
    PAGING,
    TABLE,
    Action,
    Event,
    State,
)

PAGE_MESSAGES = 200
"""Entries in a page of offline messages at most (docs/protocol.md)."""


class Outlet(Protocol):
    """The connection that a stream sends to.  No method switches."""

    __slots__ = ()

    def send_entry(self, conversation: int, seq: int, entry: Shared) -> None:
        """Send an entry."""

    def has_room(self, entry: Shared) -> bool:
        """Return True if an entry may be sent now; always so unless the connection is paced."""

    def notify(self, push: Shared) -> None:
        """Send a push."""

    def catch_up_soon(self, stream: Stream) -> None:
        """Run ``catch_up.catch_up`` for a stream, in a greenlet of its own."""


class Nowhere:
    """The outlet of a stream that is over."""

    def send_entry(self, conversation: int, seq: int, entry: Shared) -> None:
        """Do nothing."""

    def has_room(self, entry: Shared) -> bool:
        """Return True."""
        return True

    def notify(self, push: Shared) -> None:
        """Do nothing."""

    def catch_up_soon(self, stream: Stream) -> None:
        """Do nothing."""


NOWHERE = Nowhere()


class Backlog:
    """The seqs of one conversation.

    Attributes:
        state: neither HOLDING nor LIVE.
        sent: up to this seq nothing has to be sent any more.
        head: the last seq that is known to be in the log; never below ``sent``.
    """

    __slots__ = ("head", "sent", "state")

    def __init__(self, state: State) -> None:
        self.state = state
        self.sent = 0
        self.head = 0


class Stream(DeviceStream):
    """The entries and pushes for one device on one connection, from its login to its logout.

    Args:
        outlet: the connection.
        wire: the connection's wire.
        send: sends a frame of an entry where neither a pace nor receipts depend on it.
        receipts: the device's receipts.
        echoed: the conversation in which the device's own entries are sent back to it; 0 for none.

    Attributes:
        echoed: the same.
        receipts: the device's receipts.
        is_over: the login has ended.
        is_catching_up: a greenlet sends backlogs; there is at most one.
        is_reading: a page is being read; there is at most one.
    """

    __slots__ = (
        "_backlogs",
        "_default",
        "_holdback",
        "_is_direct",
        "_is_unsure",
        "_joined",
        "_outlet",
        "_send",
        "_wire",
        "echoed",
        "is_catching_up",
        "is_over",
        "is_reading",
        "receipts",
    )

    def __init__(
        self,
        outlet: Outlet,
        wire: Wire,
        send: Callable[[bytes], None],
        receipts: Receipts,
        echoed: int = 0,
    ) -> None:
        self.receipts = receipts
        self.is_over = self.is_catching_up = self.is_reading = False
        self._outlet = outlet
        self._wire = wire
        self._send = send
        self.echoed = echoed
        self._default = HOLDING  # of the conversations without seqs
        self._holdback: Holdback | None = Holdback()  # until the login has been answered
        self._backlogs: dict[int, Backlog] = {}
        self._joined: dict[int, int] = {}
        self._is_direct = False
        self._is_unsure = False  # word of a leaving may have been lost during the login

    def close(self) -> None:
        """End with the login."""
        self.is_over = True
        self._backlogs.clear()
        self._outlet = NOWHERE  # a cycle with the connection would wait for the garbage collector

    @property
    def is_holding(self) -> bool:
        """True while the login is being answered."""
        return self._default is HOLDING

    def state(self, conversation: int) -> State:
        """Return the state of a conversation."""
        backlog = self._backlogs.get(conversation)
        return self._default if backlog is None else backlog.state

    def _step(self, conversation: int, event: Event, sent: int = 0, head: int = 0) -> Action:
        """Move a conversation to its next state, and return the action.

        Args:
            conversation: its id.
            event: the event.
            sent: the event says that up to this seq nothing has to be sent any more.
            head: the event says that the log has this entry.
        """
        action, states = TABLE[event]
        state = states[self.state(conversation)]
        if state is HOLDING or state is LIVE:
            self._backlogs.pop(conversation, None)
            return action
        backlog = self._backlogs.get(conversation)
        if backlog is None:
            backlog = self._backlogs[conversation] = Backlog(state)
        backlog.state = state
        backlog.sent = max(backlog.sent, sent)
        backlog.head = max(backlog.head, backlog.sent, head)
        if (state is CATCHING_UP or state is CHECKING) and not self.is_catching_up:
            self.is_catching_up = True
            self._outlet.catch_up_soon(self)
        return action

    # -- Entries and pushes

    def deliver(self, conversation: int, seq: int, entry: Shared) -> None:
        """Send a live entry, hold it back, or leave it in the log.

        Never switches or raises.  The entries of a conversation MUST be delivered in order.
        """
        if self._is_direct and conversation not in self._backlogs:
            # LIVE and NEXT, nearly always: with no look into the table, and no call but for the frames.
            frames = entry.frames.get(self._wire.slot)
            if frames is None:
                frames = entry.encode(self._wire)
            for frame in frames:
                self._send(frame)
            return
        action = self._take(conversation, seq, has_room=self._outlet.has_room(entry))
        if action is Action.SEND:
            self._outlet.send_entry(conversation, seq, entry)
        elif action is Action.HOLD:
            assert self._holdback is not None
            self._holdback.hold(conversation, seq, entry)

    def deliver_own(self, entry: Entry) -> None:
        """Count a live entry that came from this connection, in its turn: it has been sent the ACK."""
        conversation, seq = entry.conversation, entry.seq
        if conversation == self.echoed:
            self.deliver(conversation, seq, SharedEntry(entry, entry.sender))
        elif conversation in self._backlogs and not self.is_holding:
            self._take(conversation, seq, has_room=True)

    def _take(self, conversation: int, seq: int, *, has_room: bool) -> Action:
        """Take a live entry as the event that it is now."""
        if self.is_holding:
            return self._step(conversation, Event.EARLY)
        backlog = self._backlogs.get(conversation)
        if backlog is None:
            if has_room:
                return self._step(conversation, Event.NEXT)
            return self._step(conversation, Event.AHEAD, sent=seq - 1, head=seq)
        if seq <= backlog.sent:
            return self._step(conversation, Event.REPEATED)
        if has_room and seq - 1 == backlog.sent == backlog.head:
            return self._step(conversation, Event.NEXT)
        return self._step(conversation, Event.AHEAD, head=seq)

    def notify(self, push: SharedPush) -> None:
        """Send a push, or hold it back.  Never switches or raises."""
        if self._holdback is not None:
            self._holdback.hold_push(push)
        else:
            self._outlet.notify(push)

    def drop_pushes(self, kind: type[Push]) -> None:
        """Drop the held pushes of a kind: the answer to the login tells as much."""
        if self._holdback is not None:
            self._holdback.drop_pushes(kind)

    def login_answered(self) -> None:
        """Send the held-back entries and pushes behind LOGIN_ACK."""
        self._default = TABLE[Event.ANSWERED].states[self._default]
        self._is_direct = self._wire.confirms and not self._wire.pace
        holdback, self._holdback = self._holdback, None
        for conversation, seq, message in () if holdback is None else holdback.release():
            if seq == NO_SEQ:
                self._outlet.notify(message)
            elif self._is_after_joining(conversation, seq):
                self.deliver(conversation, seq, message)

    def _is_after_joining(self, conversation: int, seq: int) -> bool:
        """Return True unless an entry is of a group, and not from after the joining that is known now.

        It was handed out by a membership of which this node did not know yet that it had ended.
        """
        groupid = group_of(conversation)
        if groupid is None:
            return True
        joined = self.joined(groupid)
        return seq > joined if joined >= 0 else conversation in self._backlogs

    # -- Backlogs

    def login_read(self, backlog: Iterable[Span], joined: dict[int, int]) -> None:
        """Have the client page through the entries that its device lacks.

        Args:
            backlog: the entries, as the login has read them.
            joined: the last seq of each group before the joining that the login has read.  If the user has
                left a group and joined it again since, the later joining holds.
        """
        for conversation, after, upto in backlog:
            groupid = group_of(conversation)
            if groupid is None or self.joined(groupid) == joined[groupid]:
                self._step(conversation, Event.BACKLOG, head=upto)
                self._backlogs[conversation].sent = after
        if self._is_unsure:
            self.check_groups()

    def send_after(self, conversation: int, after: int) -> None:
        """Have the server send all that follows a seq, and was not sent before."""
        self._step(conversation, Event.MISSING, sent=after)

    def send_upto(self, conversation: int, cursor: int, head: int) -> None:
        """Have the server send the entries that the device lacks up to ``head``, unless it is on its way.

        Args:
            conversation: its id.
            cursor: the device's cursor, as it is in the database.
            head: the last entry of the log.
        """
        backlog = self._backlogs.get(conversation)
        if backlog is None:
            after = self.receipts.reached(conversation, cursor)
            if after < head:
                self._step(conversation, Event.MISSING, sent=after, head=head)
        elif head > backlog.sent:
            self._step(conversation, Event.AHEAD, head=head)

    def send_all(self) -> None:
        """Have the server send all backlogs by itself: the client's wire has no SYNC."""
        for conversation in self.paging():
            self._step(conversation, Event.NO_SYNC)

    # -- Groups

    def joined(self, groupid: int) -> int:
        """Return the last seq of a group before the user joined it, as far as is known here; else -1."""
        return self._joined.get(groupid, -1)

    def note_joined(self, joined: dict[int, int]) -> None:
        """Note groups, each with the last seq before the user joined it."""
        for groupid, seq in joined.items():
            if self.joined(groupid) < seq:
                self._joined[groupid] = seq

    def follow(self, groupid: int, joined: int, handed_out: int, *, had_all: bool) -> None:
        """Have the entries of a group come from the first after joining.

        The first that tells of a membership begins it: word of the joining, or a read of the database.  Word
        of an earlier one is ignored.

        Args:
            groupid: the group.
            joined: the last seq before the user joined it.
            handed_out: the last seq of the group that was handed out here.
            had_all: entries were handed out to this user too.  Without that, the missing entries are sent
                from the log.
        """
        conversation = of_group(groupid)
        known = self.joined(groupid)
        if known > joined or (known == joined and had_all):
            return
        self._joined[groupid] = joined
        if not had_all:
            # The head is noted: a login that read the log before would otherwise end the backlog too early.
            self._step(conversation, Event.MISSING, sent=joined, head=handed_out)
        elif self.is_holding or conversation in self._backlogs:
            self._step(conversation, Event.MISSING, sent=joined)
        else:
            self._step(conversation, Event.MISSING, sent=max(joined, handed_out))

    def left(self, groupid: int) -> None:
        """Send nothing more of a group, unless the user turns out to have joined it again since."""
        self._joined.pop(groupid, None)
        self._check(of_group(groupid))

    def check_groups(self) -> None:
        """Look up whether the user is still in the groups that the client pages through.

        Word of a leaving may have been lost.  The server sends these backlogs by itself from now on.
        """
        self._is_unsure = self.is_holding  # the login may read the state from before
        for conversation in self.paging():
            if group_of(conversation) is not None:
                self._check(conversation)

    def _check(self, conversation: int) -> None:
        seqs = None if self._holdback is None else self._holdback.take_out(conversation)
        if not seqs:  # else they stay in the log
            self._step(conversation, Event.LEFT)
        elif conversation in self._backlogs:
            self._step(conversation, Event.LEFT, head=seqs[-1])
        else:
            self._step(conversation, Event.LEFT, sent=seqs[0] - 1, head=seqs[-1])

    # -- Pages

    def paging(self) -> list[int]:
        """Return the conversations that the client pages through."""
        if not self._backlogs:
            return []
        return [number for number, backlog in self._backlogs.items() if backlog.state is PAGING]

    def next_to_catch_up(self, has_room: Callable[[int], bool] = lambda conversation: True) -> int | None:
        """Return a conversation with a backlog that the server is to send; None if there is none.

        Args:
            has_room: returns False for a conversation of which nothing can be sent now.
        """
        for conversation, backlog in self._backlogs.items():
            if backlog.state is CHECKING or (backlog.state is CATCHING_UP and has_room(conversation)):
                return conversation
        return None

    def plan(self, only: int | None = None) -> list[Span]:
        """Return the spans of which the next page is made: enough to fill it if nothing was deleted there.

        Args:
            only: the conversation that the server catches up on; None for all that the client pages through.
        """
        spans, room = [], PAGE_MESSAGES
        for conversation in self.paging() if only is None else (only,):
            if only is None or self.state(conversation) is CATCHING_UP:
                backlog = self._backlogs[conversation]
                spans.append(Span(conversation, backlog.sent, backlog.head))
                room -= backlog.head - backlog.sent
            if room <= 0:
                break
        return spans

    def stands(self, span: Span, only: int | None) -> bool:
        """Return True if a planned span is still the next to be sent, and in the same way.

        It is not if it was sent otherwise, or if the user has left or joined the group, while it was read.
        """
        backlog = self._backlogs.get(span.conversation)
        state = PAGING if only is None else CATCHING_UP
        return backlog is not None and backlog.state is state and backlog.sent == span.after

    def count_page(self, conversation: int, upto: int, head: int = 0) -> None:
        """Count the entries up to a seq as sent.

        Args:
            conversation: its id; a span of it MUST stand, or its lookup have just been made.
            upto: the last entry of the page, or the last one that the device has.
            head: the last entry of the log, if it was read.
        """
        self._step(conversation, Event.PAGE, sent=upto, head=head)
        backlog = self._backlogs[conversation]
        if backlog.sent == backlog.head:
            self._step(conversation, Event.EMPTIED)

    def look_up(self, conversation: int) -> None:
        """Begin to look up the membership, the head and the cursor of a conversation to catch up on."""
        self._step(conversation, Event.LOOKUP)

    def drop(self, conversation: int) -> None:
        """Drop the backlog of a group that the user is not in."""
        self._step(conversation, Event.NO_MEMBER)

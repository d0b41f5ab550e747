"""Who is at the other end of a connection, as the handlers of requests see it, and the one gate out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from greenchat.errors import NotLoggedIn, RequestError
from greenchat.model.conversations import group_of, of_group, of_pair
from greenchat.model.records import Entry, Span
from greenchat.ports.peer import Peer
from greenchat.protocol.messages import Answer, Request, StoredAck
from greenchat.protocol.wire import Frames, Shared, SharedEntry, Wire
from greenchat.service.delivery.claims import Claim
from greenchat.service.delivery.hub import MOMENT
from greenchat.service.device.catch_up import catch_up
from greenchat.service.device.flow import Flow
from greenchat.service.device.holdback import Event, Gate
from greenchat.service.device.receipts import Receipts
from greenchat.service.service import Service

NO_CLAIM = Claim()
"""Of all that are not logged in."""


class Caller:
    """What the service knows of a connection.

    Attributes:
        claim: the login's place in the order of the device's logins.
        service: what all of this node share.
        peer: the other end.
        user: the id of who is logged in; None before, and after LOGINOUT.
        name: the user's name.
        device: the name of the user's device.
        entered: the login's number (see ``Hub``).
        doubted_hash: of a password that may have been set here: the answer to it was lost.
        wire: how the client speaks; the connection changes it before the first request, and never later.
        flow: the messages under way to the database.
        gate: keeps live messages behind pages; None while there is nothing to keep back.
    """

    __slots__ = (
        "_groups",
        "_receipts",
        "claim",
        "device",
        "doubted_hash",
        "entered",
        "flow",
        "gate",
        "name",
        "peer",
        "service",
        "user",
        "wire",
    )

    def __init__(self, service: Service, peer: Peer, wire: Wire) -> None:
        self.service = service
        self.peer = peer
        self.wire = wire
        self.user: int | None = None
        self.name = ""
        self.device = ""
        self.doubted_hash: str | None = None
        self.claim = NO_CLAIM
        self.entered = 0
        self.flow = Flow(service, peer)
        self.gate: Gate | None = None
        self._groups: dict[int, int] | None = None
        self._receipts: Receipts | None = None

    @property
    def id(self) -> int:
        """The id of who is logged in.

        Raises:
            NotLoggedIn: nobody is, or no longer.
        """
        if self.user is None:
            raise NotLoggedIn
        return self.user

    @property
    def settled(self) -> bool:
        """Whether the login is done: the database has it, and the peer has the answer."""
        return self.user is not None and (self.gate is None or self.gate.held is None)

    # -- Out

    def refuse(self, error: RequestError, re: int | None, cid: str | None) -> None:
        """Tell of a request that failed; ``re`` is its msgid, None for a frame that is none."""
        self._send(self.wire.failed(error, re, cid))

    def answer(self, request: Request, answer: Answer) -> None:
        """Send the answer to a request."""
        for frame in self.wire.reply(request, answer):
            self.peer.send(frame)

    def _send(self, frames: Frames) -> None:
        for frame in frames:
            self.peer.send(frame)

    def notify(self, push: Shared) -> None:
        """Send a push of the moment (presence, typing, read marks)."""
        self._send(self.frames_of(push))

    def deliver(self, conversation: int, seq: int, message: Shared) -> None:
        """Send a live event when it is its turn (``seq`` 0, ``MOMENT``: no entry of the log).

        Never switches or raises.  The entries of a conversation MUST be delivered in order.
        """
        gate = self.gate
        if gate is None:
            frames = message.frames.get(self.wire.slot)
            if frames is None:
                frames = message.encode(self.wire)
            for frame in frames:
                self.peer.send(frame)
        elif gate.held is not None:
            gate.held.append(Event(conversation, seq, message))
        elif seq == MOMENT:
            self.notify(message)
        elif not self.peer.has_room(len(self.frames_of(message))):
            self._leave_in_the_log(gate, conversation, seq)
        elif gate.admit(conversation, seq):
            self.send_entry(conversation, seq, message)
        elif gate.extend(conversation, seq):
            self._catch_up_soon(gate, conversation)

    def _leave_in_the_log(self, gate: Gate, conversation: int, seq: int) -> None:
        """Have a live entry, for which the peer has no room now, sent from the log when there is some."""
        if not gate.expects(conversation):
            gate.expect_after(conversation, seq - 1)
        if gate.extend(conversation, seq):
            self._catch_up_soon(gate, conversation)

    def send_entry(self, conversation: int, seq: int, entry: Shared) -> None:
        """Send an entry of the log as a live message."""
        self._send(self.frames_of(entry))
        self.drop_idle_gate()
        if not self.wire.confirms:
            self.count_as_received_once_written(conversation, seq)

    def frames_of(self, message: Shared) -> Frames:
        """Return the frames of a message for this client."""
        frames = message.frames.get(self.wire.slot)
        return message.encode(self.wire) if frames is None else frames

    def owe_backlog(self) -> None:
        """Have the server send by itself what is still to come from the log: the peer asks for no pages."""
        gate = self.gate
        assert gate is not None
        for conversation in gate.asked_for():
            self._catch_up_soon(gate, conversation)

    def drop_idle_gate(self) -> None:
        """Go without a gate from now on if it has nothing to do.

        Some clients keep it: each entry is to be counted as received, or has room only now and then.
        """
        if self.gate is not None and self.gate.idle and self.wire.confirms and not self.wire.pace:
            self.gate = None

    def owe(self, conversation: int, after: int) -> None:
        """Keep back the live messages of a conversation until what comes after ``after`` has been sent.

        What the gate has offered of it already is not sent again.
        """
        if self.gate is None:
            self.gate = Gate()
        self.gate.expect_after(conversation, after)
        self._catch_up_soon(self.gate, conversation)

    def owe_missing(self, conversation: int, cursor: int, head: int) -> None:
        """Owe what the device does not have of a conversation up to ``head``, if it is not on its way.

        Args:
            conversation: which.
            cursor: where the device stands in it, as the database says.
            head: the last seq that there is.
        """
        gate = self.gate
        if gate is not None and gate.expects(conversation):
            if gate.extend(conversation, head):
                self._catch_up_soon(gate, conversation)
        elif self._receipts is not None:
            after = self._receipts.reached(conversation, cursor)
            if after < head:
                self.owe(conversation, after)

    def _catch_up_soon(self, gate: Gate, conversation: int) -> None:
        """Have a conversation sent from the log without a SYNC, in a turn of its own."""
        gate.owed.add(conversation)
        if not gate.paying:
            gate.paying = True
            self.service.later(0, partial(catch_up, self, gate))

    def has_sent(self, entry: Entry) -> None:
        """Take note that it is the turn of a message that this session sent itself."""
        conversation, seq = entry.conversation, entry.seq
        if self.wire.echoes and self._is_to_oneself(conversation):
            self.deliver(conversation, seq, SharedEntry(entry, entry.sender))
            return
        gate = self.gate
        if gate is not None and gate.held is None:
            if not gate.admit(conversation, seq) and gate.extend(conversation, seq):
                self._catch_up_soon(gate, conversation)
            self.drop_idle_gate()

    def _is_to_oneself(self, conversation: int) -> bool:
        return conversation == of_pair(self.id, self.id)

    def know_groups(self, joined: dict[int, int]) -> None:
        """Take note of groups, and the last seq of each before its user joined it."""
        for groupid, seq in joined.items():
            if self.joined(groupid) < seq:
                self._note_group(groupid, seq)

    def know_backlog(self, backlog: Iterable[Span], joined: dict[int, int]) -> None:
        """Expect what a login has read that the device lacks, besides what was heard of since.

        Args:
            backlog: what it lacks.
            joined: the last seq of each group before the joining that the login has read of.  Of one
                that the user has left and joined again since, the later joining counts.
        """
        assert self.gate is not None
        for span in backlog:
            groupid = group_of(span.conversation)
            if groupid is None or self.joined(groupid) == joined[groupid]:
                self.gate.expect(span)
        if self.gate.lapsed:
            self.doubt_groups()

    def doubt_groups(self) -> None:
        """Look up whether the user is still in the groups of which pages are to come.

        Word of a leaving may have been lost.  What is to come of those groups is owed from now on.
        """
        gate = self.gate
        if gate is None:
            return
        gate.lapsed = gate.held is not None  # what the login reads may be from before
        for conversation in gate.asked_for():
            if group_of(conversation) is not None and gate.doubt(conversation):
                self._catch_up_soon(gate, conversation)

    def follow(self, groupid: int, joined: int, came: int | None) -> None:
        """Let the messages of a group come from the first after joining.

        Whatever tells first of a membership begins it here: an event, or a look into the database.
        What still tells of an earlier one counts no more.

        Args:
            groupid: which.
            joined: the last seq before the user joined it.
            came: up to where the group was handed out here, to this user too; None if some of it may
                have been without them, and what the device does not have is owed.
        """
        conversation, gate = of_group(groupid), self.gate
        known = self.joined(groupid)
        if known < joined or (known == joined and came is None):
            self._note_group(groupid, joined)
            waits = gate is not None and (gate.held is not None or gate.expects(conversation))
            self.owe(conversation, joined if came is None or waits else max(joined, came))

    def joined(self, groupid: int) -> int:
        """Return the last seq of a group before its user joined it, as far as is known here; else -1."""
        return -1 if self._groups is None else self._groups.get(groupid, -1)

    def _note_group(self, groupid: int, joined: int) -> None:
        if self._groups is None:
            self._groups = {}
        self._groups[groupid] = joined

    def has_left(self, groupid: int) -> None:
        """Forget a group, and what is still to come of it unless the user has joined it again since."""
        if self._groups is not None:
            self._groups.pop(groupid, None)
        conversation = of_group(groupid)
        if self.gate is not None and self.gate.doubt(conversation):
            self._catch_up_soon(self.gate, conversation)

    def open_gate(self) -> None:
        """Let the live events go that waited for a login to be answered."""
        assert self.gate is not None
        for event in self.gate.open():
            if self._is_after_joining(event.conversation, event.seq):
                self.deliver(*event)
        self.drop_idle_gate()

    def _is_after_joining(self, conversation: int, seq: int) -> bool:
        """Return True unless an event is of a group, and from before the joining that is known now.

        It was held by a membership of which this node has not known yet that it had ended.
        """
        groupid = group_of(conversation)
        if groupid is None:
            return True
        joined = self.joined(groupid)
        return seq > joined if joined >= 0 else self.gate is not None and self.gate.expects(conversation)

    # -- Who is logged in

    def enter(self, userid: int, name: str, device: str) -> None:
        """Become the session of a user's device; live events are held until ``open_gate``."""
        self.user, self.name, self.device = userid, name, device
        self.claim = Claim()
        self.gate = Gate()
        self.gate.shut()
        self._receipts = Receipts(partial(self.service.store.move_cursor, userid, device))
        self.service.hub.add(self, userid)

    def leave(self) -> None:
        """Be nobody's session any more.  Does not switch."""
        self.service.hub.remove(self, self.id)
        self.peer.drop_paced()  # whoever logs in next on this connection must not be shown it
        self.user = self.gate = self._groups = self._receipts = None

    # -- What the device has

    @property
    def receipts(self) -> Receipts:
        """What the device has.

        Raises:
            NotLoggedIn: nobody is, or no longer.
        """
        if self._receipts is None:
            raise NotLoggedIn
        return self._receipts

    def count_as_received_once_written(self, conversation: int, seq: int) -> None:
        """For a client that sends no RECEIVED."""
        self.peer.when_written(partial(self._written, self.id, conversation, seq))

    def _written(self, userid: int, conversation: int, seq: int) -> None:
        if userid == self.user:
            self.receipts.received(conversation, seq)

    # -- Messages

    def acknowledge(self, request: Request, sender: int, conversation: int, ack: StoredAck) -> None:
        """Tell the peer that its message is committed; the device has it by that."""
        for frame in self.wire.reply(request, ack):
            self.peer.send(frame)
        if sender == self.user and not (self.wire.echoes and self._is_to_oneself(conversation)):
            assert self._receipts is not None
            self._receipts.sent(conversation, ack.seq)

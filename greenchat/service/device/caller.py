"""Who is at the other end of a connection, as the handlers of requests see it, and the one gate out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from greenchat.errors import NotLoggedIn, RequestError
from greenchat.model.conversations import group_of, of_group, of_pair
from greenchat.model.records import Span
from greenchat.ports.peer import Peer
from greenchat.protocol.classic import ClassicWire
from greenchat.protocol.messages import (
    LAST_ORIGINAL,
    UNANSWERED,
    Answer,
    Request,
    StoredAck,
    msgid_of,
)
from greenchat.protocol.native import TOLD_OF_UNANSWERED, encode, failure
from greenchat.service.delivery.claims import Claim
from greenchat.service.delivery.hub import MOMENT
from greenchat.service.device.catch_up import catch_up
from greenchat.service.device.flow import Flow
from greenchat.service.device.holdback import Event, Gate
from greenchat.service.device.receipts import Receipts
from greenchat.service.service import Service

_RECALL = b'{"msgid":17,'

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
        wire: of an original client; None for others, and before its first frame.
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

    def __init__(self, service: Service, peer: Peer) -> None:
        self.service = service
        self.peer = peer
        self.wire: ClassicWire | None = None
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
        if re not in UNANSWERED or error.errno in TOLD_OF_UNANSWERED:
            wire = self.wire
            if wire is None:
                self.peer.send(encode(failure(error, re, cid)))
            elif told := wire.failed(error, re, cid):
                self.peer.send(told)

    def answer(self, request: Request, reply: Answer) -> None:
        """Send the reply to a request."""
        if request.cid is not None:
            reply.cid = request.cid
        self._send_reply(reply, msgid_of(request))

    def _send_reply(self, reply: Answer | StoredAck, re: int) -> None:
        """Send a reply; an original client gets only what its requests ask for (no ACK, no ERROR)."""
        wire = self.wire
        if wire is None:
            self.peer.send(encode(reply))
        elif not msgid_of(reply) > LAST_ORIGINAL >= re:
            self.peer.send(wire.reply(encode(reply)))

    def notify(self, frame: bytes) -> None:
        """Send a frame that is of the moment only (presence, typing, read marks)."""
        if self.wire is None:
            self.peer.send(frame)

    def deliver(self, conversation: int, seq: int, frame: bytes) -> None:
        """Send a live event when it is its turn (``seq`` 0, ``MOMENT``: no entry of the log).

        Never switches or raises.  The entries of a conversation MUST be delivered in order.
        """
        gate = self.gate
        if gate is None:
            self.peer.send(frame)
        elif gate.held is not None:
            gate.held.append(Event(conversation, seq, frame))
        elif seq == MOMENT:
            self.notify(frame)
        elif not self.peer.has_room(len(self.frames_of(frame))):
            self._leave_in_the_log(gate, conversation, seq)
        elif gate.admit(conversation, seq):
            self.send_entry(conversation, seq, frame)
        elif gate.extend(conversation, seq):
            self._catch_up_soon(gate, conversation)

    def _leave_in_the_log(self, gate: Gate, conversation: int, seq: int) -> None:
        """Have a live entry, for which the peer has no room now, sent from the log when there is some."""
        if not gate.expects(conversation):
            gate.expect_after(conversation, seq - 1)
        if gate.extend(conversation, seq):
            self._catch_up_soon(gate, conversation)

    def send_entry(self, conversation: int, seq: int, frame: bytes) -> None:
        """Send an entry of the log as a live message."""
        for part in self.frames_of(frame):
            self.peer.send(part)
        if self.wire is None:
            self.drop_idle_gate()
        else:
            self.count_as_received_once_written(conversation, seq)

    def frames_of(self, frame: bytes) -> list[bytes]:
        """Return an entry's frames for this peer: several, or none, for an original client."""
        wire = self.wire
        if wire is None:
            return [frame]
        return [] if frame.startswith(_RECALL) else wire.message(frame)

    def owe_backlog(self) -> None:
        """Have the server send by itself what is still to come from the log: the peer asks for no pages."""
        gate = self.gate
        assert gate is not None
        for conversation in gate.asked_for():
            self._catch_up_soon(gate, conversation)

    def drop_idle_gate(self) -> None:
        """Go without a gate from now on if it has nothing to do (an original client keeps its own)."""
        if self.gate is not None and self.gate.idle and self.wire is None:
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

    def has_sent(self, conversation: int, seq: int, frame: bytes) -> None:
        """Take note that it is the turn of a message that this session sent itself.

        An original client shows what it says to itself only if it is sent back.
        """
        if self.wire is not None and self._echoes(conversation):
            self.deliver(conversation, seq, frame)
            return
        gate = self.gate
        if gate is not None and gate.held is None:
            if not gate.admit(conversation, seq) and gate.extend(conversation, seq):
                self._catch_up_soon(gate, conversation)
            self.drop_idle_gate()

    def _echoes(self, conversation: int) -> bool:
        """Return True if an original client is sent back what its user says there: to oneself."""
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
        """For an original client, which sends no RECEIVED."""
        self.peer.when_written(partial(self._written, self.id, conversation, seq))

    def _written(self, userid: int, conversation: int, seq: int) -> None:
        if userid == self.user:
            self.receipts.received(conversation, seq)

    # -- Messages

    def acknowledge(self, sender: int, conversation: int, ack: StoredAck) -> None:
        """Tell the peer that its message is committed; the device has it by that."""
        if self.wire is None:  # not by _send_reply: this is done for each message
            self.peer.send(encode(ack))
        else:
            self._send_reply(ack, ack.re)
        if sender == self.user and (self.wire is None or not self._echoes(conversation)):
            assert self._receipts is not None
            self._receipts.sent(conversation, ack.seq)

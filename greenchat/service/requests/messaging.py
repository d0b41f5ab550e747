"""Messages and recalls: may they, then store; once committed, acknowledge and deliver."""

from __future__ import annotations

from greenchat.errors import Blocked, Busy, NoSuchMessage, NoSuchUser, NotAllowed, NotAMember, RequestError
from greenchat.metrics import MESSAGES_STORED
from greenchat.model.conversations import group_of, of_group, of_pair, peer_of
from greenchat.model.instants import to_seconds
from greenchat.model.kinds import KINDS, RECALL, TEXT
from greenchat.model.records import Contact, Entry, Membership, NewEntry
from greenchat.protocol import messages as m
from greenchat.service.device.caller import Caller
from greenchat.service.device.flow import WeightedDelivery
from greenchat.service.requests.permissions import conversation_of, member_of, readable
from greenchat.service.requests.validation import check_length

LIGHT = 512
"""A message to a group weighs one more for every so many members.  One to 10,000 weighs 20, so that a
connection has at most 13 under way, not 256: their deliveries take seconds, in which nobody else's are made.
Measured with 64, a delivery to 5,000 cost three times as much, since fewer were made together."""


def one_chat(caller: Caller, request: m.OneChat) -> None:
    """Store a message to a user."""
    service, userid = caller.service, caller.user
    assert userid is not None  # the route needs a login
    check_length("msg", request.msg, 1, service.limits.max_message)
    conversation = of_pair(userid, request.toid)
    message = NewEntry(conversation, userid, request.cid, TEXT.name, request.msg, service.now())
    try:
        pair = userid, request.toid
        contact = service.contacts.get(pair)
        # A refusal is read anew: the event of another node, where the receiver ended a block, may be lost.
        if contact is None or (contact is not Contact.OPEN and not service.bus.alone):
            contact = service.contacts.reload(pair)
        if contact is not Contact.OPEN:
            raise NoSuchUser if contact is Contact.NO_RECEIVER else Blocked
    except RequestError as refusal:
        _refuse(caller, request, message, refusal)
    else:
        caller.flow.append(message, EntryDelivery(caller, request, message, None))


def group_chat(caller: Caller, request: m.GroupChat) -> None:
    """Store a message to a group."""
    service, userid = caller.service, caller.id
    check_length("msg", request.msg, 1, service.limits.max_message)
    message = NewEntry(of_group(request.groupid), userid, request.cid, TEXT.name, request.msg, service.now())
    try:
        membership = member_of(caller, request.groupid)
    except RequestError as refusal:
        _refuse(caller, request, message, refusal)
    else:
        caller.flow.append(message, EntryDelivery(caller, request, message, membership))


def recall(caller: Caller, request: m.Recall) -> None:
    """Store that a message is taken back.

    A repeated request (same cid) finds its target recalled already; the store tells it from a new one.
    """
    service, userid = caller.service, caller.id
    conversation = conversation_of(caller, request)
    message = NewEntry(conversation, userid, request.cid, RECALL.name, str(request.target), service.now())
    try:
        _check_recall(caller, request)
        membership = None if request.groupid is None else member_of(caller, request.groupid)
    except RequestError as refusal:
        _refuse(caller, request, message, refusal)
    else:
        caller.flow.append(message, EntryDelivery(caller, request, message, membership))


def _check_recall(caller: Caller, request: m.Recall) -> None:
    """Raise a RequestError unless the caller's user may recall the target.  May switch."""
    conversation, after = readable(caller, request)
    if request.target <= after:
        raise NoSuchMessage
    target = caller.service.store.entry(conversation, request.target)
    was_recalled = bool(target.recalled)
    if not KINDS[target.kind].is_message or (was_recalled and request.cid is None):
        raise NoSuchMessage
    if not was_recalled and not _may_recall(caller, caller.id, target):
        raise NotAllowed("you can recall only your own messages, and only for a while")


def _may_recall(caller: Caller, userid: int, target: Entry) -> bool:
    service, groupid = caller.service, group_of(target.conversation)
    age = service.clock() - to_seconds(target.time)
    if target.sender == userid and age <= service.limits.recall_seconds:
        return True
    return groupid is not None and service.store.group(userid, id=groupid).role == "creator"


def _refuse(caller: Caller, request: m.Request, message: NewEntry, refusal: RequestError) -> None:
    """Refuse a message, unless it is stored already: then acknowledge it again.  May switch.

    The ACK may have been lost, and its sender have lost the right to write since.

    Raises:
        RequestError: the refusal; CidUsed if the cid was used for another message.
    """
    first = None
    if message.cid is not None and not isinstance(refusal, Busy):
        first = caller.service.store.first_stored(message)
    if first is None:
        raise refusal
    delivery = EntryDelivery(caller, request, message, None)
    delivery.weight = 0  # it has not been under way
    delivery.stored(*first, repeated=True)


class EntryDelivery(WeightedDelivery):
    """Acknowledges and delivers a message or recall after its commit.

    Attributes:
        weight: how many messages it counts as until then.
    """

    __slots__ = ("_caller", "_membership", "_message", "_name", "_request", "weight")

    def __init__(
        self, caller: Caller, request: m.Request, message: NewEntry, membership: Membership | None
    ) -> None:
        self._caller = caller
        self._request = request
        self._message = message
        self._membership = membership
        self._name = caller.name
        self.weight = 1 if membership is None else 1 + len(membership) // LIGHT

    def stored(self, seq: int, time: str, repeated: bool) -> None:
        """Acknowledge the sender, then deliver to everybody else."""
        caller, service = self._caller, self._caller.service
        conversation, sender, cid, kind, body, _ = self._message
        caller.flow.done(self.weight)
        ack = m.RepeatedAck(seq=seq, time=time) if repeated else m.StoredAck(seq=seq, time=time)
        for frame in caller.wire.reply(self._request, ack):
            caller.peer.send(frame)
        if sender == caller.user and conversation != caller.stream.echoed:
            caller.stream.receipts.sent(conversation, seq)  # the device has it by the ACK
        if repeated:
            service.router.remind(conversation, seq)
            return
        MESSAGES_STORED.value += 1
        entry = Entry(conversation, seq, sender, self._name, cid, kind, body, time)
        # Not by the membership that was read when the message came: users have joined or left since.
        members = {} if self._membership is None else service.memberships.get(-conversation)
        service.router.post(entry, members, caller)

    def failed(self, error: RequestError) -> None:
        """Tell the sender; there is nothing to deliver."""
        if isinstance(error, Blocked | NotAMember):
            self._forget_permission()
        self._caller.flow.done(self.weight)
        self._caller.refuse(error, m.msgid_of(self._request), self._request.cid)

    def _forget_permission(self) -> None:
        """Drop the caches that let the message through: the transaction refused it."""
        service, (conversation, sender, *_) = self._caller.service, self._message
        groupid = group_of(conversation)
        if groupid is not None:
            service.memberships.forget(groupid)
        else:
            service.forget_block(sender, peer_of(conversation, sender))

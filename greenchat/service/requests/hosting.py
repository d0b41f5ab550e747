"""Devices that this server plays itself: outgoing hooks.

A hook's device logs in as any other (so it is online at one node of the cluster, and its entries are those of
its stream, in their order and within its memberships), without a password and without a connection.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from greenchat.errors import AlreadyOnline, Busy, NoSuchMessage, NoSuchUser, RequestError
from greenchat.model.conversations import group_of
from greenchat.model.records import Account, Hook, LoginState
from greenchat.ports.hooks import HookDevice, HookHost, Parcel, Sink
from greenchat.ports.peer import Peer
from greenchat.protocol import messages as m
from greenchat.protocol.lines import NEWLINE
from greenchat.protocol.native import Native
from greenchat.protocol.wire import Fit, Frames, Shared, SharedEntry, fitting
from greenchat.service.device.caller import Caller
from greenchat.service.device.catch_up import TRY_AGAIN, send_page
from greenchat.service.device.sign_off import sign_off
from greenchat.service.device.stream import Stream
from greenchat.service.identity.throttle import LoginBill
from greenchat.service.requests.authentication import Credentials, Proof
from greenchat.service.requests.login import come_online
from greenchat.service.service import Service

WAIT = 0.2
"""Seconds between two looks at the conversations of a hook that have no room."""


class HookWire(Native):
    """The native wire with nobody who listens: entries are encoded, and all else is dropped.

    ``confirms`` is False, so that the stream asks before each entry whether there is room for it.
    """

    __slots__ = ()

    confirms = pages = beats = False

    def reply(self, request: m.Request, answer: m.Answer) -> Frames:
        return ()

    def failed(self, error: RequestError, re: int | None, cid: str | None) -> Frames:
        return ()

    def login_room(self, request: m.Request, ack: m.LoginAck) -> Fit:
        return lambda entries: []

    def push(self, push: m.Push) -> Frames:
        return ()

    def bye(self, reason: str, retry_after: float | None) -> Frames:
        return ()


HOOK_WIRE = HookWire()


class HookPeer(Peer):
    """The connection of a device that has none.

    Args:
        address: for the log.
        sink: is told of the end.
    """

    __slots__ = ("_address", "_sink")

    def __init__(self, address: str, sink: Sink) -> None:
        self._address = address
        self._sink = sink

    @property
    def address(self) -> str:
        return self._address

    @property
    def present(self) -> bool:
        return self._sink.is_open

    def send(self, frame: bytes, /) -> None:
        """Do nothing: entries take another way (``HookCaller.send_entry``)."""

    def close(self, reason: str, retry_after: float | None = None) -> None:
        if self._sink.is_open:
            self._sink.ended(reason)

    def pause(self) -> None:
        """Do nothing: nothing is read."""

    def resume(self) -> None:
        """Do nothing."""

    def when_written(self, call: object) -> None:
        """Do nothing: entries are received with their delivery."""

    def has_room(self, frames: int, before: int = 0) -> bool:
        return True

    def drop_paced(self) -> None:
        """Do nothing: the sink ends with the login."""

    def drain(self) -> bool:
        return self._sink.is_open


class HookCaller(Caller, HookDevice):
    """A hook's device.

    Args:
        service: of this node.
        hook: the hook.
        sink: takes the entries.
    """

    __slots__ = ("_bot", "_sink")

    def __init__(self, service: Service, hook: Hook, sink: Sink) -> None:
        super().__init__(service, HookPeer(f"hook-{hook.id}", sink), HOOK_WIRE)
        self._bot = hook.userid
        self._sink = sink

    # docs of the public methods: ports.HookDevice

    def joined(self, conversation: int) -> int | None:
        groupid = group_of(conversation)
        if groupid is None:
            return 0
        joined = self.stream.joined(groupid)
        return joined if joined >= 0 else None

    def again(self, conversation: int, seq: int) -> Parcel | None:
        try:
            entry = self.service.store.entry(conversation, seq)
        except NoSuchMessage:
            return None
        return self._parcel(SharedEntry(entry, self._bot))

    def received(self, conversation: int, seq: int) -> None:
        if self.user is not None:
            self.receipts.received(conversation, seq)

    def log_out(self) -> None:
        sign_off(self.service, self)

    # -- As an outlet of its stream

    def send_entry(self, conversation: int, seq: int, entry: Shared) -> None:
        """Hand an entry to the sink."""
        assert isinstance(entry, SharedEntry)
        self._sink.take(self._parcel(entry))

    def has_room(self, entry: Shared) -> bool:
        """Return True if the sink has room for an entry; else it stays in the log."""
        assert isinstance(entry, SharedEntry)
        return self._sink.room(entry.entry.conversation) > 0

    def catch_up_soon(self, stream: Stream) -> None:
        """Send the backlogs of a stream in a greenlet of its own."""
        self.service.later(0, partial(_catch_up, self, self._sink, stream))

    def _parcel(self, shared: SharedEntry) -> Parcel:
        conversation, seq, sender, *_ = shared.entry
        if sender == self._bot:
            return Parcel(conversation, seq, None)
        (frame,) = self.frames_of(shared)
        return Parcel(conversation, seq, frame.removesuffix(NEWLINE))


def _catch_up(device: HookCaller, sink: Sink, stream: Stream) -> None:
    """Send the backlogs of a hook, and try again until there are none.  May switch.

    As ``catch_up.catch_up``, but a conversation that has no room does not hold up the others.
    """
    try:
        stream.is_catching_up = not _send_backlogs(device, sink, stream)
    except Busy:
        stream.is_catching_up = True
    if stream.is_catching_up:
        device.service.later(TRY_AGAIN, partial(_catch_up, device, sink, stream))


def _send_backlogs(device: HookCaller, sink: Sink, stream: Stream) -> bool:
    """Send backlogs; return True if there are none, or the device has been logged out.  May switch."""
    while not stream.is_over and stream.next_to_catch_up() is not None:
        if stream.is_holding or stream.is_reading:
            return False
        conversation = stream.next_to_catch_up(sink.wants_page)
        if conversation is None:
            sink.wait_room(WAIT)
        else:
            send_page(device, stream, conversation, partial(_fitting, device, sink, conversation))
    return True


def _fitting(
    device: HookCaller, sink: Sink, conversation: int, entries: list[SharedEntry]
) -> list[SharedEntry]:
    return fitting(entries[: max(0, sink.room(conversation))], device.wire)


class HostedProof(Proof):
    """The proof that this server itself is the user."""

    __slots__ = ()

    def has_changed(self, state: LoginState | Account) -> bool:
        """Return False: there are no credentials that could change."""
        return False


class ServiceHookHost(HookHost):
    """Make the devices of outgoing hooks online at this node.

    Args:
        service: of this node.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    # docs of the public methods: ports.HookHost

    def log_in(self, hook: Hook, sink: Sink) -> HookDevice:
        service = self._service
        self._check_free(hook)
        account = service.store.account(id=hook.userid, device=hook.device)
        if account is None:
            raise NoSuchUser
        device = HookCaller(service, hook, sink)
        address = device.peer.address
        proof = HostedProof(service, Credentials(), address, account, LoginBill(None, 0))
        come_online(device, m.Login(id=hook.userid, device=hook.device), proof)
        if device.user is None:
            raise AlreadyOnline
        return device

    def _check_free(self, hook: Hook) -> None:
        """Raise AlreadyOnline if the device is online somewhere.  May switch.

        A login would find that out, too, but the bot's friends would see it come and go.
        """
        service = self._service
        if service.hub.find(hook.userid, hook.device) is not None:
            raise AlreadyOnline
        with suppress(Busy):  # then the login asks the database
            if any(seat.device == hook.device for seat in service.bus.refresh(hook.userid)):
                raise AlreadyOnline

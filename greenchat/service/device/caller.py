"""The client of a connection, as the handlers of requests see it, and the one way out to it."""

from __future__ import annotations

from functools import partial

from greenchat.errors import NotLoggedIn, RequestError
from greenchat.model.conversations import of_pair
from greenchat.ports.peer import Peer
from greenchat.protocol.messages import Answer, Request
from greenchat.protocol.wire import Frames, Shared, Wire
from greenchat.service.delivery.claims import Claim
from greenchat.service.delivery.hub import Online
from greenchat.service.device.catch_up import Recipient, catch_up
from greenchat.service.device.flow import Flow
from greenchat.service.device.receipts import Receipts
from greenchat.service.device.stream import Outlet, Stream
from greenchat.service.service import Service

NO_CLAIM = Claim()
"""Of all that are not logged in."""


class Caller(Online, Recipient, Outlet):
    """The service's state of a connection.

    Attributes:
        cookie: the token in the cookie that the connection came with, for its logins; None without one.
        claim: the login's place in the order of the device's logins.
        service: the state that all sessions of this node share.
        peer: the other end.
        user: the id of the user that is logged in; None before, and after LOGINOUT.
        name: the user's name.
        device: the name of the user's device.
        login_number: the login's number (see ``Hub``).
        doubted_hash: of a password that may have been set here: the answer to it was lost.
        wire: how the client speaks; the connection changes it before the first request, and never later.
        flow: the messages under way to the database.
        stream: the entries and pushes for the device; there from the first login on, and over after LOGINOUT.
    """

    __slots__ = (
        "claim",
        "device",
        "doubted_hash",
        "flow",
        "login_number",
        "name",
        "peer",
        "service",
        "stream",
        "user",
        "wire",
    )

    cookie: str | None = None
    login_number: int
    peer: Peer
    service: Service

    def __init__(self, service: Service, peer: Peer, wire: Wire) -> None:
        self.service = service
        self.peer = peer
        self.wire = wire
        self.user: int | None = None
        self.name = ""
        self.device = ""
        self.doubted_hash: str | None = None
        self.claim = NO_CLAIM
        self.login_number = 0
        self.flow = Flow(service, peer)
        self.stream: Stream  # set by the first login

    @property
    def id(self) -> int:
        """The id of the user that is logged in.

        Raises:
            NotLoggedIn: nobody is, or no longer.
        """
        if self.user is None:
            raise NotLoggedIn
        return self.user

    @property
    def is_answered(self) -> bool:
        """True once the login is done: the database has it, and the peer has the answer."""
        return self.user is not None and not self.stream.is_holding

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

    def send_entry(self, conversation: int, seq: int, entry: Shared) -> None:
        """Send an entry of the log as a live message."""
        self._send(self.frames_of(entry))
        if not self.wire.confirms:
            self.count_as_received_once_written(conversation, seq)

    def frames_of(self, message: Shared) -> Frames:
        """Return the frames of a message for this client."""
        frames = message.frames.get(self.wire.slot)
        return message.encode(self.wire) if frames is None else frames

    def has_room(self, entry: Shared) -> bool:
        """Return True if an entry may be sent now; always so unless the peer is paced."""
        return self.peer.has_room(len(self.frames_of(entry)))

    def catch_up_soon(self, stream: Stream) -> None:
        """Send the backlogs of a stream in a greenlet of its own."""
        self.service.later(0, partial(catch_up, self, stream))

    # -- Login and logout

    def enter(self, userid: int, name: str, device: str) -> None:
        """Become the session of a user's device; its stream holds back until the login has been answered."""
        self.user, self.name, self.device = userid, name, device
        self.claim = Claim()
        receipts = Receipts(self.service.store, userid, device)
        echoed = of_pair(userid, userid) if self.wire.echoes else 0
        self.stream = Stream(self, self.wire, self.peer.send, receipts, echoed)
        self.service.hub.add(self, userid)

    def leave(self) -> None:
        """Be nobody's session any more.  Does not switch."""
        self.service.hub.remove(self, self.id)
        self.peer.drop_paced()  # whoever logs in next on this connection must not be shown it
        self.stream.close()
        self.user = None

    @property
    def receipts(self) -> Receipts:
        """The device's receipts.

        Raises:
            NotLoggedIn: no user is logged in, or no longer.
        """
        if self.user is None:
            raise NotLoggedIn
        return self.stream.receipts

    def count_as_received_once_written(self, conversation: int, seq: int) -> None:
        """For a client that sends no RECEIVED."""
        self.peer.when_written(partial(self._written, self.id, conversation, seq))

    def _written(self, userid: int, conversation: int, seq: int) -> None:
        if userid == self.user:
            self.receipts.received(conversation, seq)

"""The call for events: a stream that makes the device online, and receipts by ``Last-Event-ID``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from greenchat.errors import Busy, RateLimited, RequestError
from greenchat.http.answers import problem
from greenchat.http.api.door import Door, ask
from greenchat.http.api.messages import receipt
from greenchat.http.api.sent import Device, Memory, Sent
from greenchat.http.call import Call, HttpError, Pairs, Response, TakenOver
from greenchat.ports.peer import Peer
from greenchat.protocol.events import EVENTS, LoginFirst, name_in, refusal
from greenchat.protocol.messages import Login
from greenchat.protocol.native import encode
from greenchat.protocol.wire import Speech, Wire
from greenchat.service.service import Service
from greenchat.service.session import Session
from greenchat.service.visit import Visit

HEADERS: Pairs = (
    ("content-type", "text/event-stream"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),  # nginx would wait for more
)

OpenSession = Callable[[Peer, Wire], Session]

Adopt = Callable[[TakenOver, Speech, OpenSession], None]
"""Serves a client that reads events from now on.  Does not switch."""

BUSY = frozenset({429, 503})
"""Statuses of which a browser's EventSource must not learn."""


class Events:
    """The streams of a node.

    Args:
        door: lets callers in.
        adopt: takes the sockets.
    """

    def __init__(self, door: Door, adopt: Adopt) -> None:
        self._door = door
        self._adopt = adopt
        self._memory = Memory()

    def open(self, call: Call) -> Response:
        """Acknowledge what ``Last-Event-ID`` says, then begin a stream."""
        if call.method == "HEAD":
            return Response(200, HEADERS)
        visit = self._door.visit(call)
        self._acknowledge(visit, call.headers.get("last-event-id"))
        device = visit.id, visit.device
        return Response(200, HEADERS, takeover=partial(self._begin, call.account, device))

    def _acknowledge(self, visit: Visit, name: str) -> None:
        """Count entries as received.  A name that can be none of an entry is passed over."""
        now = self._door.service.monotonic()
        try:
            seqs = self._memory.upto((visit.id, visit.device), name, now)
        except ValueError:
            return
        for conversation, seq in seqs.items():
            try:
                ask(visit, receipt(visit, conversation, seq))
            except Busy:
                raise
            except RequestError:  # the user is not in it any more, or the name is made up
                pass

    def _begin(self, token: str, device: Device, taken: TakenOver) -> None:
        login = encode(Login(token=token, device=device[1], force=True))
        speech = Speech(LoginFirst(login), EVENTS)
        self._adopt(taken, speech, partial(StreamSession, self._door.service, self._memory, device))


def failed(error: RequestError | HttpError) -> Response:
    """Return the answer to a call for events that failed: full and busy are no failures to a browser."""
    if isinstance(error, HttpError) and error.status in BUSY:
        error = RateLimited() if error.status == 429 else Busy()
    if isinstance(error, RateLimited | Busy):
        return Response(200, HEADERS, refusal(error))
    return problem(error)


class StreamSession(Session):
    """The session of a stream: it ends if its login fails.

    Args:
        service: the state that all sessions of this node share.
        memory: is told what is sent.
        device: the device.
        peer: the other end.
        wire: how the client is spoken to.
    """

    __slots__ = ("_memory", "_of", "_sent")

    def __init__(self, service: Service, memory: Memory, device: Device, peer: Peer, wire: Wire) -> None:
        self._sent = Sent()
        super().__init__(service, Recorder(peer, self._sent), wire)
        self._memory = memory
        self._of = device

    def receive(self, frame: bytes) -> None:
        """Handle the login."""
        super().receive(frame)
        if self.user is None:
            self.peer.close("not let in")
        else:
            self._memory.begin(self._of, self._sent)

    def closed(self, reason: str) -> None:
        """Take note that the stream has ended.  May switch."""
        self._memory.end(self._sent, self.service.monotonic())
        super().closed(reason)


class Recorder(Peer):
    """The peer of a stream, of whose entries it takes note.

    Args:
        peer: the connection.
        sent: what is noted.
    """

    __slots__ = ("_peer", "_sent")

    def __init__(self, peer: Peer, sent: Sent) -> None:
        self._peer = peer
        self._sent = sent

    # docs of the public methods: ports.Peer

    @property
    def address(self) -> str:
        return self._peer.address

    @property
    def present(self) -> bool:
        return self._peer.present

    def send(self, frame: bytes, /) -> None:
        name = name_in(frame)
        if name:
            self._sent.add(name)
        self._peer.send(frame)

    def close(self, reason: str, retry_after: float | None = None) -> None:
        self._peer.close(reason, retry_after)

    def pause(self) -> None:
        self._peer.pause()

    def resume(self) -> None:
        self._peer.resume()

    def when_written(self, call: Callable[[], None]) -> None:
        self._peer.when_written(call)

    def has_room(self, frames: int, before: int = 0) -> bool:
        return self._peer.has_room(frames, before)

    def drop_paced(self) -> None:
        self._peer.drop_paced()

    def drain(self) -> bool:
        return self._peer.drain()

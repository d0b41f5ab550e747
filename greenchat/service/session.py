"""One connection's conversation with the service: the one gate in."""

from __future__ import annotations

import logging

from greenchat.errors import Busy, MalformedFrame, NotLoggedIn, RequestError
from greenchat.metrics import HANDLER_ERRORS
from greenchat.ports.peer import Peer
from greenchat.protocol.messages import REQUESTS, msgid_of
from greenchat.protocol.wire import OtherProtocol, Wire
from greenchat.service.device.caller import Caller
from greenchat.service.device.sign_off import sign_off
from greenchat.service.routes import ROUTES
from greenchat.service.service import Service

MAX_BAD_FRAMES = 10
"""At so many frames that are no request, the connection ends (docs/protocol.md, Error codes)."""

_log = logging.getLogger(__name__)


class Session(Caller):
    """A connection's caller, and the handling of its frames.

    Args:
        service: the state that all sessions of this node share.
        peer: the other end.
        wire: how the client speaks, as far as that is known.
    """

    __slots__ = ("_bad_frames", "_bucket")

    def __init__(self, service: Service, peer: Peer, wire: Wire) -> None:
        super().__init__(service, peer, wire)
        self._bad_frames = 0
        self._bucket = service.throttle.bucket(peer.address, service.monotonic())

    def receive(self, frame: bytes) -> None:
        """Handle a frame from the peer.  May switch; never raises, whatever the frame holds."""
        try:
            request = self.wire.request(frame)
        except OtherProtocol:
            self.peer.close("another protocol")
            return
        except MalformedFrame as error:
            self._refuse_frame(error)
            return
        handler, needs_login = ROUTES[type(request)]
        service = self.service
        service.under_way += 1
        try:
            if self._bucket is not None:
                self._bucket.check(service.monotonic())
            if needs_login and self.user is None:
                raise NotLoggedIn
            reply = handler(self, request)
        except RequestError as error:
            self.refuse(error, msgid_of(request), request.cid)
        except Exception:
            HANDLER_ERRORS.value += 1
            kind = type(request).__name__
            _log.exception("%s user=%s: a bug in the handler of %s", self.peer.address, self.user, kind)
            excuse = Busy("the server failed on this request; it has been logged")
            self.refuse(excuse, msgid_of(request), request.cid)
            self.peer.close("evicted")
        else:
            if reply is not None:
                self.answer(request, reply)
        finally:
            service.under_way -= 1

    def closed(self, reason: str) -> None:
        """Take note that the connection has ended.  May switch."""
        sign_off(self.service, self)

    def _refuse_frame(self, malformed: MalformedFrame) -> None:
        re, error = malformed.re, malformed.error
        if re in REQUESTS and ROUTES[REQUESTS[re]].needs_login and self.user is None:
            error = NotLoggedIn()
        self.refuse(error, re, malformed.cid)
        if re is None:
            self._bad_frames += 1
        if self._bad_frames >= MAX_BAD_FRAMES:
            self.peer.close("protocol")


class CookieSession(Session):
    """The session of a connection that came with a cookie: its logins need neither password nor token.

    Args:
        cookie: the token in it, as it came: it is looked at by each login.
        service, peer, wire: as for ``Session``.
    """

    __slots__ = ("cookie",)

    def __init__(self, cookie: str, service: Service, peer: Peer, wire: Wire) -> None:
        super().__init__(service, peer, wire)
        self.cookie = cookie

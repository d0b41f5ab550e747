"""One socket and its greenlet: read frames, hand them to the session, end in one place."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from gevent import getcurrent

from greenchat.errors import RequestError
from greenchat.metrics import (
    CONNECTIONS_CLOSED,
    CONNECTIONS_OPENED,
    HANDLER_ERRORS,
    RECEIVED_BYTES,
    RECEIVED_FRAMES,
)
from greenchat.network.outbox import OUTBOX_LIMIT, Flusher, Transport
from greenchat.network.shaper import Shaper
from greenchat.network.waiting import BEHIND, Waiting
from greenchat.protocol.lines import FrameTooLarge
from greenchat.protocol.wire import Frames, Framing, Opening, OtherProtocol, Wire

logger = logging.getLogger(__name__)

CHUNK = 16_384
"""Bytes read from a peer in one turn of the loop, so that a flood is fair to the others."""

FRAMES = 64
"""Frames of a chunk that are handled in one turn.  Of the tiniest it holds thousands, which take 5 ms and
more, for each peer that floods."""

ESTABLISHED = 1
"""The state of a TCP connection (tcp(7), TCP_INFO) whose two ends may both send."""

GRACE = 0.5
"""Seconds in which a peer that ended its half still gets replies that are being made (a commit).  Of
strangers none are: there is nothing that they could have stored."""

LINGER = 5.0
"""Seconds in which what was sent must have gone to the socket once the connection is closed."""

DISCARD = 1.0
"""Seconds in which the peer may end its half after ours.  Closing with unread input makes the
kernel send RST, and the peer never sees the last frames (RFC 1122, 4.2.2.13)."""


class Session(Protocol):
    """The service's side of a connection.

    Attributes:
        wire: how its client speaks; the connection sets it.
    """

    wire: Wire

    @property
    def user(self) -> int | None:
        """The id of the user that is logged in; None if nobody is."""

    def receive(self, frame: bytes) -> None:
        """Handle a frame, in the order received.  May switch.  Does not raise for what the peer did."""

    def closed(self, reason: str) -> None:
        """The connection has ended; called exactly once, when no ``receive`` runs.  May switch."""


OpenSession = Callable[["Connection", Wire], Session]
"""Make the service's side of a connection, given how a client is spoken to that has said nothing yet."""


class Connection(Waiting):
    """A peer's connection; implements ``ports.Peer``.

    Args:
        sock: connected and non-blocking; the connection closes it.
        address: ``HOST:PORT`` of the peer.
        opened: when the peer came, on the monotonic clock.
        flusher: shared by all connections.
        opening: finds out how the peer speaks.
        outbox_limit: unsent bytes beyond which the peer is a slow consumer.
        shaper: says how much is read of it; None for any amount.

    Attributes:
        session: the service's side; None before it is opened and once it is told of the end.
        missed: beats missed in a row.
        stranger_since: when it was first seen not logged in; None while it is.
        wire: how the peer is spoken to; its first frame may change it.
    """

    # fmt: off
    __slots__ = ("_eof", "_framing", "_opening", "_patience", "_refusal", "address", "missed", "opened",
                 "session", "stranger_since", "wire")
    # fmt: on

    def __init__(
        self,
        sock: Transport,
        address: str,
        opened: float,
        flusher: Flusher,
        opening: Opening,
        outbox_limit: int = OUTBOX_LIMIT,
        shaper: Shaper | None = None,
    ) -> None:
        super().__init__(sock, flusher, outbox_limit, shaper)
        self.address = address
        self.session: Session | None = None
        self.opened = opened
        self.missed = 0
        self.stranger_since: float | None = opened
        self._opening: Opening | None = opening
        self._framing: Framing | None = None
        self.wire = opening.wire
        self._refusal: RequestError | None = None
        self._patience = 0.0
        self._eof = False
        CONNECTIONS_OPENED.value += 1

    # -- What the service may do

    @property
    def present(self) -> bool:
        """True if the peer has not ended its half.  It may have, and its last requests still wait."""
        if self._eof or self._lost:
            return False
        state: int = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state == ESTABLISHED

    def close(self, reason: str, retry_after: float | None = None) -> None:
        """End the connection after what was sent: no frame is taken any more, in either direction.

        The peer is told the reason, as far as its wire has words for it.  The second close is ignored.
        Does not switch: the connection's greenlet does the rest once its handler returns.

        Args:
            reason: for the peer, the session and the log.
            retry_after: seconds after which the peer may come back.
        """
        if self._reason is not None:
            return
        last_words = self.wire.bye(reason, retry_after)
        if last_words:
            self._limit = self._unsent  # they are never over the limit
            self.send(b"".join(last_words))
        self._seal()
        self._end(reason)

    def refuse(self, error: RequestError, patience: float = 0.0) -> None:
        """End a new connection with the reason why it may not stay, and when to come back.

        Args:
            error: the reason.
            patience: seconds for which its first frame is waited for, which tells how to say it.
        """
        self._refusal, self._patience = error, patience

    def make_room(self) -> None:
        """End a connection that has said nothing, without a word, for the sake of a newcomer."""
        self._seal()
        self._end("its room was needed")

    # -- What the supervision sees

    @property
    def is_stranger(self) -> bool:
        """True if nobody is logged in here."""
        return self.session is None or self.session.user is None

    def silent(self) -> bool:
        """Return True if the peer, of which nothing was heard, has shown no life since this was last asked.

        That is not known while it is paused or being served.  A peer that is too far behind is not read:
        then what it sends is counted, and so is what it takes.
        """
        if not self._idle or self._paused:
            return False
        if self._backlog is not None and self._held() and self._backlog.shows_life(self._sock, self._written):
            self.missed = 0
            return False
        return True

    @property
    def may_think(self) -> bool:
        """True if the peer may take its time to log in: it has said nothing yet, or a person types for it."""
        return self._is_unused or self.wire.unhurried

    @property
    def _is_unused(self) -> bool:
        """True if the peer has said nothing yet."""
        return self._opening is not None and self._opening.is_unused

    # -- The greenlet

    def run(self, open_session: OpenSession) -> None:
        """Serve the peer until the connection ends, for whatever cause, and close the socket."""
        self._greenlet = getcurrent()
        try:
            if self._refusal is not None:
                self._tell_refusal(self._refusal)
            elif self._reason is None:
                self.session = open_session(self, self.wire)
                self._read(self.session.receive)
        except Exception:
            HANDLER_ERRORS.value += 1
            logger.exception("%s: a bug in a handler ends this connection", self.address)
            self.close("evicted")
        finally:
            self._finish()

    def _read(self, receive: Callable[[bytes], None]) -> None:
        self._take(self._recv(), receive)  # TLS has already read what came with the end of its handshake
        while self._reason is None:
            self._wait()
            if self._held():
                self._settle()
            elif self._reason is None and (data := self._recv()):
                self._take(data, receive)
                self.heard = True
                if self._shaper is not None:
                    self._shape(self._shaper, len(data))

    def _tell_refusal(self, error: RequestError) -> None:
        """Wait for the first frame, but not for long; then tell in its wire why the peer may not stay."""
        requests: list[bytes] = []
        self._take(self._recv(), requests.append)
        if self._patience:
            self._while_waiting(lambda: bool(requests or self._reason), self._patience, requests.append)
        self._say(self.wire.refused(error, requests[0] if requests else None))
        self._seal()
        self._end(str(error))

    def _say(self, frames: Frames) -> None:
        for frame in frames:
            self.send(frame)

    def _take(self, data: bytes, receive: Callable[[bytes], None]) -> None:
        too_large: FrameTooLarge | None = None
        try:
            frames = self._framing.feed(data) if self._framing else self._hear(data)
        except FrameTooLarge as error:
            frames, too_large = error.frames, error
        except OtherProtocol:
            self._seal()
            self._end("another protocol")
            return
        self._handle(frames, receive)
        if too_large is not None:
            self._say(self.wire.failed(too_large, None, None))
            self.close("protocol")

    def _hear(self, data: bytes) -> list[bytes]:
        """Find out how the peer speaks; then return the frames of what it has said so far.

        Raises:
            FrameTooLarge, OtherProtocol: as for ``Opening.hear``.
        """
        assert self._opening is not None
        heard = self._opening.hear(data)
        if heard is None:
            return []
        (self._framing, self.wire), said = heard
        self._opening = None
        if self.session is not None:
            self.session.wire = self.wire
        if self.wire.pace:
            self.pace(self.wire.pace)
        return self._framing.feed(said)

    def _handle(self, frames: list[bytes], receive: Callable[[bytes], None]) -> None:
        for number, frame in enumerate(frames):
            if self._paused or self._unsent > BEHIND or (self._pacer and self._pacer.is_crowded):
                self._settle()
            elif number % FRAMES == FRAMES - 1:
                self._give_way()
            if self._reason is not None:
                return
            RECEIVED_FRAMES.value += 1
            receive(frame)

    def _recv(self) -> bytes:
        """Read a chunk; empty if there is none now, or (then the connection has a reason) ever."""
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            self._fail(error)
            return b""
        if not data:
            self._eof = True
            self._end("closed by peer")
        RECEIVED_BYTES.value += len(data)
        return data

    # -- The end

    def _finish(self) -> None:
        """Every connection ends here: tell the session first (the user is offline at once), then the peer."""
        self._end("stopped")  # without a reason so far only if the greenlet was killed
        reason = str(self._reason)
        user = self._leave(reason)
        try:
            self._linger(GRACE if user is not None else 0.0)
        finally:
            self._release()
            log_end(self.address, user, reason, self.opened)

    def _leave(self, reason: str) -> int | None:
        if self._opening is not None and not self._eof and not self._lost:
            self._opening.ended()
        session, self.session = self.session, None
        if session is None:
            return None
        user = session.user
        try:
            session.closed(reason)
        except Exception:
            HANDLER_ERRORS.value += 1
            logger.exception("%s: a bug in the end of a session", self.address)
        return user

    def _linger(self, grace: float) -> None:
        """See to it that the peer gets what was sent, then the end of the stream.

        Args:
            grace: seconds for replies that are still being made.
        """
        if self._eof and grace:
            self._discard_until(lambda: self._lost, grace)
        self._seal()
        self.flush()
        self._discard_until(lambda: not self._unsent, LINGER)
        if not self._lost:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:  # the peer was faster
                return
            if self._written or not self._is_unused:  # else nothing can be unread at either end
                self._discard_until(lambda: self._eof or self._lost, DISCARD)

    def _discard_until(self, over: Callable[[], bool], seconds: float) -> None:
        """Throw input away until ``over()``, or for so many seconds at most."""
        self._while_waiting(over, seconds, None)

    def _while_waiting(
        self, over: Callable[[], bool], seconds: float, receive: Callable[[bytes], None] | None
    ) -> None:
        """Read until ``over()``, for so many seconds at most; without ``receive`` throw away what comes."""
        timer = self._flusher.loop.timer(seconds)
        timer.start(self._wake)
        try:
            while timer.active and not over():
                if self._eof:
                    self._watcher.stop()  # the end of the stream stays readable
                    self._sleep()
                    continue
                self._wait()
                data = self._recv()
                if receive is not None and data:
                    self._take(data, receive)
        finally:
            timer.close()

    def _release(self) -> None:
        self._seal()
        self._drop_frames()
        self._end_backlog()
        if self._shaper is not None:
            self._shaper.end()
        self._watcher.stop()
        self._watcher.close()
        self._sock.close()
        CONNECTIONS_CLOSED.value += 1


def log_end(address: str, user: int | None, reason: str, opened: float) -> None:
    """Write the one line that the log has of a connection, whatever became of it."""
    logger.info("%s user=%s ended: %s after %.1f s", address, user or "-", reason, monotonic() - opened)

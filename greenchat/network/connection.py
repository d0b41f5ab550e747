"""One socket and its greenlet: read frames, hand them to the session, end in one place."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from greenchat.errors import RequestError
from greenchat.metrics import (
    CONNECTIONS_CLOSED,
    CONNECTIONS_OPENED,
    HANDLER_ERRORS,
    RECEIVED_BYTES,
    RECEIVED_FRAMES,
)
from greenchat.network.outbox import BEHIND, OUTBOX_LIMIT, Flusher, Outbox, Owner
from greenchat.network.reader import BY_SERVICE, BY_SUPERVISION, Reader
from greenchat.network.shaper import Shaper
from greenchat.network.silent import Stranger
from greenchat.network.tls import BrokenTls
from greenchat.network.transport import Transport
from greenchat.ports.peer import Peer
from greenchat.protocol.framing import Framing
from greenchat.protocol.lines import FrameTooLarge
from greenchat.protocol.wire import Frames, Opening, OtherProtocol, Speech, StreamEnded, Wire

logger = logging.getLogger(__name__)

CHUNK = 16_384
"""Bytes read from a peer in one turn of the loop, so that a flood is fair to the others."""

FRAMES = 64
"""Frames of a chunk that are handled in one turn.  Of the tiniest it holds thousands, which take 5 ms and
more, for each peer that floods."""

ESTABLISHED = 1
"""The state of a TCP connection (tcp(7), TCP_INFO) in which both ends may send."""

GRACE = 0.5
"""Seconds in which a peer that ended its half still gets replies that are being made (a commit).  Of
anonymous connections there are none: they can store nothing."""

LINGER = 5.0
"""Seconds in which the socket must take the queued frames once the connection is closed."""

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
        """Handle a frame, in the order received.  May switch.  Raises nothing for a fault of the peer."""

    def closed(self, reason: str) -> None:
        """The connection has ended; called exactly once, when no ``receive`` runs.  May switch."""


OpenSession = Callable[["Connection", Wire], Session]
"""Make the service's side of a connection, given how a client is spoken to that has said nothing yet."""


class Connection(Peer, Owner, Stranger):
    """A peer's connection.

    It holds the two halves, an outbox and a reader, and knows how both end.

    Args:
        sock: connected and non-blocking; the connection closes it.
        address: ``HOST:PORT`` of the peer.
        opened: when the peer came, on the monotonic clock.
        flusher: shared by all connections.
        opening: finds out how the peer speaks, or says it where that is known.
        outbox_limit: unsent bytes beyond which the peer is a slow consumer.
        shaper: says how much is read of it; None for any amount.
        encrypted: the peer speaks TLS: no person types what it sends.

    Attributes:
        outbox: the writing half.
        reader: the reading half.
        send: ``send(frame)`` queues a frame: the outbox's method itself, as every delivery passes here.
        session: the service's side; None before it is opened and once it is told of the end.
        missed: beats missed in a row.
        anonymous_since: when it was first seen not logged in; None while it is.
        wire: how the peer is spoken to; its first frame may change it.
    """

    # fmt: off
    __slots__ = ("_encrypted", "_eof", "_flusher", "_framing", "_opening", "_patience", "_reason",
                 "_refusal", "_sock", "address", "anonymous_since", "missed", "opened", "outbox", "reader",
                 "send", "session", "wire")
    # fmt: on

    address: str
    opened: float
    send: Callable[[bytes], None]

    def __init__(
        self,
        sock: Transport,
        address: str,
        opened: float,
        flusher: Flusher,
        opening: Opening | Speech,
        outbox_limit: int = OUTBOX_LIMIT,
        shaper: Shaper | None = None,
        encrypted: bool = False,
    ) -> None:
        self.outbox = Outbox(sock, flusher, outbox_limit, self)
        self.reader = Reader(sock, flusher, self.outbox, shaper)
        self.send = self.outbox.send
        self.address = address
        self.session: Session | None = None
        self.opened = opened
        self.missed = 0
        self.anonymous_since: float | None = opened
        self.wire = opening.wire
        self._sock = sock
        self._flusher = flusher
        self._opening: Opening | None = None
        self._framing: Framing | None = None
        self._encrypted = encrypted
        self._refusal: RequestError | None = None
        self._patience = 0.0
        self._eof = False
        self._reason: str | None = None
        if isinstance(opening, Speech):
            self._speak(opening)
        else:
            self._opening = opening
        CONNECTIONS_OPENED.value += 1

    # -- For the service (ports.Peer)

    @property
    def present(self) -> bool:
        """True if the peer has not ended its half.  It may have, and its last requests still wait."""
        if self._eof or self.outbox.lost:
            return False
        state: int = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state == ESTABLISHED

    def close(self, reason: str, retry_after: float | None = None) -> None:
        """End the connection after the frames sent so far; later frames are ignored, in either direction.

        The peer is told the reason, as far as its wire has words for it.  The second close is ignored.
        Does not switch: the connection's greenlet does the rest once its handler returns.

        Args:
            reason: for the peer, the session and the log.
            retry_after: seconds after which the peer may come back.
        """
        if self._reason is not None:
            return
        self._part(reason, self.wire.bye(reason, retry_after))

    def pause(self) -> None:
        """Read no more from the peer until ``resume``; frames that were read already wait too."""
        self.reader.pause(BY_SERVICE)

    def resume(self) -> None:
        """Read again."""
        self.reader.resume(BY_SERVICE)

    def when_written(self, call: Callable[[], None]) -> None:
        """Call back when all that was sent so far is with the socket (see ``Outbox.when_written``)."""
        self.outbox.when_written(call)

    def drain(self) -> bool:
        """Wait until all that was sent is with the socket (see ``Outbox.drain``).  May switch."""
        return self.outbox.drain()

    def has_room(self, frames: int, before: int = 0) -> bool:
        """Return True if an entry of so many frames may be sent now (see ``Outbox.has_room``)."""
        return self.outbox.has_room(frames, before)

    def drop_paced(self) -> None:
        """Drop the frames that wait for their turn at a paced peer."""
        self.outbox.drop_paced()

    # -- Called by the outbox

    def overflowed(self) -> None:
        """End the connection of a slow consumer."""
        self.close("slow_consumer")

    def broken(self, error: OSError) -> None:
        """End: the socket is broken."""
        self._end(_why(error))

    def wrote(self, eased: bool) -> None:
        """Go on reading a peer that has taken enough; one that is about to end may have taken everything."""
        if self._reason is not None:
            self.reader.wake()
        elif eased and not self.reader.paused:
            self.reader.heard = True
            self.reader.wake()

    def eased(self) -> None:
        """Go on reading a peer of which few enough frames wait for their turn."""
        self.reader.wake_soon()

    def refuse(self, error: RequestError, patience: float = 0.0) -> None:
        """End a new connection with the reason why it may not stay, and when to come back.

        Args:
            error: the reason.
            patience: seconds for which its first frame is waited for, which tells how to say it.
        """
        self._refusal, self._patience = error, patience

    def make_room(self) -> None:
        """End a connection that has sent nothing, without BYE, to make room for a new one."""
        self.outbox.seal()
        self._end("its room was needed")

    def _part(self, reason: str, last_words: Frames) -> None:
        if last_words:
            self.outbox.send_last(b"".join(last_words))
        self.outbox.seal()
        self._end(reason)

    # -- For the supervision of heartbeats

    @property
    def is_anonymous(self) -> bool:
        """True if nobody is logged in here."""
        return self.session is None or self.session.user is None

    def silent(self) -> bool:
        """Return True if the peer, of which nothing was heard, has shown no life since this was last asked.

        That is not known while it is paused or being served.  A peer that is too far behind is not read:
        then what it sends is counted, and so is what it takes.
        """
        if self.reader.busy or self.reader.paused:
            return False
        if self.outbox.holds_up and self.outbox.shows_life():
            self.missed = 0
            return False
        return True

    def take_no_more(self) -> None:
        """Let the request that is being handled be the last, until ``take_more``."""
        self.reader.pause(BY_SUPERVISION)

    def take_more(self) -> None:
        """Go on; nothing changes where ``take_no_more`` was not called."""
        if self.reader.paused & BY_SUPERVISION:
            self.reader.resume(BY_SUPERVISION)

    @property
    def may_think(self) -> bool:
        """True if the peer may take its time to log in: it has said nothing yet, or a person types for it."""
        return (self._is_unused or self.wire.unhurried) and not self._encrypted

    @property
    def _is_unused(self) -> bool:
        """True if the peer has said nothing yet."""
        return self._opening is not None and self._opening.is_unused

    # -- The greenlet

    def run(self, open_session: OpenSession) -> None:
        """Serve the peer until the connection ends, for whatever cause, and close the socket."""
        self.reader.begin()
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
        reader, outbox = self.reader, self.outbox
        # TLS may have read the first frames together with the end of its handshake.
        self._take(self._recv(), receive)
        while self._reason is None:
            reader.wait()
            # Nearly always there is input, and nothing to ask.
            if (reader.paused or outbox.is_behind or outbox.pacer is not None) and reader.held:
                reader.wait_until_free()
            elif self._reason is None and (data := self._recv()):
                self._take(data, receive)
                reader.heard = True
                if reader.shaper is not None:
                    reader.shape(len(data))

    def _tell_refusal(self, error: RequestError) -> None:
        """Wait for the first frame, but not for long; then tell in its wire why the peer may not stay."""
        requests: list[bytes] = []
        self._take(self._recv(), requests.append)
        if self._patience:
            self._while_waiting(lambda: bool(requests or self._reason), self._patience, requests.append)
        self._say(self.wire.refused(error, requests[0] if requests else None))
        self.outbox.seal()
        self._end(str(error))

    def _say(self, frames: Frames) -> None:
        for frame in frames:
            self.send(frame)

    def _take(self, data: bytes, receive: Callable[[bytes], None]) -> None:
        too_large: FrameTooLarge | None = None
        ended: StreamEnded | None = None
        try:
            frames = self._framing.feed(data) if self._framing else self._hear(data)
        except FrameTooLarge as error:
            frames, too_large = error.frames, error
        except StreamEnded as error:
            frames, ended = error.frames, error
        except OtherProtocol as other:
            self._say([other.answer] if other.answer else ())
            self.outbox.seal()
            self._end("another protocol")
            return
        reader, outbox = self.reader, self.outbox
        for number, frame in enumerate(frames):
            if reader.paused or outbox.unsent > BEHIND or outbox.pacer is not None:
                reader.wait_until_free()
            elif number % FRAMES == FRAMES - 1:
                reader.yield_turn()
            if self._reason is not None:
                return
            RECEIVED_FRAMES.value += 1
            receive(frame)
        if too_large is not None:
            self._say(self.wire.failed(too_large, None, None))
            self.close("protocol")
        elif ended is not None and self._reason is None:
            self._part(ended.reason, ended.last_words)

    def _hear(self, data: bytes) -> list[bytes]:
        """Find out which wire the peer speaks; then return the frames that it has sent so far.

        Raises:
            FrameTooLarge, OtherProtocol: as for ``Opening.hear``.
        """
        assert self._opening is not None
        heard = self._opening.hear(data)
        if heard is None:
            return []
        speech, said = heard
        self._opening = None
        self._speak(speech)
        if self.session is not None:
            self.session.wire = speech.wire
        return speech.framing.feed(said)

    def _speak(self, speech: Speech) -> None:
        self._framing, self.wire = speech
        if self.wire.pace:
            self.outbox.pace(self.wire.pace)

    def _recv(self) -> bytes:
        """Read a chunk; empty if there is none now, or (then the connection has a reason) ever."""
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            self.outbox.fail(error)
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
        session, self.session = self.session, None
        user = None if session is None else session.user
        try:
            if session is not None:
                session.closed(reason)
            if self._opening is not None and not self._eof and not self.outbox.lost:
                self._opening.ended()
        except Exception:
            HANDLER_ERRORS.value += 1
            logger.exception("%s: a bug in the end of a session", self.address)
        return user

    def _linger(self, grace: float) -> None:
        """Wait until the peer has the queued frames, then end the stream.

        Args:
            grace: seconds for replies that are still being made.
        """
        if self._eof and grace:
            self._discard_until(lambda: self.outbox.lost, grace)
        self.outbox.seal()
        self.outbox.flush()
        self._discard_until(lambda: not self.outbox.unsent, LINGER)
        if not self.outbox.lost:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:  # the peer was faster
                return
            if self.outbox.written or not self._is_unused:  # else nothing can be unread at either end
                self._discard_until(lambda: self._eof or self.outbox.lost, DISCARD)

    def _discard_until(self, over: Callable[[], bool], seconds: float) -> None:
        """Throw input away until ``over()``, or for so many seconds at most."""
        self._while_waiting(over, seconds, None)

    def _while_waiting(
        self, over: Callable[[], bool], seconds: float, receive: Callable[[bytes], None] | None
    ) -> None:
        """Read until ``over()``, for so many seconds at most; without ``receive`` discard the input."""
        timer = self._flusher.loop.timer(seconds)
        timer.start(self.reader.wake)
        try:
            while timer.active and not over():
                if self._eof:
                    self.reader.ignore_input()
                    self.reader.sleep()
                    continue
                self.reader.wait()
                data = self._recv()
                if receive is not None and data:
                    self._take(data, receive)
        finally:
            timer.close()

    def _release(self) -> None:
        self.outbox.release()
        self.outbox.disown()
        self.reader.close()
        self._sock.close()
        CONNECTIONS_CLOSED.value += 1

    def _end(self, reason: str) -> None:
        """Give the reason of the end (the first one counts) and let the greenlet see it."""
        if self._reason is None:
            self._reason = reason
            self.reader.ended = True
        self.reader.wake_soon()


def _why(error: OSError) -> str:
    if isinstance(error, BrokenTls):
        return f"TLS broken ({error})"
    return "timed out" if isinstance(error, TimeoutError) else "reset"


def log_end(address: str, user: int | None, reason: str, opened: float) -> None:
    """Write the one line that the log has of a connection, whatever became of it."""
    logger.info("%s user=%s ended: %s after %.1f s", address, user or "-", reason, monotonic() - opened)

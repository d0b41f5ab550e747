"""The sending half of a connection: queued frames, one send a turn of the loop, bounded memory."""

from __future__ import annotations

import fcntl
import logging
import struct
import termios
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple, Protocol

from gevent import get_hub
from gevent.event import Event

from greenchat.metrics import COUNTERS
from greenchat.protocol.framing import NEWLINE, NUL, FrameDecoder

logger = logging.getLogger(__name__)

OUTBOX_LIMIT = 1_048_576
"""Unsent bytes (the high-water mark) beyond which a peer is a slow consumer, by default."""

CLOSED = -1
"""The limit of an outbox that takes no more frames: every send is over it."""

READABLE, WRITABLE = 1, 2
"""The io events of libev that a read loop and a backlog wait for."""


class Transport(Protocol):
    """What a connection needs of its socket, which is a non-blocking one or something that acts like it.

    Attributes:
        in_flight: bytes that ``send`` has not counted as sent, but that cannot be taken back any more: the
            next ``send`` MUST begin with them.  A socket has none.
    """

    @property
    def in_flight(self) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes | memoryview, /) -> int: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...
    def getsockopt(self, level: int, option: int, size: int, /) -> Any: ...
    def fileno(self) -> int: ...


class Flusher:
    """Flush, at the end of each turn of the loop, the outboxes that got a frame in it.

    One ``send()`` a socket and turn, however many frames: five times the throughput of one each.
    """

    def __init__(self) -> None:
        self.hub = get_hub()
        self.loop = self.hub.loop
        self._dirty: list[Outbox] = []

    def add(self, outbox: Outbox) -> None:
        """Have an outbox flushed at the end of this turn."""
        if not self._dirty:
            self.loop.run_callback(self._flush)
        self._dirty.append(outbox)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for outbox in dirty:
            try:
                outbox.flush()
            except Exception:  # a bug in one must not keep the others from being flushed
                COUNTERS.handler_errors += 1
                logger.exception("a bug in writing to a peer")
                outbox.close("evicted")


class _Call(NamedTuple):
    """What is to be called when a batch is written; ``finally_`` says: also if it never is."""

    call: Callable[[], None]
    finally_: bool


class _Backlog:
    """A batch that is partly written; it, and its watcher, exist only while the peer is behind."""

    __slots__ = ("_input", "_seen", "_since", "calls", "data", "sent", "watcher")

    def __init__(self, data: bytes, sent: int, calls: list[_Call], loop: Any, sock: Transport) -> None:
        self.data = data
        self.sent = sent
        self.calls = calls
        self._input = 0  # bytes that wait unread, when last looked
        self._since = monotonic()  # when the peer took something, as far as is known
        self._seen = (-1, -1)
        self.watcher = loop.io(sock.fileno(), WRITABLE)

    def has_more_input(self, sock: Transport) -> bool:
        """Say whether more bytes from the peer wait to be read than when this was last asked."""
        before = self._input
        self._input = _ioctl(sock, termios.FIONREAD)
        return self._input > before

    def stuck(self, sock: Transport, now: float) -> float:
        """Return for how many seconds, as far as is known, the peer has taken nothing.

        The kernel is asked too: it says that it can be written to only when a third of its buffer is
        free, which a peer that takes little but steadily may need minutes for.
        """
        seen = (self.sent, _ioctl(sock, termios.TIOCOUTQ))
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since

    def cut(self, terminator: bytes, in_flight: int) -> int:
        """Drop the frames of which nothing is written or in flight; return the bytes left to write."""
        written = self.sent + in_flight
        if written and not self.data.endswith(terminator, 0, written):
            self.data = self.data[: self.data.index(terminator, written) + 1]
        else:
            self.data = self.data[:written]
        return len(self.data) - self.sent


class Outbox:
    """Queue frames for a socket and write them without ever blocking.

    The frames of a turn are a batch, written by one ``send()``.  What the socket does not take
    is written when it is writable again, and only then the next batch is made.

    Args:
        sock: what is written to; it never blocks.
        decoder: that of the same connection; its terminator is ours.
        flusher: shared by all connections.
        limit: the high-water mark, in bytes.
    """

    # fmt: off
    __slots__ = ("_backlog", "_calls", "_decoder", "_flusher", "_frames", "_limit", "_lost", "_sock",
                 "_unsent")
    # fmt: on

    def __init__(self, sock: Transport, decoder: FrameDecoder, flusher: Flusher, limit: int) -> None:
        self._sock = sock
        self._decoder = decoder
        self._flusher = flusher
        self._limit = limit
        self._frames: list[bytes] = []
        self._unsent = 0  # bytes of the frames and of the backlog
        self._backlog: _Backlog | None = None
        self._calls: list[_Call] | None = None  # for when the frames are written
        self._lost = False  # the socket is broken

    @property
    def classic(self) -> bool:
        """Whether the peer speaks the classic framing (NUL-ended frames); fixed by its first frame."""
        return self._decoder.terminator == NUL

    def send(self, frame: bytes) -> None:
        """Queue a frame, without its terminator.

        MUST NOT block, switch, reorder or raise.  Every delivery passes here.  The high-water
        mark is compared before the frame is counted, so that one frame of any size always fits.
        """
        if self._unsent > self._limit and not self._make_room():
            return
        self._unsent += len(frame) + 1
        frames = self._frames
        if not frames:
            self._flusher.add(self)
        frames.append(frame)

    def close(self, reason: str, retry_after: float | None = None) -> None:
        """End the connection.  The outbox asks for it with ``slow_consumer``."""
        raise NotImplementedError

    def when_written(self, call: Callable[[], None]) -> None:
        """Call back when all that was sent so far has been handed to the socket; never if it ends before.

        At once if nothing is unsent, and never on a closed connection, because what was sent last
        may have been dropped.  The callback must not switch.
        """
        if self._limit == CLOSED:
            return
        if self._unsent:
            self._add_call(_Call(call, finally_=False))
        else:
            call()

    def drain(self) -> bool:
        """Wait until all that was sent has been handed to the socket, or the connection ends.  May switch.

        Returns:
            Whether the connection still stands.
        """
        if self._unsent and self._limit != CLOSED:
            written = Event()
            self._add_call(_Call(written.set, finally_=True))
            written.wait()
        return self._limit != CLOSED

    def flush(self) -> None:
        """Hand the queued frames to the socket with one ``send()``, unless the peer is behind."""
        frames = self._frames
        if not frames or self._backlog is not None:
            return
        COUNTERS.frames_out += len(frames)
        frames.append(b"")  # so that the last frame is terminated too
        data = (self._decoder.terminator or NEWLINE).join(frames)
        frames.clear()
        sent = self._write(data)
        if self._lost:
            return
        self._unsent = len(data) - sent
        calls, self._calls = self._calls, None
        if self._unsent:
            self._backlog = _Backlog(data, sent, calls or [], self._flusher.loop, self._sock)
            self._backlog.watcher.start(self._writable)
        elif calls:
            _run(calls)

    def _writable(self) -> None:
        """Write on; the watcher calls this."""
        backlog = self._backlog
        assert backlog is not None
        sent = self._write(memoryview(backlog.data)[backlog.sent :])
        if self._lost:
            return
        backlog.sent += sent
        self._unsent -= sent
        if backlog.sent == len(backlog.data):
            self._end_backlog()
            _run(backlog.calls)
            self.flush()

    def _write(self, data: bytes | memoryview) -> int:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._fail(error)
            return 0
        COUNTERS.bytes_out += sent
        return sent

    def _fail(self, error: OSError) -> None:
        """The socket is broken: nothing more can be written or read."""
        self._lost = True
        self._seal()
        self._drop_frames()
        self._end_backlog()
        self._unsent = 0

    def stuck(self, now: float) -> float:
        """Return for how many seconds the peer has taken nothing of what waits for it.

        Args:
            now: seconds on the monotonic clock.
        """
        if self._backlog is None or self._limit == CLOSED:
            return 0.0
        return self._backlog.stuck(self._sock, now)

    def cut_off(self) -> None:
        """End the connection of a slow consumer.

        It MUST get whole frames: the one that is partly written, then BYE.
        """
        COUNTERS.slow_consumers += 1
        self._drop_frames()
        self._unsent = 0
        if self._backlog is not None:
            self._unsent = self._backlog.cut(self._decoder.terminator or NEWLINE, self._sock.in_flight)
            self._backlog.calls = [entry for entry in self._backlog.calls if entry.finally_]
            if not self._unsent:
                self._end_backlog()
        self.close("slow_consumer")

    def _seal(self) -> None:
        """Take no more frames; what is queued is still written, but nobody waits for it any more."""
        self._limit = CLOSED
        for calls in (self._calls, self._backlog and self._backlog.calls):
            _run([entry for entry in calls or () if entry.finally_])

    def _make_room(self) -> bool:
        """Say whether a frame may be queued all the same: the outbox is over its limit, or closed."""
        if self._limit == CLOSED:
            return False
        self.flush()
        if self._unsent <= self._limit:
            return True
        self.cut_off()
        return False

    def _drop_frames(self) -> None:
        self._frames.clear()
        self._calls = [entry for entry in self._calls or () if entry.finally_] or None

    def _end_backlog(self) -> None:
        if self._backlog is not None:
            self._backlog.watcher.stop()
            self._backlog.watcher.close()
            self._backlog = None

    def _add_call(self, entry: _Call) -> None:
        if self._backlog is not None and not self._frames:
            self._backlog.calls.append(entry)
        elif self._calls is None:
            self._calls = [entry]
        else:
            self._calls.append(entry)


def _ioctl(sock: Transport, request: int) -> int:
    """Ask the kernel for a number of bytes."""
    number: int = struct.unpack("i", fcntl.ioctl(sock, request, bytes(4)))[0]
    return number


def _run(calls: list[_Call]) -> None:
    for entry in calls:
        try:
            entry.call()
        except Exception:  # a bug in one must not keep the others from being flushed
            COUNTERS.handler_errors += 1
            logger.exception("a bug in a callback of when_written")

"""The sending half of a connection: queued frames, one send a turn of the loop, bounded memory."""

from __future__ import annotations

import fcntl
import logging
import struct
import termios
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, NamedTuple, Protocol

from gevent import get_hub
from gevent.event import Event

from greenchat.metrics import EVICTIONS, HANDLER_ERRORS, SENT_BYTES, SENT_FRAMES
from greenchat.network.pacer import Call, Pacer

logger = logging.getLogger(__name__)

OUTBOX_LIMIT = 1_048_576
"""Unsent bytes (the high-water mark) beyond which a peer is a slow consumer, by default."""

BATCH = 65_536
"""Bytes of frames that are joined for one ``send()``.  Frames are shared (a group's by its members), what
they are joined to is not: of a thousand peers that are behind, each would keep its own copy."""

CLOSED = -1
"""The limit of an outbox that takes no more frames: every send is over it."""

PACED = -2
"""The limit of an outbox whose frames go to its pacer: every send is over it too."""

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
                HANDLER_ERRORS.value += 1
                logger.exception("a bug in writing to a peer")
                outbox.close("evicted")


class _Call(NamedTuple):
    """What is to be called when so many bytes are written; ``finally_`` says: also if they never are."""

    call: Callable[[], None]
    written: int
    finally_: bool


class _Backlog:
    """Write state of a slow peer.  Created when ``send()`` would block, dropped when all is written."""

    __slots__ = ("_life", "_seen", "_since", "watcher")

    def __init__(self, loop: Any, sock: Transport, written: int) -> None:
        self._life = (0, written)  # bytes that wait unread, and bytes written, when last looked
        self._since = monotonic()  # when the peer took something, as far as is known
        self._seen = (-1, -1)
        self.watcher = loop.io(sock.fileno(), WRITABLE)

    def shows_life(self, sock: Transport, written: int) -> bool:
        """Return True if the peer has sent or taken anything since this was last asked.

        Once the kernel's buffer for what it sends is full, only what it takes shows.
        """
        before = self._life
        self._life = _ioctl(sock, termios.FIONREAD), written
        return self._life != before

    def stuck(self, sock: Transport, written: int, now: float) -> float:
        """Return for how many seconds, as far as is known, the peer has taken nothing.

        The kernel is asked too: it says that it can be written to only when a third of its buffer is
        free, which a peer that takes little but steadily may need minutes for.
        """
        seen = (written, _ioctl(sock, termios.TIOCOUTQ))
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since


class Outbox:
    """Queue frames for a socket and write them without ever blocking.

    The frames of a turn go with one ``send()``, or a few if they are many.  What the socket does not
    take stays queued, as the frames that it came in, until the socket is writable again.

    Args:
        sock: what is written to; it never blocks.
        flusher: shared by all connections.
        limit: the high-water mark, in bytes.
    """

    # fmt: off
    __slots__ = ("_backlog", "_calls", "_flusher", "_frames", "_limit", "_lost", "_pacer", "_sock",
                 "_unsent", "_written")
    # fmt: on

    def __init__(self, sock: Transport, flusher: Flusher, limit: int) -> None:
        self._sock = sock
        self._flusher = flusher
        self._limit = limit
        self._frames: list[bytes | memoryview] = []  # the rest of one that is partly written is a view
        self._unsent = 0  # bytes of the frames
        self._written = 0  # bytes ever
        self._backlog: _Backlog | None = None
        self._calls: deque[_Call] | None = None
        self._lost = False  # the socket is broken
        self._pacer: Pacer | None = None

    @property
    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return self._unsent

    def send(self, frame: bytes) -> None:
        """Queue a frame, complete with its terminator.

        MUST NOT block, switch, reorder or raise.  Every delivery passes here.  The high-water
        mark is compared before the frame is counted, so that one frame of any size always fits.
        """
        if self._unsent > self._limit and not self._make_room(frame):
            return
        self._unsent += len(frame)
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
        if self._pacer:
            self._pacer.when_written(call)
        elif self._unsent:
            self._add_call(call, finally_=False)
        else:
            call()

    def drain(self) -> bool:
        """Wait until all that was sent has been handed to the socket, or the connection ends.  May switch.

        Returns:
            True if the connection still stands.
        """
        if self._pacer:
            handed_out = Event()
            self._pacer.when_empty(handed_out.set)
            handed_out.wait()
        if self._unsent and self._limit != CLOSED:
            written = Event()
            self._add_call(written.set, finally_=True)
            written.wait()
        return self._limit != CLOSED

    def has_room(self, frames: int, before: int = 0) -> bool:
        """Return True if an entry of so many frames may be sent now; only a peer that is paced has a limit.

        Entries that have no room belong to the log: send them after ``drain``.

        Args:
            frames: of the entry.
            before: frames of other entries that are to be sent first.
        """
        return self._pacer is None or self._pacer.has_room(frames, before)

    def drop_paced(self) -> None:
        """Drop the frames that wait for their turn: they are for a user who has logged out."""
        if self._pacer is not None:
            self._pacer.drop()

    def pace(self, seconds: float) -> None:
        """Write one frame at a time from now on, with a pause of so many seconds after each."""
        self._pacer = Pacer(self._flusher.loop, seconds, self._write_paced, self._eased)
        if self._limit != CLOSED:
            self._limit = PACED

    def _eased(self) -> None:
        """The pacer is not crowded any more."""

    def _write_paced(self, frame: bytes, calls: list[Call]) -> bool:
        """Write a frame of the pacer by itself, unless the peer is behind."""
        if self._backlog is not None:
            return False
        self._unsent += len(frame)
        self._frames.append(frame)
        for call in calls:
            self._add_call(call, finally_=False)
        self.flush()
        return True

    def flush(self) -> None:
        """Hand the queued frames to the socket, unless the peer is behind."""
        if self._backlog is not None or not self._frames:
            return
        if not self._write_frames():
            self._backlog = _Backlog(self._flusher.loop, self._sock, self._written)
            self._backlog.watcher.start(self._writable)
        if self._calls:
            self._call_back(self._calls)

    def _writable(self) -> None:
        """Write on; the watcher calls this."""
        if self._write_frames():
            self._end_backlog()
        if self._calls:
            self._call_back(self._calls)

    def _write_frames(self) -> bool:
        """Write until nothing is left, or the socket takes no more: then return False."""
        frames = self._frames
        while frames:
            batch = frames if self._unsent <= BATCH else frames[: self._fewest(BATCH)]
            data = b"".join(batch)
            sent = self._write(data)
            if self._lost:
                return True
            self._unsent -= sent
            self._written += sent
            if sent < len(data):
                self._take_out(sent)
                return False
            SENT_FRAMES.value += len(batch)
            del frames[: len(batch)]
        return True

    def _fewest(self, size: int) -> int:
        """Return how many frames it takes to have so many bytes."""
        for count, frame in enumerate(self._frames):
            if size <= 0:
                return count
            size -= len(frame)
        return len(self._frames)

    def _take_out(self, sent: int) -> None:
        """Take out the frames that the socket took altogether, and of the next what it took."""
        frames = self._frames
        count = 0
        while sent >= len(frames[count]):
            sent -= len(frames[count])
            count += 1
        SENT_FRAMES.value += count
        del frames[:count]
        if sent:
            frames[0] = memoryview(frames[0])[sent:]

    def _write(self, data: bytes) -> int:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._fail(error)
            return 0
        SENT_BYTES.value += sent
        return sent

    def _fail(self, error: OSError) -> None:
        """The socket is broken: nothing more can be written or read."""
        self._lost = True
        self._seal()
        self._drop_frames()
        self._end_backlog()

    def stuck(self, now: float) -> float:
        """Return for how many seconds the peer has taken nothing of what waits for it.

        Args:
            now: seconds on the monotonic clock.
        """
        if self._backlog is None or self._limit == CLOSED:
            return 0.0
        return self._backlog.stuck(self._sock, self._written, now)

    def cut_off(self) -> None:
        """End the connection of a slow consumer.

        It MUST get whole frames: the one that is partly written, then BYE.
        """
        EVICTIONS.values["slow_consumer"] += 1
        is_begun = bool(self._frames) and isinstance(self._frames[0], memoryview)
        self._drop_frames(keep=max(is_begun, self._fewest(self._sock.in_flight)))
        if not self._frames:
            self._end_backlog()
        self.close("slow_consumer")
        self._seal()  # it may have been closed by the peer before

    def _seal(self) -> None:
        """Take no more frames; what is queued is still written, but nobody waits for it any more.

        What a pacer holds is dropped: it was delivered to nobody, and is in the log.
        """
        self._limit = CLOSED
        if self._pacer is not None:
            self._pacer.close()
        calls = self._calls or ()
        self._calls = deque(entry for entry in calls if not entry.finally_) or None
        _run([entry for entry in calls if entry.finally_])

    def _make_room(self, frame: bytes) -> bool:
        """Return True if a frame may be queued all the same: the outbox is over its limit, or closed."""
        if self._limit == CLOSED:
            return False
        if self._pacer is not None:
            self._pacer.add(frame)
            return False
        self.flush()
        if self._unsent > self._limit != CLOSED:
            self.cut_off()
        return self._limit != CLOSED

    def _drop_frames(self, keep: int = 0) -> None:
        """Drop all frames but the first few, and forget who waits for them."""
        del self._frames[keep:]
        self._unsent = sum(map(len, self._frames))
        self._calls = deque(entry for entry in self._calls or () if entry.finally_) or None

    def _end_backlog(self) -> None:
        if self._backlog is not None:
            self._backlog.watcher.stop()
            self._backlog.watcher.close()
            self._backlog = None

    def _add_call(self, call: Callable[[], None], *, finally_: bool) -> None:
        if self._calls is None:
            self._calls = deque()
        self._calls.append(_Call(call, self._written + self._unsent, finally_))

    def _call_back(self, calls: deque[_Call]) -> None:
        """Call those who wait for what is written now."""
        due = []
        while calls and calls[0].written <= self._written:
            due.append(calls.popleft())
        _run(due)


def _ioctl(sock: Transport, request: int) -> int:
    """Ask the kernel for a number of bytes."""
    number: int = struct.unpack("i", fcntl.ioctl(sock, request, bytes(4)))[0]
    return number


def _run(calls: Iterable[_Call]) -> None:
    for entry in calls:
        try:
            entry.call()
        except Exception:  # a bug in one must not keep the others from being flushed
            HANDLER_ERRORS.value += 1
            logger.exception("a bug in a callback of when_written")

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
from greenchat.network.transport import WRITABLE, Transport

logger = logging.getLogger(__name__)

OUTBOX_LIMIT = 1_048_576
"""Unsent bytes (the high-water mark) beyond which a peer is a slow consumer, by default."""

BATCH = 65_536
"""Bytes of frames that are joined for one ``send()``.  Frames are shared by the
members of a group, joined bytes are not: each of a thousand peers that are behind would keep a copy."""

CLOSED = -1
"""The limit of an outbox that takes no more frames: every send is over it."""

PACED = -2
"""The limit of an outbox whose frames go to its pacer: every send is over it too."""

BEHIND = 65_536
"""Unsent bytes above which a peer is not read: no more replies are made for it."""


class Owner(Protocol):
    """The connection that an outbox writes for, as the outbox calls it."""

    __slots__ = ()

    def overflowed(self) -> None:
        """The peer is a slow consumer: end the connection.  Frames are dropped already, BYE fits."""

    def broken(self, error: OSError) -> None:
        """The socket is broken: nothing more can be written or read.  Called once."""

    def wrote(self, eased: bool) -> None:
        """Something was written to a peer that was behind; ``eased``: it may be read again."""

    def eased(self) -> None:
        """The pacer's queue is short enough again for the peer to be read."""

    def close(self, reason: str) -> None:
        """End the connection after what was sent; called for an error in the outbox itself."""


class Flusher:
    """Flush, at the end of each turn of the loop, the outboxes that got a frame in it.

    One ``send()`` a socket and turn, however many frames: five times the throughput of one each.

    Attributes:
        hub: gevent's.
        loop: gevent's.
        dirty: the outboxes to flush; whoever adds the first one has the loop call ``flush``.
    """

    def __init__(self) -> None:
        self.hub = get_hub()
        self.loop = self.hub.loop
        self.dirty: list[Outbox] = []

    def flush(self) -> None:
        """Write the frames of the dirty outboxes; the loop calls this at the end of a turn."""
        # Taken first: a callback that sends makes its outbox dirty for the next turn.
        dirty, self.dirty = self.dirty, []
        for outbox in dirty:
            try:
                if not outbox.is_behind:
                    outbox.write()
            except Exception:  # a bug in one must not keep the others from being flushed
                HANDLER_ERRORS.value += 1
                logger.exception("a bug in writing to a peer")
                self.loop.run_callback(_evict, outbox)  # a bug in this is told by the loop


def _evict(outbox: Outbox) -> None:
    outbox.owner.close("evicted")


class _Call(NamedTuple):
    """A call that is due once so many bytes are written; with ``finally_`` also if they never are."""

    call: Callable[[], None]
    written: int
    finally_: bool


class SlowPeer:
    """Write state of a slow peer.  Created when ``send()`` would block, dropped when all is written."""

    __slots__ = ("_life", "_seen", "_since", "watcher")

    def __init__(self, loop: Any, sock: Transport, written: int) -> None:
        self._life = (0, written)  # bytes that wait unread, and bytes written, when last looked
        self._since = monotonic()  # when the peer took something, as far as is known
        self._seen = (-1, -1)
        self.watcher = loop.io(sock.fileno(), WRITABLE)

    def shows_life(self, sock: Transport, written: int) -> bool:
        """Return True if the peer has sent or taken anything since this was last asked.

        Once the kernel's receive buffer is full, only bytes that the peer takes can show it.
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

    The frames of a turn go with one ``send()``, or a few if they are many.  Frames that the
    socket does not take stay queued, as they are, until it is writable again.

    ===========  ======================================  ===============================================
    state        ``send`` puts a frame                   left by
    ===========  ======================================  ===============================================
    open         into the queue, for this turn's end     the socket takes only a part: behind
    behind       into the queue, for the watcher         all is written: open; over ``limit``: overflow
    paced        into the pacer, for its turn            the socket takes nothing: behind
    closed       nowhere                                 never; queued frames are still written
    ===========  ======================================  ===============================================

    Args:
        sock: the socket to write to; it never blocks.
        flusher: shared by all connections.
        limit: the high-water mark, in bytes.
        owner: the connection.

    Attributes:
        owner: the connection.
        lost: True once the socket is broken.
        unsent: bytes in the queue.
        written: bytes that the socket has taken, ever.
        is_behind: True while the socket takes less than is sent.
        pacer: for a peer that is sent one frame at a time; None for any other.
    """

    # fmt: off
    __slots__ = ("_backlog", "_calls", "_flusher", "_frames", "_limit", "_sock", "is_behind", "lost", "owner",
                 "pacer", "unsent", "written")
    # fmt: on

    def __init__(self, sock: Transport, flusher: Flusher, limit: int, owner: Owner) -> None:
        self.owner = owner
        self.lost = False
        self.unsent = 0
        self.written = 0
        self.is_behind = False
        self.pacer: Pacer | None = None
        self._sock = sock
        self._flusher = flusher
        self._limit = limit
        self._frames: list[bytes | memoryview] = []  # the rest of one that is partly written is a view
        self._backlog: SlowPeer | None = None
        self._calls: deque[_Call] | None = None

    @property
    def holds_up(self) -> bool:
        """True if so much is unsent that the peer should not be read: no more replies are made for it."""
        if self.pacer is not None and self.pacer.is_crowded:
            return True
        return self.is_behind and self.unsent > BEHIND

    def send(self, frame: bytes) -> None:
        """Queue a frame, complete with its terminator.

        MUST NOT block, switch, reorder or raise.  Every delivery passes here.  The high-water
        mark is compared before the frame is counted, so that one frame of any size always fits.
        """
        # One comparison for all rare cases: the limits of a closed and of a paced outbox are negative.
        if self.unsent > self._limit and not self._make_room(frame):
            return
        self.unsent += len(frame)
        frames = self._frames
        # If frames wait, this outbox is dirty already, or a watcher writes it.
        if not frames:
            flusher = self._flusher
            if not flusher.dirty:
                flusher.loop.run_callback(flusher.flush)
            flusher.dirty.append(self)
        frames.append(frame)

    def send_last(self, frame: bytes) -> None:
        """Queue the peer's last words, which are never over the limit."""
        # Full to the byte: this frame fits, as the limit is compared before it is counted; the next does not.
        self._limit = self.unsent
        self.send(frame)

    def when_written(self, call: Callable[[], None]) -> None:
        """Call back when all that was sent so far has been handed to the socket; never if it ends before.

        At once if nothing is unsent, and never on a closed connection, because its last frames may have
        been dropped.  The callback must not switch.
        """
        if self._limit == CLOSED:
            return
        if self.pacer:
            self.pacer.when_written(call)
        elif self.unsent:
            self._add_call(call, finally_=False)
        else:
            call()

    def drain(self) -> bool:
        """Wait until all that was sent has been handed to the socket, or the connection ends.  May switch.

        Returns:
            True if the connection still stands.
        """
        if self.pacer:
            # First the pacer, then the socket: the pacer's frames come into the queue one by one.
            handed_out = Event()
            self.pacer.when_empty(handed_out.set)
            handed_out.wait()
        if self.unsent and self._limit != CLOSED:
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
        return self.pacer is None or self.pacer.has_room(frames, before)

    def drop_paced(self) -> None:
        """Drop the frames in the pacer: their user has logged out."""
        if self.pacer is not None:
            self.pacer.drop()

    def pace(self, seconds: float) -> None:
        """Write one frame at a time from now on, with a pause of so many seconds after each."""
        self.pacer = Pacer(self._flusher.loop, seconds, self._write_paced, self.owner.eased)
        if self._limit != CLOSED:
            self._limit = PACED

    def _write_paced(self, frame: bytes, calls: list[Call]) -> bool:
        """Write a frame of the pacer by itself, unless the peer is behind."""
        if self.is_behind:
            return False
        self.unsent += len(frame)
        self._frames.append(frame)
        for call in calls:
            self._add_call(call, finally_=False)
        self.flush()
        return True

    def flush(self) -> None:
        """Hand the queued frames to the socket, unless the peer is behind."""
        if not self.is_behind:
            self.write()

    def _writable(self) -> None:
        """Write on; the watcher calls this."""
        held_up = self.holds_up
        self.write()
        self.owner.wrote(held_up and not self.holds_up)

    def write(self) -> None:
        """Write until nothing is left, or the socket takes no more: then the peer is behind."""
        frames = self._frames
        is_behind = False
        while frames and not is_behind:
            # Nearly always all of them: then the list is joined as it is.
            batch = frames if self.unsent <= BATCH else frames[: self._fewest(BATCH)]
            data = b"".join(batch)
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                is_behind = True
                break
            except OSError as error:
                self.fail(error)
                break
            SENT_BYTES.value += sent
            self.unsent -= sent
            self.written += sent
            # A short count means a full buffer: another ``send`` would only raise BlockingIOError.
            if sent < len(data):
                self._take_out(sent)
                is_behind = True
            else:
                SENT_FRAMES.value += len(batch)
                del frames[: len(batch)]
        if is_behind and not self.is_behind:
            self.is_behind = True
            self._backlog = SlowPeer(self._flusher.loop, self._sock, self.written)
            self._backlog.watcher.start(self._writable)
        elif self.is_behind and not is_behind:
            self._end_backlog()
        if self._calls:
            self._call_back(self._calls)

    def _fewest(self, size: int) -> int:
        """Return how many frames it takes to have so many bytes."""
        for count, frame in enumerate(self._frames):
            if size <= 0:
                return count
            size -= len(frame)
        return len(self._frames)

    def _take_out(self, sent: int) -> None:
        """Remove the bytes that the socket took from the queue: whole frames, and a part of the next."""
        frames = self._frames
        count = 0
        while sent >= len(frames[count]):
            sent -= len(frames[count])
            count += 1
        SENT_FRAMES.value += count
        del frames[:count]
        if sent:
            # A view: no copy of the rest, and a sign that the frame is begun (see ``cut_off``).
            frames[0] = memoryview(frames[0])[sent:]

    def fail(self, error: OSError) -> None:
        """Drop everything and tell the owner: the socket is broken."""
        self.lost = True
        self.release()
        self.owner.broken(error)

    def stuck(self, now: float) -> float:
        """Return for how many seconds the peer has taken nothing of its queued frames.

        Args:
            now: seconds on the monotonic clock.
        """
        if self._backlog is None or self._limit == CLOSED:
            return 0.0
        return self._backlog.stuck(self._sock, self.written, now)

    def shows_life(self) -> bool:
        """Return True if the peer, which is behind, has sent or taken anything since this was last asked."""
        return self._backlog is not None and self._backlog.shows_life(self._sock, self.written)

    def cut_off(self) -> None:
        """Drop the queue of a slow consumer, and have the owner end the connection.

        The peer MUST get whole frames: the one that is partly written, then BYE.
        """
        EVICTIONS.values["slow_consumer"] += 1
        is_begun = bool(self._frames) and isinstance(self._frames[0], memoryview)
        # TLS has encrypted the bytes in flight already, and takes nothing else before them.
        self._drop_frames(keep=max(is_begun, self._fewest(self._sock.in_flight)))
        if not self._frames:
            self._end_backlog()
        # Before ``seal``, so that BYE is still taken.
        self.owner.overflowed()
        self.seal()  # the connection may have been closed before

    def seal(self) -> None:
        """Take no more frames; queued frames are still written, but no caller waits for them any more.

        Frames in the pacer are dropped: they were delivered to nobody, and are in the log.
        """
        self._limit = CLOSED
        if self.pacer is not None:
            self.pacer.close()
        calls = self._calls or ()
        self._calls = deque(entry for entry in calls if not entry.finally_) or None
        _run([entry for entry in calls if entry.finally_])

    def release(self) -> None:
        """Take no more frames, and drop those that are queued."""
        self.seal()
        self._drop_frames()
        self._end_backlog()

    def disown(self) -> None:
        """Forget the owner, which has ended: a cycle of both would wait for the garbage collector."""
        del self.owner
        self.pacer = None  # it would call the owner

    def _make_room(self, frame: bytes) -> bool:
        """Return True if a frame may be queued all the same: the outbox is over its limit, or closed."""
        if self._limit == CLOSED:
            return False
        if self.pacer is not None:
            self.pacer.add(frame)
            return False
        self.flush()
        # The frames of this turn had not been offered to the socket: only their rest counts as a backlog.
        if self.unsent > self._limit != CLOSED:
            self.cut_off()
        return self._limit != CLOSED

    def _drop_frames(self, keep: int = 0) -> None:
        """Drop all frames but the first few, and the calls that are due when they are written."""
        del self._frames[keep:]
        self.unsent = sum(map(len, self._frames))
        self._calls = deque(entry for entry in self._calls or () if entry.finally_) or None

    def _end_backlog(self) -> None:
        if self._backlog is not None:
            self._backlog.watcher.stop()
            # libev keeps a watcher, and what it refers to, until it is closed.
            self._backlog.watcher.close()
            self._backlog = None
            self.is_behind = False

    def _add_call(self, call: Callable[[], None], *, finally_: bool) -> None:
        if self._calls is None:
            self._calls = deque()
        self._calls.append(_Call(call, self.written + self.unsent, finally_))

    def _call_back(self, calls: deque[_Call]) -> None:
        """Make the calls that are due by now."""
        due = []
        while calls and calls[0].written <= self.written:
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

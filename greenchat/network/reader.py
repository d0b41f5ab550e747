"""The reading half of a connection: when its greenlet reads, and the events that wake it where it waits."""

from __future__ import annotations

from time import monotonic
from typing import Any

from gevent import getcurrent

from greenchat.network.outbox import Flusher, Outbox
from greenchat.network.shaper import Shaper
from greenchat.network.transport import READABLE, Transport

BY_SERVICE, BY_SHAPER, BY_SUPERVISION, BY_TURN = 1, 2, 4, 8
"""Reasons for a pause.  A peer is read while there is none of them."""


class Reader:
    """Pauses and wakes the greenlet that reads a peer.

    One io watcher stays registered for the whole connection; it switches straight to the greenlet (a third
    of the cost of a socket of gevent's own).  So the greenlet may be switched to only where it waits here:
    in a handler it may be waiting for something else.

    Args:
        sock: the socket to read.
        flusher: has the loop.
        outbox: the writing half; a peer that is too far behind in taking replies is not read.
        shaper: limits how much is read of the peer; None for any amount.

    Attributes:
        heard: True if bytes came since the heartbeat supervision last looked.
        paused: the reasons for a pause, 0 if there is none.
        shaper: as given.
        ended: True once the connection has a reason to end: no wait lasts any longer.
    """

    # fmt: off
    __slots__ = ("_flusher", "_greenlet", "_idle", "_outbox", "_watcher", "ended", "heard", "paused",
                 "shaper")
    # fmt: on

    def __init__(self, sock: Transport, flusher: Flusher, outbox: Outbox, shaper: Shaper | None) -> None:
        self.heard = True
        self.paused = 0
        self.ended = False
        self._flusher = flusher
        self._outbox = outbox
        self.shaper = shaper
        self._watcher = flusher.loop.io(sock.fileno(), READABLE)
        self._greenlet: Any = None
        self._idle = False  # the greenlet waits in sleep, and only then may it be switched to

    def begin(self) -> None:
        """Take the current greenlet for the one that reads."""
        self._greenlet = getcurrent()

    def close(self) -> None:
        """Stop watching; the socket is about to be closed."""
        if self.shaper is not None:
            self.shaper.end()
        self._watcher.stop()
        self._watcher.close()

    # -- Pauses

    @property
    def busy(self) -> bool:
        """True if a request is being handled."""
        return not self._idle

    @property
    def held(self) -> bool:
        """True if the peer is not to be read now."""
        outbox = self._outbox
        return self.paused != 0 or ((outbox.is_behind or outbox.pacer is not None) and outbox.holds_up)

    def pause(self, reason: int) -> None:
        """Read no more until ``resume`` with the same reason; frames that were read already wait too."""
        self.paused |= reason

    def resume(self, reason: int) -> None:
        """Read again, unless there is another reason for a pause.  The pause was no silence of the peer."""
        self.paused &= ~reason
        self.heard = True
        self.wake_soon()

    def shape(self, size: int) -> None:
        """Pause for as long as it takes to make up for so many bytes, which were read."""
        assert self.shaper is not None
        seconds = self.shaper.take(size, monotonic())
        if seconds:
            self.paused |= BY_SHAPER
            self.shaper.timer = self._flusher.loop.timer(seconds)
            self.shaper.timer.start(self._end_shaping, self.shaper)

    def _end_shaping(self, shaper: Shaper) -> None:
        shaper.end()
        self.resume(BY_SHAPER)

    # -- The greenlet waits

    def wait(self) -> None:
        """Wait until there is input, or something has changed: ended, resumed, written."""
        watcher = self._watcher
        if not watcher.active:
            watcher.start(self._readable)
        self._idle = True
        try:
            self._flusher.hub.switch()
        finally:
            self._idle = False

    def wait_until_free(self) -> None:
        """Write the queued frames, then wait until the peer may be read, or the connection ends."""
        self._outbox.flush()
        while self.held and not self.ended:
            self.sleep()

    def yield_turn(self) -> None:
        """Let the other connections have their turn."""
        self.paused |= BY_TURN
        self._flusher.loop.run_callback(self._have_turn)
        while self.paused & BY_TURN and not self.ended:
            self.sleep()

    def sleep(self) -> None:
        """Wait until woken; input does not wake."""
        self._idle = True
        try:
            self._flusher.hub.switch()
        finally:
            self._idle = False

    def ignore_input(self) -> None:
        """Let input wake nobody until the next ``wait``: the end of a stream stays readable."""
        self._watcher.stop()

    def wake(self) -> None:
        """Switch to the greenlet, from the hub."""
        if self._idle:
            self._greenlet.switch()

    def wake_soon(self) -> None:
        """Wake the greenlet in the loop's next turn, from anywhere."""
        if self._idle:
            self._flusher.loop.run_callback(self.wake)

    def _have_turn(self) -> None:
        self.paused &= ~BY_TURN
        self.wake()

    def _readable(self) -> None:
        """Switch to the greenlet; the watcher calls this, again and again until the input is read."""
        if self._idle and (self.ended or not self.held):
            self._greenlet.switch()
        else:
            self._watcher.stop()  # it would spin; wait starts it again

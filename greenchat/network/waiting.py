"""The waits of a connection's greenlet: for input, for its turn, and until the peer may be read again."""

from __future__ import annotations

from time import monotonic
from typing import Any

from greenchat.network.outbox import READABLE, Flusher, Outbox, Transport
from greenchat.network.shaper import Shaper
from greenchat.network.tls import BrokenTls

BY_SERVICE, BY_SHAPER, BY_SUPERVISION, BY_TURN = 1, 2, 4, 8
"""Reasons for which a connection is paused.  It is read while it has none of them."""

BEHIND = 65_536
"""Unsent bytes above which a peer is not read: no more replies are made for it."""


class Waiting(Outbox):
    """An outbox with the greenlet that reads its peer, and the events that wake it where it waits.

    Args:
        sock, flusher, limit: as for an outbox.
        shaper: says how much is read of the peer; None for any amount.

    Attributes:
        heard: True if bytes came since the heartbeat supervision last looked.
    """

    __slots__ = ("_greenlet", "_idle", "_paused", "_reason", "_shaper", "_watcher", "heard")

    def __init__(self, sock: Transport, flusher: Flusher, limit: int, shaper: Shaper | None) -> None:
        super().__init__(sock, flusher, limit)
        self.heard = True
        self._watcher = flusher.loop.io(sock.fileno(), READABLE)
        self._greenlet: Any = None
        self._idle = False  # the greenlet waits in _sleep, and only then may it be switched to
        self._paused = 0
        self._shaper = shaper
        self._reason: str | None = None

    # -- Pauses

    def pause(self) -> None:
        """Read no more from the peer until ``resume``; frames that were read already wait too."""
        self._paused |= BY_SERVICE

    def resume(self) -> None:
        """Read again."""
        self._resume(BY_SERVICE)

    @property
    def busy(self) -> bool:
        """True if a request is being handled."""
        return not self._idle

    def take_no_more(self) -> None:
        """Let the request that is being handled be the last, until ``take_more``."""
        self._paused |= BY_SUPERVISION

    def take_more(self) -> None:
        """Go on; nothing changes where ``take_no_more`` was not called."""
        if self._paused & BY_SUPERVISION:
            self._resume(BY_SUPERVISION)

    # -- The greenlet waits

    def _shape(self, shaper: Shaper, size: int) -> None:
        """Read no more for as long as it takes to make up for what was read."""
        seconds = shaper.take(size, monotonic())
        if seconds:
            self._paused |= BY_SHAPER
            shaper.timer = self._flusher.loop.timer(seconds)
            shaper.timer.start(self._end_shaping, shaper)

    def _end_shaping(self, shaper: Shaper) -> None:
        shaper.end()
        self._resume(BY_SHAPER)

    def _resume(self, who: int) -> None:
        self._paused &= ~who
        self.heard = True
        self._wake_soon()

    def _held(self) -> bool:
        """Return True if the peer is not to be read now: it is paused, or behind."""
        if self._pacer and self._pacer.is_crowded:
            return True
        return self._paused != 0 or (self._backlog is not None and self._unsent > BEHIND)

    def _settle(self) -> None:
        """Wait until the peer may be read, or the connection is closed."""
        self.flush()
        while self._held() and self._reason is None:
            self._sleep()

    def _give_way(self) -> None:
        """Let the others have their turn."""
        self._paused |= BY_TURN
        self._flusher.loop.run_callback(self._have_turn)
        while self._paused & BY_TURN and self._reason is None:
            self._sleep()

    def _have_turn(self) -> None:
        self._paused &= ~BY_TURN
        self._wake()

    def _wait(self) -> None:
        """Wait until there is input, or something has changed: closed, resumed, written."""
        if not self._watcher.active:
            self._watcher.start(self._readable)
        self._sleep()

    def _sleep(self) -> None:
        self._idle = True
        try:
            self._flusher.hub.switch()
        finally:
            self._idle = False

    def _wake(self) -> None:
        """Switch to the greenlet from the hub, unless it waits in a handler: there it is not ours to wake."""
        if self._idle:
            self._greenlet.switch()

    def _wake_soon(self) -> None:
        if self._idle:
            self._flusher.loop.run_callback(self._wake)

    def _readable(self) -> None:
        """Wake the reader; the watcher calls this, again and again until the input is read."""
        if self._idle and (self._reason is not None or not self._held()):
            self._wake()
        else:
            self._watcher.stop()  # it would spin; the read loop starts it again

    def _eased(self) -> None:
        self._wake_soon()

    def _writable(self) -> None:
        held = self._held()
        super()._writable()
        if self._reason is not None:
            self._wake()
        elif held and not self._held():
            self.heard = True
            self._wake()

    def _fail(self, error: OSError) -> None:
        super()._fail(error)
        self._end(_why(error))

    def _end(self, reason: str) -> None:
        """Give the reason of the end (the first one counts) and let the greenlet see it."""
        if self._reason is None:
            self._reason = reason
        self._wake_soon()


def _why(error: OSError) -> str:
    if isinstance(error, BrokenTls):
        return f"TLS broken ({error})"
    return "timed out" if isinstance(error, TimeoutError) else "reset"

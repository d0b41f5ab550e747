"""Writes to a client that takes one ``recv`` for one message: one frame a ``send()``, with a pause after it.

Of frames that wait in the socket of such a client together, the first is read and the others are lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

ROOM = 16
"""Frames of entries that may wait for one client: half a second.  The others stay in the log, where a recall
and the leaving of a group find them.  One text may have up to 50 frames, and has room if nothing waits."""

CROWDED = 32
"""Waiting frames above which the client is not read: no more replies are made for it.  With ``ROOM`` and the
longest text this bounds the queue by 64 frames."""

Call = Callable[[], None]


class Pacer:
    """A queue of frames that are handed out one at a time.

    Args:
        loop: gevent's, for the timer.
        seconds: the pause after each frame.
        write: hands one frame to the socket, and makes the calls once the socket has it; returns False if
            the socket takes nothing now: the frame is tried again after the next pause.
        eased: called when the queue is not crowded any more.
    """

    __slots__ = ("_eased", "_on_empty", "_queue", "_timer", "_write")

    def __init__(
        self, loop: Any, seconds: float, write: Callable[[bytes, list[Call]], bool], eased: Call
    ) -> None:
        self._queue: deque[tuple[bytes, list[Call]]] = deque()
        self._on_empty: list[Call] = []
        self._timer = loop.timer(seconds, seconds)
        self._write = write
        self._eased = eased

    def __len__(self) -> int:
        """Return how many frames wait."""
        return len(self._queue)

    @property
    def is_crowded(self) -> bool:
        """True if so many frames wait that no more should be made."""
        return len(self._queue) > CROWDED

    def has_room(self, frames: int, before: int) -> bool:
        """Return True if an entry of so many frames may be added now, once ``before`` others are."""
        waiting = len(self._queue) + before
        return not waiting or waiting + frames <= ROOM

    def add(self, frame: bytes) -> None:
        """Queue a frame; it goes at once if the last one went long enough ago."""
        self._queue.append((frame, []))
        if not self._timer.active:
            self._hand_out()

    def when_written(self, call: Call) -> None:
        """Have a call made once the frame that was added last, which waits, has been handed to the socket."""
        self._queue[-1][1].append(call)

    def when_empty(self, call: Call) -> None:
        """Have a call made once no frame waits, or the queue is closed."""
        self._on_empty.append(call)

    def turn(self) -> None:
        """Hand out the next frame; the timer calls this after each pause."""
        if self._queue:
            self._hand_out()
        else:
            self._timer.stop()

    def drop(self) -> None:
        """Drop the frames that wait.  No call is made for them: they were not delivered."""
        was_crowded = self.is_crowded
        self._queue.clear()
        self._tell_empty()
        if was_crowded:
            self._eased()

    def close(self) -> None:
        """Drop the frames that wait, for good."""
        self._timer.stop()
        self._timer.close()
        self.drop()

    def _hand_out(self) -> None:
        # Before the write, which may close the queue.  Counted from now, not from the timer's last turn or
        # the beginning of the loop's: after a long one two frames would follow each other at once.
        self._timer.again(self.turn, update=True)
        frame, calls = self._queue[0]
        if self._write(frame, calls) and self._queue:  # a broken socket closes the queue
            self._queue.popleft()
            if len(self._queue) == CROWDED:
                self._eased()
        if not self._queue:
            self._tell_empty()

    def _tell_empty(self) -> None:
        calls, self._on_empty = self._on_empty, []
        for call in calls:
            call()

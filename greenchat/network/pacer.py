"""Writes to an original client: one frame a ``send()``, and the next one only after a pause.

Those clients take one ``recv`` for one message.  Of frames that wait in their socket together, the
first is read and the others are lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

PACE = 0.03
"""Seconds between two frames: at this pace the original clients that were tried read each one by itself."""

MOST = 64
"""Frames that wait for one client at most; a caller that has more keeps it in the log until there is room."""

CROWDED = 32
"""Waiting frames above which the client is not read: no more replies are made for it."""

Call = Callable[[], None]


class Pacer:
    """A queue of frames that are handed out one at a time.

    Args:
        loop: gevent's, for the timer.
        write: hands one frame to the socket, and runs the call once the socket has it; returns False if
            the socket takes nothing now: the frame is tried again after the next pause.
        eased: called when the queue is not crowded any more.
    """

    __slots__ = ("_eased", "_on_empty", "_queue", "_timer", "_write")

    def __init__(self, loop: Any, write: Callable[[bytes, Call | None], bool], eased: Call) -> None:
        self._queue: deque[tuple[bytes, Call | None]] = deque()
        self._on_empty: list[Call] = []
        self._timer = loop.timer(PACE, PACE)
        self._write = write
        self._eased = eased

    def __len__(self) -> int:
        """Return how many frames wait."""
        return len(self._queue)

    @property
    def is_crowded(self) -> bool:
        """True if so many frames wait that no more should be made."""
        return len(self._queue) > CROWDED

    def add(self, frame: bytes) -> None:
        """Queue a frame; it goes at once if the last one went long enough ago."""
        self._queue.append((frame, None))
        if not self._timer.active:
            self._hand_out()

    def when_written(self, call: Call) -> None:
        """Have a call made once the frame that was added last has been handed to the socket."""
        frame, _ = self._queue.pop()
        self._queue.append((frame, call))

    def when_empty(self, call: Call) -> None:
        """Have a call made once no frame waits, or the queue is closed."""
        self._on_empty.append(call)

    def turn(self) -> None:
        """Hand out the next frame; the timer calls this after each pause."""
        if self._queue:
            self._hand_out()
        else:
            self._timer.stop()

    def close(self) -> None:
        """Drop the frames that wait.  No call is made for them: they were not delivered."""
        self._timer.stop()
        self._timer.close()
        self._queue.clear()
        self._tell_empty()

    def _hand_out(self) -> None:
        # Before the write, which may close the queue.  Counted from now, not from the timer's last turn or
        # the beginning of the loop's: after a long one two frames would follow each other at once.
        self._timer.again(self.turn, update=True)
        frame, call = self._queue[0]
        if self._write(frame, call) and self._queue:  # a broken socket closes the queue
            self._queue.popleft()
            if len(self._queue) == CROWDED:
                self._eased()
        if not self._queue:
            self._tell_empty()

    def _tell_empty(self) -> None:
        calls, self._on_empty = self._on_empty, []
        for call in calls:
            call()

"""Bytes to frames: one JSON object a frame, ended by a terminator."""

from __future__ import annotations

from greenchat.errors import TooLarge
from greenchat.protocol.framing import Framing

NEWLINE = b"\n"

MAX_REQUEST_FRAME = 65_536
"""Bytes of a frame from a client, without its terminator (the default of ``max_frame``)."""

MAX_SERVER_FRAME = 1_048_576
"""Bytes of a frame from the server, without its terminator."""


class FrameTooLarge(TooLarge):
    """Raised if a frame is longer than its limit.

    Attributes:
        frames: the complete frames that came before it, still to be handled.
    """

    def __init__(self, limit: int, frames: list[bytes]) -> None:
        super().__init__(f"a frame may have {limit} bytes")
        self.frames = frames


class Lines(Framing):
    """Split a stream of bytes into frames, however the network cut or joined them.

    Empty frames are dropped.  Where the terminator is a newline, ``\\r\\n`` is accepted.

    Args:
        max_frame: bytes that a frame may have, its terminator (``\\r`` too) not counted.
        terminator: one byte, that ends each frame.
    """

    __slots__ = ("_max_frame", "_terminator", "tail")

    def __init__(self, max_frame: int = MAX_REQUEST_FRAME, terminator: bytes = NEWLINE) -> None:
        self._max_frame = max_frame
        self._terminator = terminator
        self.tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes from the peer and return the frames that are now complete, in order.

        Raises:
            FrameTooLarge: a frame is longer than ``max_frame``; the peer's fault.  The stream is
                of no use after it.
        """
        if self.tail:
            data = self.tail + data
        *frames, self.tail = data.split(self._terminator)
        if b"\r" in data and self._terminator == NEWLINE:
            frames = [frame.removesuffix(b"\r") for frame in frames]
        if len(data) > self._max_frame:
            self._check(frames)
        return list(filter(None, frames))

    def _check(self, frames: list[bytes]) -> None:
        for number, frame in enumerate([*frames, self.tail.removesuffix(b"\r")]):
            if len(frame) > self._max_frame:
                raise FrameTooLarge(self._max_frame, [frame for frame in frames[:number] if frame])

"""Bytes to frames: one JSON object a frame, ended by a newline or a NUL byte."""

from __future__ import annotations

from greenchat.errors import TooLarge

NEWLINE = b"\n"
NUL = b"\0"

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


class FrameDecoder:
    """Split a stream of bytes into frames, however the network cut or joined them.

    The terminator of the first frame fixes the framing: a newline (``\\r\\n`` is accepted), or
    NUL, which is the classic framing.  Empty frames are dropped, and before the first frame they
    fix nothing.

    Args:
        max_frame: bytes that a frame may have, its terminator (``\\r`` too) not counted.

    Attributes:
        terminator: ``b"\\n"`` or ``b"\\0"``; None until the first frame is complete.
    """

    __slots__ = ("_max_frame", "_tail", "terminator")

    def __init__(self, max_frame: int = MAX_REQUEST_FRAME) -> None:
        self._max_frame = max_frame
        self._tail = b""
        self.terminator: bytes | None = None

    @property
    def is_unused(self) -> bool:
        """True if the peer has said nothing yet but empty lines."""
        return self.terminator is None and not self._tail

    @property
    def unfinished(self) -> bytes:
        """The beginning of the frame that is not complete yet."""
        return self._tail

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes from the peer and return the frames that are now complete, in order.

        Raises:
            FrameTooLarge: a frame is longer than ``max_frame``; the peer's fault.  The stream is
                of no use after it.
        """
        if self._tail:
            data = self._tail + data
        if self.terminator is None:
            data = data.lstrip(b"\r\n\0")
            self.terminator = _first_terminator(data)
        if self.terminator is None:
            frames, self._tail = [], data
        else:
            *frames, self._tail = data.split(self.terminator)
        if b"\r" in data and self.terminator != NUL:
            frames = [frame.removesuffix(b"\r") for frame in frames]
        if len(data) > self._max_frame:
            self._check(frames)
        return [frame for frame in frames if frame]

    def _check(self, frames: list[bytes]) -> None:
        for number, frame in enumerate([*frames, self._tail.removesuffix(b"\r")]):
            if len(frame) > self._max_frame:
                raise FrameTooLarge(self._max_frame, [frame for frame in frames[:number] if frame])


def _first_terminator(data: bytes) -> bytes | None:
    ends = [(place, end) for end in (NEWLINE, NUL) if (place := data.find(end)) >= 0]
    return min(ends)[1] if ends else None

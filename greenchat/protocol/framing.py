"""The part of a connection that knows where a frame ends."""

from __future__ import annotations

from typing import Protocol


class Framing(Protocol):
    """Split a client's bytes into frames."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes from the client and return the frames that are now complete, in order.

        Raises:
            FrameTooLarge: a frame is longer than its limit; the client's fault.  The stream is of no use
                after it.
            StreamEnded: the client has ended the stream by its framing's own means, or has broken its rules.
            OtherProtocol: the client speaks another protocol.
        """

"""The beginning of a connection and what follows it, as the network hears them."""

from __future__ import annotations

from greenchat.protocol.classic.clients import ClassicClients
from greenchat.protocol.classic.wire import NUL, ClassicWire
from greenchat.protocol.lines import MAX_REQUEST_FRAME, NEWLINE, Lines
from greenchat.protocol.opening import TcpOpening
from greenchat.protocol.wire import Wire

ENDS = {True: NUL, False: NEWLINE}


class Ear:
    """Split a stream as a connection does.

    Attributes:
        wire: how the client speaks; None as long as its bytes have not told.
    """

    def __init__(self, max_frame: int = MAX_REQUEST_FRAME) -> None:
        self._opening = TcpOpening(ClassicClients(), "127.0.0.1:1", max_frame)
        self._framing: Lines | None = None
        self.wire: Wire | None = None

    @property
    def terminator(self) -> bytes | None:
        """The terminator of the frames; None as long as that is not known."""
        return None if self.wire is None else ENDS[isinstance(self.wire, ClassicWire)]

    @property
    def unfinished(self) -> bytes:
        """The beginning of the frame that is not complete yet."""
        return self._opening.said if self._framing is None else self._framing.tail

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the frames that are complete."""
        if self._framing is not None:
            return self._framing.feed(data)
        heard = self._opening.hear(data)
        if heard is None:
            return []
        (framing, self.wire), said = heard
        assert isinstance(framing, Lines)
        self._framing = framing
        return self._framing.feed(said)

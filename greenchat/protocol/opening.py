"""The beginning of a TCP connection: its first terminator tells how the client speaks."""

from __future__ import annotations

import re

from greenchat.errors import RequestError
from greenchat.protocol.classic.clients import ClassicClients
from greenchat.protocol.classic.dialects import ForeignDialect, check_beginning, is_message
from greenchat.protocol.classic.wire import NUL, ClassicWire
from greenchat.protocol.lines import NEWLINE, FrameTooLarge, Lines
from greenchat.protocol.native import NATIVE, Native
from greenchat.protocol.wire import Frames, Opening, OtherProtocol, Speech

REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^ \r\n]+ HTTP/[0-9](\.[0-9])?\r?\n")
"""The first line of an HTTP request (RFC 9112, 3)."""

EXPLANATION = b"This port is for chat clients. Web clients have a port of their own: the one of --web.\n"


class SpeaksHttp(OtherProtocol):
    """Raised if a client begins with a line of HTTP.

    A line of JSON in its body would be a request: a page anywhere could make a browser send it (a form with
    ``enctype=text/plain``), past the browser's own rules.
    """

    answer = (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%s" % (len(EXPLANATION), EXPLANATION)
    )


class TcpOpening(Native, Opening):
    """Take a client's bytes until its first frame is complete.

    A newline ends frames of the native wire, NUL those of the classic one.  Empty lines before the first
    frame tell nothing.  Until then the opening is the wire itself: a client that says nothing is told in
    the native wire why its connection ends.

    Args:
        clients: the state that the connections of classic clients share.
        address: ``HOST:PORT`` of the client.
        max_frame: bytes that a frame may have.

    Attributes:
        said: the bytes that came before the first frame was complete.
    """

    __slots__ = ("_address", "_clients", "_max_frame", "said")

    def __init__(self, clients: ClassicClients, address: str, max_frame: int) -> None:
        self._clients = clients
        self._address = address
        self._max_frame = max_frame
        self.said = b""

    # docs of the public methods: protocol.wire.Opening

    @property
    def wire(self) -> Native:
        return self

    @property
    def is_unused(self) -> bool:
        return not self.said

    def hear(self, data: bytes) -> tuple[Speech, bytes] | None:
        if not self.said:
            try:
                check_beginning(data)
            except ForeignDialect as dialect:
                self._clients.note_dialect(self._address, str(dialect))
                raise
            data = data.lstrip(b"\r\n\0")
        self.said += data
        newline, nul = self.said.find(NEWLINE), self.said.find(NUL)
        if newline >= 0 and not 0 <= nul < newline:
            if REQUEST_LINE.match(self.said):
                raise SpeaksHttp
            return Speech(Lines(self._max_frame), NATIVE), self.said
        if nul >= 0:
            classic = ClassicWire(self._clients, self._address)
            return Speech(Lines(self._max_frame, NUL), classic), self.said
        if len(self.said.removesuffix(b"\r")) > self._max_frame:
            raise FrameTooLarge(self._max_frame, [])
        return None

    def ended(self) -> None:
        if is_message(self.said):
            self._clients.note_dialect(self._address, "its messages have no terminator")

    def refused(self, error: RequestError, first: bytes | None) -> Frames:
        return NATIVE.refused(error, first)

    def bye(self, reason: str, retry_after: float | None) -> Frames:
        return () if is_message(self.said) else super().bye(reason, retry_after)

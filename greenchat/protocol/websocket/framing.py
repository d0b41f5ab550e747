"""Bytes to text messages: a client's frames (RFC 6455, 5 to 8), however the network cut or joined them.

===================  ==============================================  ======================================
state                what the next bytes are                         left by
===================  ==============================================  ======================================
between messages     the header of any frame but a continuation      a text frame that is not complete, or
                                                                     not final: within a message
within a message     a payload, or (``left`` is 0 between its        the end of its final frame: between
                     frames) the header of a continuation or of a    messages; its text is returned
                     control frame
===================  ==============================================  ======================================

Nearly all chunks are complete frames of whole messages: ``feed`` reads those itself.  A control frame is
waited for until it is complete; the payload of any other is unmasked and checked as it comes, so that what
is not UTF-8 is refused at its first wrong byte, and a message never takes more memory than its length.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import NamedTuple

from greenchat.errors import BadRequest, RequestError, TooLarge
from greenchat.protocol.framing import Framing
from greenchat.protocol.native import NATIVE
from greenchat.protocol.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FINAL,
    MASKED,
    NOT_TAKEN,
    NOT_UTF8,
    PING,
    PONG,
    PROTOCOL_ERROR,
    SHORT,
    TEXT,
    TOO_BIG,
    close_frame,
    control_frame,
)
from greenchat.protocol.websocket.wire import framed
from greenchat.protocol.wire import StreamEnded

FINAL_TEXT = FINAL | TEXT

MASK_BYTES = 4

LONGEST_HEAD = 8
"""Bytes of the header that a frame of up to 64 KiB has at most, its mask included."""

TWO_BYTES = SHORT + 1
"""In place of a length: it follows in two bytes (one more: in eight)."""

RESERVED = 0x70
"""The bits of extensions (RSV1 to 3)."""

OPCODES = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})

REGISTERED = frozenset({*range(1000, 1004), *range(1007, 1015)})
"""Close codes below 3000 that may stand in a close frame (RFC 6455, 7.4, and IANA's registry)."""

_int = int.from_bytes
_new_decoder = codecs.getincrementaldecoder("utf-8")


class _Violation(Exception):
    """Raised if a client breaks the protocol.

    Attributes:
        code: the close code.
        error: the error that it is told.
    """

    def __init__(self, code: int, error: RequestError) -> None:
        super().__init__(str(error))
        self.code = code
        self.error = error


class _Header(NamedTuple):
    """The header of a frame: its first byte and opcode, the length, mask and place of its payload."""

    first: int
    opcode: int
    size: int
    mask: bytes
    body: int

    @property
    def is_control(self) -> bool:
        """True for a ping, a pong or a close."""
        return self.opcode >= CLOSE


class _Message:
    """A message that is not complete.

    Attributes:
        text: what has come of it.
        mask: of the frame that is being read, turned to its next byte.
        left: bytes of that frame that are still to come.
        final: True if it is the last one of the message.
    """

    __slots__ = ("_decode", "final", "left", "mask", "text")

    def __init__(self) -> None:
        self.text = bytearray()
        self.mask = b""
        self.left = 0
        self.final = False
        self._decode = _new_decoder().decode

    def take(self, masked: bytes) -> bool:
        """Take some bytes of a frame's payload; return True once the message is complete.

        Raises:
            UnicodeDecodeError: it cannot become UTF-8 any more.
        """
        piece = unmask(masked, self.mask)
        turn = len(piece) % MASK_BYTES
        self.mask = self.mask[turn:] + self.mask[:turn]
        self.left -= len(piece)
        is_complete = self.final and not self.left
        self._decode(piece, is_complete)
        self.text += piece
        return is_complete


class WebSocketFraming(Framing):
    """Split a client's bytes into text messages, and answer its pings.

    Args:
        max_frame: bytes that a message may have, all of its fragments together.
        received: bytes that the client sent right behind its handshake.

    Attributes:
        answer: called with each frame that answers a ping; to be set before the first bytes come.
    """

    __slots__ = ("_max_frame", "_message", "_tail", "answer")

    answer: Callable[[bytes], None]

    def __init__(self, max_frame: int, received: bytes = b"") -> None:
        self._max_frame = max_frame
        self._tail = received  # the beginning of a header or control frame
        self._message: _Message | None = None

    @property
    def unfinished(self) -> int:
        """The number of bytes that are kept for messages and control frames that are not complete."""
        return len(self._tail) + (len(self._message.text) if self._message else 0)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes from the client and return the messages that are now complete, in order.

        Raises:
            StreamEnded: the client has closed the connection, or broken the protocol.
        """
        if self._tail:
            data, self._tail = self._tail + data, b""
        texts: list[bytes] = []
        at, end = 0, len(data)
        try:
            while at < end:
                # Nearly always a whole message in one frame is next: this reads it without another call.
                if data[at] == FINAL_TEXT and end - at > LONGEST_HEAD and self._message is None:
                    size, body = data[at + 1] - MASKED, at + 2 + MASK_BYTES
                    if size > SHORT:
                        size, body = _medium(data, at)
                    stop = body + size
                    if 0 <= size <= self._max_frame and stop <= end:
                        mask = (data[body - MASK_BYTES : body] * (size + 3 >> 2))[:size]
                        text = (_int(data[body:stop], "little") ^ _int(mask, "little")).to_bytes(
                            size, "little"
                        )
                        texts.append(text if text.isascii() else _checked(text))
                        at = stop
                        continue
                at = self._step(data, at, texts)
        except _Violation as violation:
            raise _ended(violation, texts) from None
        return texts

    def _step(self, data: bytes, at: int, texts: list[bytes]) -> int:
        """Read a part of a payload, or a header, or a whole control frame; return the place behind it."""
        message = self._message
        if message is None or not message.left:
            header = _header(data, at)
            if header is None or (header.is_control and len(data) < header.body + header.size):
                self._tail = data[at:]
                return len(data)
            if header.is_control:
                at = header.body + header.size
                self._control(header.opcode, unmask(data[header.body : at], header.mask), texts)
                return at
            at = header.body
            message = self._message = self._begin(header)
        stop = min(len(data), at + message.left)
        try:
            is_complete = message.take(data[at:stop])
        except UnicodeDecodeError:
            raise _not_utf8() from None
        if is_complete:
            self._message = None
            texts.append(bytes(message.text))
        return stop

    def _begin(self, header: _Header) -> _Message:
        """Return the message that a frame begins or continues."""
        message = self._message
        if (message is None) == (header.opcode == CONTINUATION):
            raise _broken(
                "a continuation frame continues nothing"
                if message is None
                else "a message begins before the end of another"
            )
        message = message or _Message()
        if len(message.text) + header.size > self._max_frame:
            raise _Violation(TOO_BIG, TooLarge(f"a message may have {self._max_frame} bytes"))
        message.final = bool(header.first & FINAL)
        message.left, message.mask = header.size, header.mask
        return message

    def _control(self, opcode: int, payload: bytes, texts: list[bytes]) -> None:
        if opcode == PING:
            self.answer(control_frame(PONG, payload))
        elif opcode == CLOSE:
            raise StreamEnded("closed by peer", texts, (close_frame(_close_code(payload)),))


def unmask(masked: bytes, mask: bytes) -> bytes:
    """Return a payload without its mask (or with it); ``mask`` has 4 bytes."""
    size = len(masked)
    repeated = (mask * (size + 3 >> 2))[:size]
    return (_int(masked, "little") ^ _int(repeated, "little")).to_bytes(size, "little")


# -- Headers


def _medium(data: bytes, at: int) -> tuple[int, int]:
    """Return size and place of a payload with a length of two bytes; a negative size if there is none."""
    size = data[at + 2] << 8 | data[at + 3]
    if data[at + 1] != MASKED | TWO_BYTES or size <= SHORT:
        return -1, at
    return size, at + 4 + MASK_BYTES


def _header(data: bytes, at: int) -> _Header | None:
    """Return the header at a place; None if it is not complete.

    Raises:
        _Violation: no frame of a client may begin with the bytes that are there.
    """
    first = data[at]
    opcode = first & 0x0F
    _check_first(first, opcode)
    if len(data) < at + 2:
        return None
    size = data[at + 1] - MASKED
    if size < 0:
        raise _broken("a frame of a client has to be masked")
    if opcode >= CLOSE and size > SHORT:
        raise _broken(f"a control frame may have {SHORT} bytes")
    more = 0 if size <= SHORT else 2 if size == TWO_BYTES else 8
    body = at + 2 + more + MASK_BYTES
    if len(data) < at + 2 + more:
        return None
    if more:
        size = _int(data[at + 2 : at + 2 + more], "big")
        if size <= SHORT or (more == 8 and size < 1 << 16) or size >> 63:
            raise _broken("the length of a frame has to be written as short as possible")
    return None if len(data) < body else _Header(first, opcode, size, data[body - MASK_BYTES : body], body)


def _check_first(first: int, opcode: int) -> None:
    """Check the first byte of a frame."""
    if first & RESERVED:
        raise _broken("a reserved bit is set, and no extension was agreed on")
    if opcode not in OPCODES:
        raise _broken(f"opcode {opcode} is reserved")
    if opcode >= CLOSE and not first & FINAL:
        raise _broken("a control frame may not be fragmented")
    if opcode == BINARY:
        raise _Violation(NOT_TAKEN, BadRequest("messages are texts: binary ones are not taken"))


def _close_code(payload: bytes) -> int | None:
    """Return the code of a close frame; None if it has none."""
    if not payload:
        return None
    code = _int(payload[:2], "big")
    if len(payload) == 1 or not (code in REGISTERED or 3000 <= code < 5000):
        raise _broken("the code of a close frame is not valid")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise _not_utf8() from None
    return code


# -- Violations


def _checked(text: bytes) -> bytes:
    """Return a text that is UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        raise _not_utf8() from None
    return text


def _broken(sentence: str) -> _Violation:
    return _Violation(PROTOCOL_ERROR, BadRequest(sentence))


def _not_utf8() -> _Violation:
    return _Violation(NOT_UTF8, BadRequest("a text has to be UTF-8"))


def _ended(violation: _Violation, texts: list[bytes]) -> StreamEnded:
    """Return the end of a connection whose client has broken the protocol, with all that it is told."""
    told = framed((*NATIVE.failed(violation.error, None, None), *NATIVE.bye("protocol", None)))
    return StreamEnded("protocol", texts, (*told, close_frame(violation.code, str(violation))))

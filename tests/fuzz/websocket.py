"""The framing of WebSocket: it hears the same however a stream is cut, and the same as a simple reader."""

from __future__ import annotations

from typing import NamedTuple

from greenchat.protocol.websocket.framing import WebSocketFraming
from greenchat.protocol.wire import StreamEnded
from tests.websocket import BINARY, CLOSE, PING, PONG, TEXT, frames_in

CODES = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}

KEPT = 140
"""Bytes that may be kept beside a message: a control frame that is not complete."""


class Said(NamedTuple):
    """The meaning of a stream.

    Attributes:
        texts: its messages.
        pongs: the answers to its pings.
        end: the code of the server's close frame, 0 for one without; None while it goes on.
    """

    texts: list[bytes]
    pongs: list[bytes]
    end: int | None


def websocket(data: bytes) -> None:
    """Cut a stream in different ways.

    The first byte says how long a message may be, the second where to cut.
    """
    if len(data) < 2:
        return
    limit, step, rest = 1 + data[0], 1 + data[1] % 32, data[2:]
    expected = _read_simply(rest, limit)
    for size in {1, step, len(rest) or 1}:
        assert _read(rest, limit, size) == expected, f"cut into pieces of {size}"


def _read(data: bytes, limit: int, size: int) -> Said:
    answers: list[bytes] = []
    framing = WebSocketFraming(limit)
    framing.answer = answers.append
    texts: list[bytes] = []
    end: int | None = None
    for start in range(0, len(data), size):
        try:
            texts += framing.feed(data[start : start + size])
        except StreamEnded as ended:
            texts += ended.frames
            *_, close = frames_in(b"".join(ended.last_words))
            assert close.opcode == CLOSE
            end = close.code or 0
            break
        assert framing.unfinished <= limit + KEPT, "more is kept than a message and a control frame"
    pongs = frames_in(b"".join(answers))
    assert all(pong.opcode == PONG for pong in pongs)
    return Said(texts, [pong.payload for pong in pongs], end)


class _Ended(Exception):
    """Raised at the end of a stream, with the code of the answer."""


def _read_simply(data: bytes, limit: int) -> Said:
    said = Said([], [], None)
    try:
        message: bytes | None = None
        while True:
            header = _header(data)
            if header is None:
                return said
            first, size, mask, data = header
            opcode, final = first & 15, first >= 128
            if opcode < 8:
                if (message is None) != (opcode == TEXT):
                    raise _Ended(1002)
                message = message or b""
                if len(message) + size > limit:
                    raise _Ended(1009)
            payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data[:size]))
            if opcode < 8:
                assert message is not None
                message += payload
                _check_utf8(message, final and len(payload) == size)
            if len(payload) < size:
                return said
            data = data[size:]
            if opcode == PING:
                said.pongs.append(payload)
            elif opcode == CLOSE:
                raise _Ended(_close_code(payload))
            elif opcode != PONG and final:
                assert message is not None
                said.texts.append(message)
                message = None
    except _Ended as ended:
        return said._replace(end=ended.args[0])


def _header(data: bytes) -> tuple[int, int, bytes, bytes] | None:
    """Return first byte, length, mask, and all that follows; None if it is not complete."""
    if not data:
        return None
    first, opcode = data[0], data[0] & 15
    if first & 0x70 or opcode not in {0, TEXT, BINARY, CLOSE, PING, PONG} or (opcode >= 8 and first < 128):
        raise _Ended(1002)
    if opcode == BINARY:
        raise _Ended(1003)
    if len(data) < 2:
        return None
    short = data[1] & 127
    if data[1] < 128 or (opcode >= 8 and short > 125):
        raise _Ended(1002)
    more = {126: 2, 127: 8}.get(short, 0)
    size = int.from_bytes(data[2 : 2 + more], "big") if more else short
    if len(data) < 2 + more:
        return None
    if more and (size < {2: 126, 8: 65_536}[more] or size >= 1 << 63):
        raise _Ended(1002)
    if len(data) < 6 + more:
        return None
    return first, size, data[2 + more : 6 + more], data[6 + more :]


def _check_utf8(text: bytes, is_whole: bool) -> None:
    if not is_whole and text[-2:-1] == b"\xed" and 0xA0 <= text[-1] <= 0xBF:
        text = text[:-2]  # half of a surrogate: Python's incremental decoder waits for its third byte
    try:
        text.decode()
    except UnicodeDecodeError as error:
        if is_whole or error.end < len(text) or error.reason != "unexpected end of data":
            raise _Ended(1007) from None


def _close_code(payload: bytes) -> int:
    if not payload:
        return 0
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or code not in CODES:
        return 1002
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return 1007
    return code

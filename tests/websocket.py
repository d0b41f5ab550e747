"""WebSocket as a client writes and reads it, for tests: it shares no code with the server's."""

from __future__ import annotations

import struct
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

MASK = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    """A frame of the server."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """The code of a close frame; None if it has none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


def masked(opcode: int, payload: bytes = b"", *, final: bool = True, bits: int = 0) -> bytes:
    """Return a frame of a client; ``bits`` are the reserved ones (1 to 7)."""
    size = len(payload)
    head = bytes([final << 7 | bits << 4 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += b"\xfe" + struct.pack(">H", size)
    else:
        head += b"\xff" + struct.pack(">Q", size)
    key = int.from_bytes((MASK * (size // 4 + 1))[:size], "big")
    return head + MASK + (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")


def frames_in(data: bytes) -> list[Frame]:
    """Return the frames of a server."""
    frames, rest = read(data)
    assert not rest
    return frames


def read(data: bytes) -> tuple[list[Frame], bytes]:
    """Return the frames of a server that are complete, and the rest of the bytes."""
    frames = []
    while len(data) >= 2:
        assert data[0] & 0xF0 == 0x80, "a frame is final, and has no reserved bits"
        assert data[1] < 128, "a frame is not masked"
        more = {126: 2, 127: 8}.get(data[1], 0)
        size = int.from_bytes(data[2 : 2 + more], "big") if more else data[1]
        end = 2 + more + size
        if len(data) < end:
            break
        frames.append(Frame(data[0] & 0x0F, data[2 + more : end]))
        data = data[end:]
    return frames, data

"""WebSocket as the lab's clients write and read it; like all of the lab it shares no code with the server."""

from __future__ import annotations

import os
from base64 import b64encode

CONTINUATION, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10

MASK = b"\xa5\x5a\x3c\xc3"
"""Of all frames: a random one each would cost the load time, and costs the server the same as this one."""


def upgrade_request(host: str = "localhost") -> bytes:
    """Return the request with which a client comes."""
    key = b64encode(os.urandom(16)).decode()
    return (
        f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


def masked(payload: bytes, opcode: int = TEXT, *, final: bool = True) -> bytes:
    """Return a frame of a client with less than 64 KiB."""
    size = len(payload)
    first = opcode | (0x80 if final else 0)
    head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0xFE)) + size.to_bytes(2, "big")
    mask = int.from_bytes((MASK * (size // 4 + 1))[:size], "big")
    return head + MASK + (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")


def frames_in(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return the opcodes and payloads of the complete frames of a server, and what comes behind them."""
    frames: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while end - at >= 2:
        size, body = data[at + 1], at + 2
        if size > 125:
            body += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : body], "big")
        if body + size > end:
            break
        frames.append((data[at] & 0x0F, data[body : body + size]))
        at = body + size
    return frames, data[at:]

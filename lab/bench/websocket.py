"""The load's connections over WebSocket: the same lines, each in a frame of its own."""

from __future__ import annotations

import os
import socket
from base64 import b64encode

from lab.bench.loop import Connection, Heard, LoadError, Loop

MASK = b"\xa5\x5a\x3c\xc3"
"""Of all frames: a random one each would cost the load time, and costs the server the same as this one."""

PING = 0x89
PONG_FRAME = b"\x8a\x80" + MASK


class WebSocketConnection(Connection):
    """A connection that begins with the upgrade, and answers pings in place of sending heartbeats.

    Lines are given to ``send``, and come in batches, as of any other.
    """

    __slots__ = ("_is_open",)

    def __init__(self, loop: Loop, sock: socket.socket, heard: Heard) -> None:
        super().__init__(loop, sock, heard)
        self._is_open = False
        key = b64encode(os.urandom(16)).decode()
        super().send(
            (
                "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            ).encode()
        )

    def send(self, data: bytes) -> None:
        super().send(b"".join(map(_masked, data.splitlines())))

    def beat(self) -> None:
        """Send nothing: the server asks."""

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        if not self._is_open:
            head, blank, data = data.partition(b"\r\n\r\n")
            if not blank:
                return b"", head
            if not head.startswith(b"HTTP/1.1 101 "):
                raise LoadError(f"no upgrade to WebSocket: {head[:100]!r}")
            self._is_open = True
        lines: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= 2:
            size, body = data[at + 1], at + 2
            if size > 125:
                body += 2 if size == 126 else 8
                size = int.from_bytes(data[at + 2 : body], "big")
            if body + size > end:
                break
            if data[at] == PING:
                super().send(PONG_FRAME)
            else:
                lines.append(data[body : body + size])
            at = body + size
        return b"\n".join([*lines, b""]), data[at:]


def _masked(line: bytes) -> bytes:
    """Return a line of less than 64 KiB as a text frame."""
    size = len(line)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    mask = int.from_bytes((MASK * (size // 4 + 1))[:size], "big")
    return head + MASK + (int.from_bytes(line, "big") ^ mask).to_bytes(size, "big")

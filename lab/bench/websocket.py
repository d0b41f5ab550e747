"""The load's connections over WebSocket: the same lines, each in a frame of its own."""

from __future__ import annotations

import socket

from lab.bench.loop import Connection, Heard, LoadError, Loop
from lab.websocket import PING, PONG, TEXT, frames_in, masked, upgrade_request


class WebSocketConnection(Connection):
    """A connection that begins with the upgrade, and answers pings in place of sending heartbeats.

    Lines are given to ``send``, and come in batches, as of any other.
    """

    __slots__ = ("_is_open",)

    def __init__(self, loop: Loop, sock: socket.socket, heard: Heard) -> None:
        super().__init__(loop, sock, heard)
        self._is_open = False
        super().send(upgrade_request())

    def send(self, data: bytes) -> None:
        super().send(b"".join(map(masked, data.splitlines())))

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
        frames, rest = frames_in(data)
        for opcode, payload in frames:
            if opcode == PING:
                super().send(masked(payload, PONG))
        lines = [payload for opcode, payload in frames if opcode == TEXT]
        return b"\n".join([*lines, b""]), rest

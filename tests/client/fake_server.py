"""A server that sends only the frames that the test gives it, for cases that a real one seldom makes."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
from typing import Any

from greenchat.protocol.messages import MsgId

DEADLINE = 60.0
"""Seconds after which a test that waits has failed."""

TIME = "2026-11-23T05:20:00.123Z"
UNASKED = (MsgId.HEARTBEAT, MsgId.RECEIVED)


class Peer:
    """One accepted connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._lines = sock.makefile("rb")

    def do_handshake(self) -> None:
        """Echo the heartbeat of the client's handshake."""
        assert self.next() == {"msgid": MsgId.HEARTBEAT}
        self.send({"msgid": int(MsgId.HEARTBEAT)})

    def next(self) -> dict[str, Any]:
        """Return the next frame."""
        line = self._lines.readline()
        assert line, "the client ended the connection"
        frame: dict[str, Any] = json.loads(line)
        return frame

    def get(self, msgid: int) -> dict[str, Any]:
        """Return the next frame of this msgid, passing over heartbeats and RECEIVED; fail at another."""
        while (frame := self.next())["msgid"] != msgid:
            assert frame["msgid"] in UNASKED, frame
        return frame

    def next_request(self) -> dict[str, Any]:
        """Return the next frame that is no heartbeat or RECEIVED."""
        while (frame := self.next())["msgid"] in UNASKED:
            pass
        return frame

    def send(self, *frames: dict[str, Any]) -> None:
        """Send frames in one segment."""
        self.raw(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames))

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self._sock.sendall(data)

    def ack(self, request: dict[str, Any], **fields: Any) -> None:
        """Acknowledge a request."""
        self.send({"msgid": 11, "re": request["msgid"], "errno": 0, "cid": request["cid"], **fields})

    def stored(self, request: dict[str, Any], seq: int) -> None:
        """Acknowledge a message."""
        self.ack(request, seq=seq, time=TIME)

    def refuse(self, request: dict[str, Any], errno: int, error: str, **fields: Any) -> None:
        """Answer with an error."""
        self.ack(request, **{"errno": errno, "error": error, "errmsg": f"it is {error}", **fields})

    def welcome(self, **fields: Any) -> dict[str, Any]:
        """Let the client log in as user 1, and return its LOGIN."""
        login = self.get(MsgId.LOGIN)
        reply = {
            "msgid": 2,
            "errno": 0,
            "id": 1,
            "name": "ann",
            "token": "T1",
            "server": "fake",
            "heartbeat": {"interval": 60.0, "max_missed": 5},
            "friends": [],
            "groups": [],
            "offlinemsg": [],
            "more": False,
            "cid": login["cid"],
        }
        self.send(reply | fields)
        return login

    def rest(self) -> list[dict[str, Any]]:
        """Return all frames until the client ends the connection."""
        return [json.loads(line) for line in self._lines]

    def echo(self) -> None:
        """Echo heartbeats until the client ends the connection."""
        for frame in map(json.loads, self._lines):
            if frame["msgid"] == MsgId.HEARTBEAT:
                self.send(frame)

    def at_end(self) -> bool:
        """Wait for the client to end the connection, passing over its frames; return True."""
        self.rest()
        return True

    def close(self) -> None:
        """End the connection in order."""
        self._sock.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._sock.close()

    def detach(self) -> socket.socket:
        """Return the bare socket, without TLS; this peer is of no use after it."""
        return socket.socket(fileno=self._sock.detach())

    def cut_half_way(self, data: bytes) -> None:
        """End the connection within a frame."""
        self.raw(data)
        self.close()

    def cut(self) -> None:
        """Break the connection with a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._lines.close()
        self._sock.close()


class FakeServer:
    """Listen on a free port; the test accepts the connections.

    Args:
        tls: of a server, for connections with TLS.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE)
        self._peers: list[Peer] = []
        self.port: int = self._listener.getsockname()[1]

    def accept(self) -> Peer:
        """Wait for the next connection."""
        sock = self._listener.accept()[0]
        sock.settimeout(DEADLINE)
        self._peers.append(Peer(self._tls.wrap_socket(sock, server_side=True) if self._tls else sock))
        if not self._tls:
            self._peers[-1].do_handshake()
        return self._peers[-1]

    def close(self) -> None:
        """Stop listening, and end all connections."""
        self._listener.close()
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.close()


def chat_from(sender: int, seq: int, text: str = "hi", **fields: Any) -> dict[str, Any]:
    """Return a message of a user to user 1."""
    return {
        "msgid": 6,
        "id": sender,
        "name": f"user{sender}",
        "toid": 1,
        "msg": text,
        "seq": seq,
        "time": TIME,
        **fields,
    }

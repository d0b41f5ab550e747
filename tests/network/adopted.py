"""A client on WebSocket whose connection was taken over, with a fake service; all in one process."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from gevent import socket

from greenchat.network.acceptor import PlainSocket
from greenchat.network.connections import Connections
from greenchat.protocol.websocket.frames import text_frame
from greenchat.protocol.websocket.wire import WebSocketWire
from tests.network.support import FakeService, FakeSession
from tests.websocket import Frame, frames_in, read

Handler = Callable[[FakeSession, bytes], None]


def echo(session: FakeSession, frame: bytes) -> None:
    session.peer.send(text_frame(frame))


class Adopted:
    """A client on one end of a TCP connection, whose other end ``Connections`` has taken over."""

    def __init__(self, connections: Connections, service: FakeService, received: bytes = b"") -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.sock = socket.create_connection(listener.getsockname())
        self._buffer = b""
        accepted, _ = listener.accept()
        listener.close()
        theirs = PlainSocket(fileno=accepted.detach())
        theirs.setblocking(False)
        address = f"127.0.0.1:{self.sock.getsockname()[1]}"
        connections.admission.enter(address)
        wire = WebSocketWire(10.0, 5)
        connections.adopt(theirs, address, monotonic(), received, wire, service.open_session)
        self.session: FakeSession = service.sessions.get()

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(frames))

    def frames(self, number: int) -> list[Frame]:
        """Read so many frames."""
        found: list[Frame] = []
        while len(found) < number:
            more, self._buffer = read(self._buffer)
            found += more
            if len(found) < number:
                part = self.sock.recv(65_536)
                assert part, found
                self._buffer += part
        return found

    def rest(self) -> list[Frame]:
        """Read to the end of the stream."""
        while part := self.sock.recv(65_536):
            self._buffer += part
        return frames_in(self._buffer)


Adopt = Callable[..., Adopted]

"""A blocking connection without TLS, with the greeting that shows that the server is greenchat."""

from __future__ import annotations

import socket

from greenchat.client.core.greeting import (
    HEARTBEAT_LINE,
    MAX_ANSWER,
    NO_ANSWER,
    SILENT,
    Greeting,
    WrongProtocol,
)


class PlainClientSocket(socket.socket):
    """A blocking socket; ``recv`` returns the bytes that the greeting has read first."""

    _ahead = b""

    def do_handshake(self) -> None:
        """Exchange a heartbeat.

        Raises:
            WrongProtocol: the server does not answer, or not with a frame.
        """
        greeting = Greeting()
        try:
            self.sendall(HEARTBEAT_LINE)
            while not greeting.feed(super().recv(MAX_ANSWER)):
                pass
        except WrongProtocol:
            raise
        except TimeoutError:
            raise WrongProtocol(SILENT) from None
        except OSError:  # OpenSSL resets a connection that does not begin with TLS
            raise WrongProtocol(NO_ANSWER) from None
        self._ahead = greeting.received

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return the bytes of the greeting once, then those that come."""
        ahead, self._ahead = self._ahead, b""
        return ahead or super().recv(size, flags)

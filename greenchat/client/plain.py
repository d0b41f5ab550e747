"""A connection without TLS: a handshake shows that the server is greenchat before a password is sent."""

from __future__ import annotations

import socket

import simplejson

from greenchat.protocol.lines import NEWLINE
from greenchat.protocol.msgids import MsgId

HEARTBEAT_LINE = b'{"msgid":%d}\n' % MsgId.HEARTBEAT
"""First line of the client; a server echoes it, also before a login."""

MAX_ANSWER = 65_536
"""Bytes of the server's first frame, at most."""


class WrongProtocol(OSError):
    """Raised if the server does not answer in clear: it may require TLS, or be another program."""


class PlainClientSocket(socket.socket):
    """A blocking socket with a handshake; ``recv`` returns the bytes that the handshake has read first."""

    _ahead = b""

    def do_handshake(self) -> None:
        """Exchange a heartbeat.  Without it a password could go in clear to a port that expects TLS.

        Raises:
            WrongProtocol: the server does not answer, or not with a frame.
        """
        try:
            self.sendall(HEARTBEAT_LINE)
            answer = self._read_answer()
        except TimeoutError:
            raise WrongProtocol("the server does not answer") from None
        except OSError:  # OpenSSL resets a connection that does not begin with TLS
            answer = b""
        if not answer:
            raise WrongProtocol("the server closed the connection without an answer")
        if not _begins_with_frame(answer):
            raise WrongProtocol("the server does not speak greenchat's protocol")
        self._ahead = answer  # may hold more frames, or an ERROR that refuses the connection

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return the bytes of the handshake once, then those that come."""
        ahead, self._ahead = self._ahead, b""
        return ahead or super().recv(size, flags)

    def _read_answer(self) -> bytes:
        """Return the first bytes, up to the end of a frame, or to the first that cannot begin one."""
        answer = b""
        while NEWLINE not in answer.lstrip() and len(answer) <= MAX_ANSWER:
            data = super().recv(MAX_ANSWER)
            answer += data
            if not data or answer.lstrip()[:1] not in (b"", b"{"):
                break
        return answer


def _begins_with_frame(data: bytes) -> bool:
    first = data.lstrip().partition(NEWLINE)[0]
    try:
        frame = simplejson.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(frame, dict) and "msgid" in frame

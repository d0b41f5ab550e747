"""A connection without TLS, on which nothing secret is sent before the server has shown that it is ours."""

from __future__ import annotations

import socket

import simplejson

from greenchat.protocol.lines import NEWLINE
from greenchat.protocol.messages import MsgId

GREETING = b'{"msgid":%d}\n' % MsgId.HEARTBEAT
"""A server echoes it, also before a login."""

LONGEST_ANSWER = 65_536
"""Bytes of the first frame of a server, at most."""


class NotSpoken(OSError):
    """Raised if the server does not answer as ours does in clear: it may want TLS, or be another program."""


class PlainSocket(socket.socket):
    """A blocking socket; what the greeting has read comes first."""

    _ahead = b""

    def greet(self) -> None:
        """Ask the server for a sign of life.  A password that is sent to a port with TLS would be in clear.

        Raises:
            NotSpoken: what comes is no frame of ours, or nothing does.
        """
        try:
            self.sendall(GREETING)
            answer = self._answer()
        except TimeoutError:
            raise NotSpoken("the server does not answer") from None
        except OSError:  # OpenSSL resets a connection that does not begin with TLS
            answer = b""
        if not answer:
            raise NotSpoken("the server closed the connection without an answer")
        if not _is_frame(answer):
            raise NotSpoken("the server does not speak greenchat's protocol")
        self._ahead = answer  # it may be why we are not let in, and more than one frame

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what was read ahead, then what comes."""
        ahead, self._ahead = self._ahead, b""
        return ahead or super().recv(size, flags)

    def _answer(self) -> bytes:
        """Return the first bytes, up to the end of a frame at least, or to where they are none of ours."""
        answer = b""
        while NEWLINE not in answer.lstrip() and len(answer) <= LONGEST_ANSWER:
            data = super().recv(LONGEST_ANSWER)
            answer += data
            if not data or answer.lstrip()[:1] not in (b"", b"{"):
                break
        return answer


def _is_frame(data: bytes) -> bool:
    first = data.lstrip().partition(NEWLINE)[0]
    try:
        frame = simplejson.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(frame, dict) and "msgid" in frame

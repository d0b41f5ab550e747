"""First bytes of a connection without TLS: is the server greenchat?  Sans I/O.

The client sends a heartbeat, which a server echoes also before a login.  Without this exchange a password
could go in clear to a port that expects TLS, or to another program.
"""

from __future__ import annotations

import simplejson

from greenchat.protocol.lines import NEWLINE
from greenchat.protocol.msgids import MsgId

HEARTBEAT_LINE = b'{"msgid":%d}\n' % MsgId.HEARTBEAT
"""First line of the client."""

MAX_ANSWER = 65_536
"""Bytes of the server's first frame, at most."""


NO_ANSWER = "the server closed the connection without an answer"

SILENT = "the server does not answer"


class WrongProtocol(OSError):
    """Raised if the server does not answer in clear: it may require TLS, or be another program."""


class Greeting:
    """Gather the server's answer, and judge it.

    Attributes:
        received: bytes of the server, to be read again after the greeting: they may hold more frames, or an
            ERROR that refuses the connection.
    """

    def __init__(self) -> None:
        self.received = b""

    def feed(self, data: bytes) -> bool:
        """Take bytes of the server, none at its end; return True once it has answered with a frame.

        Raises:
            WrongProtocol: it has answered with something else, or not at all.
        """
        self.received += data
        begun = self.received.lstrip()
        is_open = NEWLINE not in begun and begun[:1] in (b"", b"{") and len(self.received) <= MAX_ANSWER
        if data and is_open:
            return False
        if not self.received:
            raise WrongProtocol(NO_ANSWER)
        if not _begins_with_frame(begun):
            raise WrongProtocol("the server does not speak greenchat's protocol")
        return True


def _begins_with_frame(data: bytes) -> bool:
    try:
        frame = simplejson.loads(data.partition(NEWLINE)[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(frame, dict) and "msgid" in frame

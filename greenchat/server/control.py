"""The socket for ``greenchat-admin``: one line of JSON asks, one line answers.

A Unix socket, because a server alone may write to its database (its caches would not know of other writers),
and because the rights of a file say who may: nobody but the user that the server runs as.
"""

from __future__ import annotations

import logging
import os
import socket as native
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
import msgspec
from gevent import socket
from gevent.server import StreamServer

from greenchat.errors import Busy, GreenchatError, StartupError

MOST = 65_536
"""Bytes of a request."""

SECONDS = 10.0
"""Seconds in which a request must have come, and in which its answer must be taken."""

BACKLOG = 16

_log = logging.getLogger(__name__)

Command = Callable[[Any], Any]
"""Takes a request and returns an answer that msgspec can encode; may switch."""


class Control:
    """Answer requests of ``greenchat-admin`` on a Unix socket.

    Args:
        path: of the socket.
        commands: the function for each type of request; the types are tagged Structs.
    """

    def __init__(self, path: str, commands: dict[type, Command]) -> None:
        self._path = path
        self._commands = commands
        requests: Any = commands_union(commands)
        self._decoder = msgspec.json.Decoder(requests)
        self._server: StreamServer | None = None
        self._file: tuple[int, int] | None = None

    def start(self) -> None:
        """Listen.

        Raises:
            StartupError: the socket cannot be made, or another server has it.
        """
        try:
            self._remove_stale()
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(self._path)
            os.chmod(self._path, 0o600)
            listener.listen(BACKLOG)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StartupError(f"control-socket: cannot listen on {self._path}: {reason}") from None
        self._file = _identity(self._path)
        self._server = StreamServer(listener, self._serve)
        self._server.start()

    def stop(self) -> None:
        """Listen no more, and remove the socket unless another server has made its own there."""
        if self._server is None:
            return
        self._server.stop(timeout=0)
        with suppress(OSError):
            if _identity(self._path) == self._file:
                os.unlink(self._path)

    def _remove_stale(self) -> None:
        """Remove the socket of a server that was killed.

        Raises:
            StartupError: there is a server, or a file that is no socket.
        """
        try:
            if not stat.S_ISSOCK(os.stat(self._path).st_mode):
                raise StartupError(f"control-socket: {self._path} is there, and is no socket")
        except FileNotFoundError:
            return
        with native.socket(native.AF_UNIX) as probe:
            try:
                probe.connect(self._path)
            except ConnectionRefusedError:
                os.unlink(self._path)
                return
        raise StartupError(f"control-socket: another server listens on {self._path}")

    def _serve(self, sock: socket.socket, address: object) -> None:
        with sock, suppress(OSError, gevent.Timeout):
            with gevent.Timeout(SECONDS):
                line = _read_line(sock)
            answer = self._answer(line)
            with gevent.Timeout(SECONDS):
                sock.sendall(msgspec.json.encode(answer) + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = self._decoder.decode(line)
            return {"ok": self._commands[type(request)](request)}
        except msgspec.DecodeError as error:
            return {"error": f"this server does not know the command, or not in this form: {error}"}
        except Busy as error:
            return {"error": f"the database is away: {error}"}
        except GreenchatError as error:
            return {"error": str(error)}
        except Exception:
            _log.exception("a bug in a command of greenchat-admin")
            return {"error": "the server failed on this command; its log has the reason"}


def commands_union(commands: dict[type, Command]) -> Any:
    """Return the union of the types of some commands, for a decoder."""
    union: Any = None
    for kind in commands:
        union = kind if union is None else union | kind
    return union


def _read_line(sock: socket.socket) -> bytes:
    data = b""
    while b"\n" not in data and len(data) <= MOST:
        more = sock.recv(MOST)
        if not more:
            break
        data += more
    return data.partition(b"\n")[0]


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino

"""Ask a server over its Unix socket."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from greenchat.errors import GreenchatError

SECONDS = 60.0
"""Seconds that a command may take: a database that is away is waited for by the server, for less."""

AT_A_TIME = 65_536


class CommandFailed(GreenchatError):
    """Raised if a command was not done; the sentence says why."""


def ask(path: str, command: str, **fields: object) -> Any:
    """Return the server's answer to a command.

    Args:
        path: the server's socket.
        command: its name.
        fields: its arguments.

    Raises:
        CommandFailed: the server cannot be reached, or refuses.
    """
    request = json.dumps({"command": command, **fields}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(SECONDS)
            sock.connect(path)
            sock.sendall(request)
            data = b""
            while more := sock.recv(AT_A_TIME):
                data += more
    except TimeoutError:
        raise CommandFailed(f"the server at {path} did not answer within {SECONDS:.0f} s") from None
    except OSError as error:
        raise CommandFailed(_unreachable(path, error)) from None
    try:
        answer = json.loads(data)
    except ValueError:
        raise CommandFailed(f"the server at {path} ended while it answered") from None
    if "ok" not in answer:
        raise CommandFailed(str(answer.get("error", "the server refused")))
    return answer["ok"]


def _unreachable(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no server listens on {path}: start one with --control-socket {path}, or say --socket PATH"
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"the server at {path} cannot be reached: {reason}"

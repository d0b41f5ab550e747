"""A person with an original C++ client: two threads, reads of 1,024 bytes, one read is one message.

It knows sockets and JSON and nothing of the server's code, and dies where those clients do.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from pathlib import Path
from time import monotonic
from typing import Any

from tests.system.server import DEADLINE

BUFFER = 1_024
"""Bytes that it reads at a time."""

STARVED = 0.01
"""Seconds that threads of ours have waited for a processor between two reads.  Above that it is the busy
machine, not the server, that has put two messages into one read."""

ORIGINAL = ("msgid", "id", "name", "time", "msg")
"""What it indexes of a chat, without looking whether it is there."""


class Abort(Exception):
    """Raised where the C++ client would have been ended by an exception of its JSON library."""


def processor_wait() -> float:
    """Return the seconds for which the threads of this process were ready to run and had no processor."""
    waited = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            waited += int((task / "schedstat").read_text().split()[1])
        except OSError:
            pass  # the thread has ended, or the kernel does not count
    return waited / 1e9


class Person:
    """A client, and the person who types into it.

    Args:
        host, port: where the server is.
        first: the number of its LOGIN: 1, or 1000 in the older lineage.

    Attributes:
        lines: the chats that it has shown, in order.
        acks: the answers to LOGIN and REG.
        lost: reads that held more than one message; all but the first are gone.
    """

    def __init__(self, host: str, port: int, first: int = 1) -> None:
        self._first = first
        self._sock = socket.create_connection((host, port), timeout=DEADLINE)
        self._sock.settimeout(None)
        self._changed = threading.Condition()
        self.lines: list[dict[str, Any]] = []
        self.acks: list[dict[str, Any]] = []
        self.lost = 0
        self.longest = 0
        self.error: Exception | None = None
        self.ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *error: object) -> None:
        self.die()

    def number(self, msgid: int) -> int:
        """Return the number of a message in this lineage."""
        return msgid + self._first - 1

    # -- The thread that reads

    def _read(self) -> None:
        rest, waited = b"", processor_wait()
        try:
            while data := self._sock.recv(BUFFER):
                before, waited = waited, processor_wait()
                starved = waited - before > STARVED
                rest = self._take(rest + data, starved or bool(rest))
        except OSError:
            pass
        except Exception as error:
            self.error = error
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _take(self, data: bytes, starved: bool) -> bytes:
        """Show the message of a read; all of them, if the machine kept us from reading in time.

        Returns:
            The beginning of a message that a read in time would not have had.
        """
        *texts, rest = data.split(b"\0")
        if not starved:
            if not texts:
                raise Abort(f"{len(data)} bytes without an end: {data[:80]!r}")
            with self._changed:
                self.lost += len(texts) > 1 or bool(rest)
            del texts[1:]
            rest = b""
        with self._changed:
            for text in texts:
                self.longest = max(self.longest, len(text) + 1)
                self._show(json.loads(text))
            self._changed.notify_all()
        return rest

    def _show(self, message: dict[str, Any]) -> None:
        number = message["msgid"] - self._first + 1
        if number in (6, 10):
            assert all(name in message for name in ORIGINAL), message
            self.lines.append(message)
        elif number in (2, 5):
            if number == 2 and message["errno"] == 0:
                for text in message.get("offlinemsg", []):
                    self._show(json.loads(text))
            self.acks.append(message)
        else:
            raise Abort(f"it did not ask for this and does not know it: {message}")

    # -- The person

    def type(self, msgid: int, **fields: object) -> None:
        """Send a request, with the fields that those clients add."""
        self._sock.sendall(json.dumps({"msgid": self.number(msgid), **fields}).encode() + b"\0")

    def register(self, name: str, password: str = "pw") -> dict[str, Any]:
        seen = len(self.acks)
        self.type(4, name=name, password=password)
        return self.wait_for_ack(seen)

    def login(self, userid: int, password: str = "pw") -> dict[str, Any]:
        seen = len(self.acks)
        self.type(1, id=userid, password=password)
        return self.wait_for_ack(seen)

    def wait_for_ack(self, seen: int) -> dict[str, Any]:
        self._wait(lambda: len(self.acks) > seen, DEADLINE)
        return self.acks[seen]

    def wait_for_lines(self, count: int, seconds: float = DEADLINE) -> list[dict[str, Any]]:
        """Wait until so many chats have been shown."""
        self._wait(lambda: len(self.lines) >= count, seconds)
        return self.lines

    def wait_for_text(self, text: str, seconds: float = DEADLINE) -> None:
        """Wait until the newest chat has this text."""
        self._wait(lambda: bool(self.lines) and self.texts()[-1] == text, seconds)

    def _wait(self, done: Any, seconds: float) -> None:
        until = monotonic() + seconds
        with self._changed:
            while not done():
                if self.error is not None:
                    raise self.error
                left = until - monotonic()
                if self.ended or left <= 0:
                    raise AssertionError(
                        f"{self.ended=} {self.lost=} {len(self.lines)} lines, {self.acks[-1:]}"
                    )
                self._changed.wait(left)

    def wait_for_end(self) -> None:
        """Wait until the server has closed the connection."""
        self._reader.join(DEADLINE)
        assert self.ended

    def die(self) -> None:
        """Go as a program goes that is killed: with a reset."""
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # it has gone already
        self._sock.close()
        self._reader.join(DEADLINE)

    def texts(self) -> list[str]:
        """Return the texts that were shown, parts joined to the whole."""
        whole: list[str] = []
        for line in self.lines:
            mark, _, rest = line["msg"].partition(" ")
            if mark.startswith("(") and mark.endswith(")") and "/" in mark and not mark.startswith("(1/"):
                whole[-1] += rest
            elif mark.startswith("(1/"):
                whole.append(rest)
            else:
                whole.append(line["msg"])
        return whole

    def check(self) -> None:
        """It neither aborted nor lost anything, and got no frame that is too long."""
        if self.error is not None:
            raise self.error
        assert self.lost == 0
        assert self.longest <= BUFFER - 1

"""The innocent clients of an attack: two that chat, one at the menu of an original client, a browser."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, RemoteDisconnected
from time import monotonic, sleep
from typing import Any

from lab.fill import Person
from lab.servers.program import LabError

DEADLINE = 60.0
"""Seconds without an answer after which an innocent takes the server for dead."""

FEWEST = 10
"""Rounds that the innocents chat at least, however slow that is."""

BEAT = 1.0
"""Seconds without an answer after which an innocent shows that it lives, as any client does."""

PAUSE = 0.1
"""Seconds between two rounds: an innocent makes 30 requests a second, fewer than the limit."""


class Innocent:
    """An innocent client: blocking, and patient up to the deadline.

    Attributes:
        welcome: the answer to the login.
        together: the innocents that wait when this one does.
    """

    def __init__(self, address: tuple[str, int], person: Person, header: str = "", tls: bool = False) -> None:
        self.together = [self]
        self.id = person.id
        sock = socket.create_connection(address, DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(header.encode())
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        sock.settimeout(BEAT)
        self.sock = sock
        self._buffer = b""
        self.send(msgid=1, id=person.id, token=person.token)
        self.welcome = self.read()
        if self.welcome.get("errno") != 0:
            raise LabError(f"an innocent cannot log in: {self.welcome}")

    def send(self, **frame: object) -> None:
        """Send a frame."""
        self.sock.sendall(json.dumps(frame).encode() + b"\n")

    def read(self) -> dict[str, Any]:
        """Return the next frame.

        Raises:
            LabError: there is none.
        """
        until = monotonic() + DEADLINE
        while b"\n" not in self._buffer:
            try:
                data = self.sock.recv(65_536)
            except TimeoutError:
                if monotonic() > until:
                    raise LabError("an innocent hears nothing") from None
                for innocent in self.together:
                    innocent.sock.sendall(b"\n")  # any byte is a heartbeat, and this one has no answer
                continue
            if not data:
                raise LabError("an innocent was thrown out")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        frame: dict[str, Any] = json.loads(line)
        return frame

    def expect(self, **fields: object) -> dict[str, Any]:
        """Return the next frame, which MUST have these fields.

        Raises:
            LabError: it has not.
        """
        frame = self.read()
        if not fields.items() <= frame.items():
            raise LabError(f"an innocent got {frame}, not {fields}")
        return frame


class Reader:
    """A user of an original client that reads its menu: connected, and silent."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._sock = socket.create_connection(address, DEADLINE, source_address=("127.0.0.9", 0))

    def log_in(self) -> None:
        """Log in at last; a wrong password does, as long as the server answers.

        Raises:
            LabError: the connection has been ended.
        """
        with self._sock:
            try:
                self._sock.sendall(b'{"msgid":1,"id":1,"password":"?"}\0')
                answer = self._sock.recv(1_024)
            except OSError as error:
                raise LabError(f"somebody at the menu was thrown out: {error}") from None
        if not answer.startswith(b'{"msgid":2,'):
            raise LabError(f"somebody at the menu got {answer!r}")


class Browser:
    """Somebody who loads a page again and again, on one connection for as long as the server keeps it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = HTTPConnection(*address, timeout=DEADLINE)

    def look(self) -> None:
        """Load the page.

        Raises:
            LabError: it does not come.
        """
        try:
            answer = self._ask()
        except (RemoteDisconnected, ConnectionError):  # an idle connection may end: browsers come again
            answer = self._ask()
        if answer != 200:
            raise LabError(f"a browser got {answer}")

    def _ask(self) -> int:
        try:
            self._connection.request("GET", "/")
            response = self._connection.getresponse()
            response.read()
        except (OSError, HTTPException):
            self._connection.close()
            raise
        return response.status

    def close(self) -> None:
        """Go."""
        self._connection.close()


@dataclass
class Pair:
    """Two innocents that talk: each message arrives once and in order, each heartbeat is answered.

    Attributes:
        one, other: they.
        seconds: until each message was with the other, each heartbeat answered, each page loaded.
        browser: somebody who loads a page in each round; None: nobody.
    """

    one: Innocent
    other: Innocent
    browser: Browser | None = None
    seconds: list[float] = field(default_factory=list)
    seq: int = 0

    def __post_init__(self) -> None:
        self.one.together = self.other.together = [self.one, self.other]

    def round(self) -> None:
        """Say something each, and let both hearts beat.

        Raises:
            LabError: something is lost, doubled, out of order or not answered.
        """
        for sender, receiver in ((self.one, self.other), (self.other, self.one)):
            self.seq += 1
            began = monotonic()
            sender.send(msgid=6, toid=receiver.id, msg=f"number {self.seq}", cid=f"c{self.seq}")
            receiver.expect(msgid=6, id=sender.id, msg=f"number {self.seq}", seq=self.seq)
            self.seconds.append(monotonic() - began)
            sender.expect(msgid=11, errno=0, cid=f"c{self.seq}", seq=self.seq)
            receiver.send(msgid=13, peerid=sender.id, seq=self.seq)
            began = monotonic()
            receiver.send(msgid=12)
            receiver.expect(msgid=12)
            self.seconds.append(monotonic() - began)
        if self.browser is not None:
            began = monotonic()
            self.browser.look()
            self.seconds.append(monotonic() - began)

    def chat(self, seconds: float) -> None:
        """Go on for so long."""
        end = monotonic() + seconds
        last = self.seq + 2 * FEWEST
        while monotonic() < end or self.seq < last:
            self.round()
            sleep(PAUSE)

    def close(self) -> None:
        """Go."""
        self.one.sock.close()
        self.other.sock.close()
        if self.browser is not None:
            self.browser.close()

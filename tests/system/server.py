"""A real server in a process of its own, and a client that knows JSON and sockets and nothing else."""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, Protocol, Self

from lab.servers.node import environment
from lab.servers.program import free_port

BUSY = 13

DEADLINE = 60.0
"""Seconds that anything may take: generous, because nothing waits for it when all is well."""

Frame = dict[str, Any]

READY = re.compile(
    r"greenchat (\S+) listening on (\S+):(\d+) store=(\S+) bus=(\S+) node=(\S+)\n"
    r"(?:web client: https?://\S+:(\d+)\n)?"
)

ENDED = r"INFO greenchat\.network\.connection: \S+ user=(-|\d+) ended: [a-z _]+ after \d+\.\d s"

ACCOUNT = (
    r"INFO greenchat\.accounts: ((registered|logged (in|out)|password changed|.* failed): "
    r"user=(unknown|\d+ name=['\"].*['\"] device=['\"].*['\"]) from=\S+ node=\S+|.* locked for \d+ s)"
)
"""The line of something that has become of an account."""

EXPECTED = re.compile(
    rf"[-\d]+ [\d:,]+ ({ENDED}|{ACCOUNT}|INFO greenchat: (stopping: \d+ connections|stopped( in a hurry)?"
    r"|only \d+ connections: the limit of open files is \d+))"
)
"""The lines that a server logs when all is well, whatever its clients do."""


DIALECT = r"WARNING greenchat\.protocol\.classic\.clients: \S+ speaks another protocol: .*"
"""The line of a first NUL-ended frame that is no request of an original client."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "greenchat.server", *map(str, arguments)]


def run(
    *arguments: object,
    folder: Path,
    env: dict[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> tuple[int, str, str]:
    """Run a server that does not get as far as serving; return its exit status and what it printed."""
    ran = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment() | (env or {}),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        preexec_fn=before,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


def assert_waits(bring_back: Callable[[], None], *arguments: object, folder: Path) -> None:
    """Start a server whose backend is away: it says so, and serves once the backend is back."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        assert "waiting for it" in process.stderr.readline()
        bring_back()
        assert process.stdout
        assert " listening on " in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.communicate()


class Server:
    """A ``python -m greenchat.server`` in a folder of its own; start it again on the same folder and port.

    Args:
        folder: has the database ``chat.db`` and the log.
        options: of the command line.
        port: one of the lab's that is kept if not given; 0 has the server take a free one.
        env: variables added to the environment.
        expected: patterns of log lines that this test expects besides the usual ones.
        before: called in the new process before Python starts.

    Attributes:
        host, port: where clients come to.
        ready: the ready line.
        web: the port where web clients come to; 0: there is none.
        log: all that it wrote to stderr.
    """

    def __init__(
        self,
        folder: Path,
        *options: object,
        port: int | None = None,
        env: dict[str, str] | None = None,
        expected: tuple[str, ...] = (),
        before: Callable[[], None] | None = None,
    ) -> None:
        self.folder = folder
        self.database = folder / "chat.db"
        self.log = folder / "log"
        self.options = options
        self.port = free_port() if port is None else port
        self.expected = expected
        self._env = environment() | (env or {})
        self._before = before
        self.start()

    def start(self) -> None:
        """Start, and wait until clients can come."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command(self.port, "--store", f"sqlite:///{self.database}", *self.options),
                cwd=self.folder,
                env=self._env,
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=self._before,  # noqa: PLW1509 - it takes no lock and makes one call
            )
        self.ready = self._first_line()
        match = READY.fullmatch(self.ready)
        if match is None:
            self.kill()
            raise AssertionError(f"not ready: {self.ready!r}\n{self.log.read_text()}")
        self.host = match[2].strip("[]")
        self.port = self.port or int(match[3])
        self.web = int(match[7] or 0)

    def _first_line(self) -> str:
        assert self.process.stdout
        read, until = b"", monotonic() + DEADLINE
        while not read.endswith(b"\n"):
            waiting, _, _ = select.select([self.process.stdout], [], [], max(0.0, until - monotonic()))
            data = os.read(self.process.stdout.fileno(), 4096) if waiting else b""
            if not data:
                break
            read += data
        return read.decode()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def tell(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; return the exit status.  It printed nothing after the ready line."""
        rest, _ = self.process.communicate(timeout=DEADLINE)
        assert rest == b""
        return self.process.returncode

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it in order, and return the exit status."""
        self.tell(number)
        return self.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.communicate(timeout=DEADLINE)

    def close(self) -> None:
        """End it however it is, then hold its log against what was expected."""
        try:
            if self.running:
                self.tell(signal.SIGCONT)
                assert self.stop() == 0
        finally:
            if self.running:
                self.kill()
            assert self.process.stdout
            self.process.stdout.close()
        self.check_log()

    def check_log(self) -> None:
        """Nothing is printed but one line for each connection, and a few for the server itself."""
        allowed = [EXPECTED, *(re.compile(rf"[-\d]+ [\d:,]+ {pattern}") for pattern in self.expected)]
        lines = self.log.read_text().splitlines()
        strange = [line for line in lines if not any(pattern.fullmatch(line) for pattern in allowed)]
        assert strange == []

    def wait_for_log(self, pattern: str, times: int = 1) -> list[str]:
        """Wait until the log has so many lines in which a pattern is found, and return them.

        A thread of the server writes its log a moment later: it may lack what is done already, and what a
        SIGKILL found unwritten it never gets.
        """
        until = monotonic() + DEADLINE
        while True:
            found = [line for line in self.log.read_text().splitlines() if re.search(pattern, line)]
            if len(found) >= times:
                return found
            assert monotonic() < until, f"{len(found)} of {times} lines with {pattern!r}"
            select.select([], [], [], 0.02)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what is in the database."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=DEADLINE)) as db:
            return db.execute(query, values).fetchall()

    def wait_for_rows(self, wanted: list[tuple[Any, ...]], query: str, *values: object) -> None:
        """Wait until the database says so (a projection that is written after the fact)."""
        until = monotonic() + DEADLINE
        while (found := self.rows(query, *values)) != wanted and monotonic() < until:
            select.select([], [], [], 0.02)
        assert found == wanted


class Ended(Exception):
    """Raised if the server has closed the connection."""


class Place(Protocol):
    """Where a server listens."""

    @property
    def host(self) -> str:
        """An address."""

    @property
    def port(self) -> int:
        """A port of it."""


class Address(NamedTuple):
    """A place of its own: a proxy's, or a server's that the test has not started itself."""

    port: int
    host: str = "127.0.0.1"


class Client:
    """A connection to a server.

    Args:
        server: where to.
        terminator: of the frames in both directions.

    Attributes:
        frames: those that came and that nobody has waited for yet, in order.
        id: who is logged in.
        token: for the next login.
    """

    def __init__(self, server: Place, terminator: bytes = b"\n", receive_buffer: int = 0) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(DEADLINE)
        self.sock.connect((server.host, server.port))
        self.frames: list[Frame] = []
        self.id = 0
        self.token = ""
        self._terminator = terminator
        self._buffer = b""
        self._cids = (f"c{number}" for number in itertools.count(1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.sock.close()

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def send(self, msgid: int, **fields: object) -> None:
        self.write(json.dumps({"msgid": msgid, **fields}).encode() + self._terminator)

    def read(self) -> Frame:
        """Return the next frame.

        Raises:
            Ended: there is none; the server has closed.
            TimeoutError: none came in time.
        """
        while self._terminator not in self._buffer:
            data = self.sock.recv(65_536)
            if not data:
                assert self._buffer == b"", "the last frame is cut off"
                raise Ended
            self._buffer += data
        frame, _, self._buffer = self._buffer.partition(self._terminator)
        read: Frame = json.loads(frame)
        return read

    def wait(self, **fields: object) -> Frame:
        """Return the next frame that has these fields; others are kept."""
        for place, frame in enumerate(self.frames):
            if fields.items() <= frame.items():
                return self.frames.pop(place)
        until = monotonic() + DEADLINE
        while monotonic() < until:
            frame = self.read()
            if fields.items() <= frame.items():
                return frame
            self.frames.append(frame)
        raise TimeoutError(f"no {fields} among {self.frames}")

    def ask(self, msgid: int, **fields: object) -> Frame:
        """Send a request and return its reply."""
        cid = next(self._cids)
        self.send(msgid, cid=cid, **fields)
        return self.wait(cid=cid)

    def done(self, msgid: int, **fields: object) -> Frame:
        """Send a request, which succeeds, and return its reply."""
        reply = self.ask(msgid, **fields)
        assert reply["errno"] == 0, reply
        return reply

    def insist(self, msgid: int, **fields: object) -> Frame:
        """Send a request, again while the server is busy, and return its reply; it succeeds."""
        until = monotonic() + DEADLINE
        while (reply := self.ask(msgid, **fields))["errno"] == BUSY and monotonic() < until:
            sleep(0.1)
        assert reply["errno"] == 0, reply
        return reply

    def login(self, **fields: object) -> Frame:
        ack = self.done(1, **fields)
        self.id, self.token = ack["id"], ack["token"]
        return ack

    def ended(self) -> list[Frame]:
        """Return all frames up to the end of the connection."""
        try:
            while True:
                self.frames.append(self.read())
        except (Ended, ConnectionResetError):
            frames, self.frames = self.frames, []
            return frames

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def join(server: Place, name: str, **options: Any) -> Client:
    """Return a client that is registered and logged in."""
    client = Client(server, **options)
    client.done(4, name=name, password="pw")
    client.login(name=name, password="pw")
    return client


@contextmanager
def beating(*clients: Client) -> Iterator[None]:
    """Have clients show that they live during the block: on a busy machine it may take long."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.5):
            for client in clients:
                with suppress(OSError):  # the test will see that it has ended
                    client.write(b"\n")  # any byte is a heartbeat, and this one has no answer

    thread = threading.Thread(target=beat, name="beating", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(DEADLINE)


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Return the status and the text of a page for operators."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()

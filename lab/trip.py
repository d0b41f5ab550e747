"""The trip of one chat message through a server: each Python call that is made for it, in order.

``python -m lab.trip`` runs a server on SQLite in this process, lets two people log in, and has one of them
write to the other, again and again, one message at a time.  It records the calls from the ``recv`` to the
last ``send``, on all threads, and prints those of the shortest trip: timers (heartbeats, cursors) that ran
meanwhile make a trip longer, never shorter, so the shortest is the same on every run.

The people are on a native thread with unpatched sockets: the server's loop sees bytes and nothing else.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402 - nothing may be imported before it is patched
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from collections import deque  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from tempfile import TemporaryDirectory  # noqa: E402
from types import FrameType  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

import gevent  # noqa: E402
from gevent.event import Event  # noqa: E402
from gevent.threadpool import ThreadPool  # noqa: E402

import greenchat  # noqa: E402
from greenchat.config import load  # noqa: E402
from greenchat.server.app import App  # noqa: E402
from lab.servers.program import free_port  # noqa: E402
from lab.websocket import frames_in, masked, upgrade_request  # noqa: E402

PACKAGE = Path(greenchat.__file__).parent

SETTINGS = ("--heartbeat-interval", "3600", "--login-timeout", "3600", "--log-level", "error")
"""Timers that do not come between."""

TRIPS, WARM = 40, 10
"""Messages that are recorded, and those before them: caches fill, statements are compiled."""

PAUSE = 0.03
"""Seconds after a message, in which the server finishes the work behind the last answer."""

SOCKET_CALLS = frozenset({"recv", "send", "sendall", "recv_into", "sendmsg"})


class Step(NamedTuple):
    """A call.

    Attributes:
        room: the file, below the package; empty for a call of another library or of C.
        name: the qualified name.
    """

    room: str
    name: str


class Trip(NamedTuple):
    """All that was called for one message.

    Attributes:
        own: calls of greenchat's functions, in order.
        others: how many Python functions of libraries were called.
        sockets: how many calls there were of a socket's ``recv`` and ``send``.
    """

    own: list[Step]
    others: int
    sockets: int


class Recorder:
    """Records calls of all threads that it is installed on, while it is on."""

    def __init__(self) -> None:
        self._own: list[Step] = []
        self._others = 0
        self._sockets = 0
        self._on = False

    def install(self) -> None:
        """Record this thread, all its greenlets, and the threads of gevent's pools."""
        sys.setprofile(self._note)
        spawn = ThreadPool.spawn

        def recorded(pool: ThreadPool, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            def run(*args: Any, **kwargs: Any) -> Any:
                sys.setprofile(self._note)
                return call(*args, **kwargs)

            return spawn(pool, run, *args, **kwargs)

        ThreadPool.spawn = recorded

    def begin(self) -> None:
        """Clear the record, and record."""
        self._own, self._others, self._sockets = [], 0, 0
        self._on = True

    def end(self) -> Trip:
        """Stop, and return the record."""
        self._on = False
        return Trip(self._own, self._others, self._sockets)

    def _note(self, frame: FrameType, event: str, function: Any) -> None:
        if not self._on:
            return
        if event == "call":
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(PACKAGE):
                self._own.append(Step(str(file.relative_to(PACKAGE)), frame.f_code.co_qualname))
            elif file != Path(__file__):
                self._others += 1
        elif event == "c_call" and function.__name__ in SOCKET_CALLS:
            self._sockets += 1


class Person:
    """A client over a plain blocking socket."""

    def __init__(self, port: int, name: str) -> None:
        self._socket = monkey.get_original("socket", "socket")()
        self._socket.connect(("127.0.0.1", port))
        self._unread = b""
        self.id: int = self.ask(5, msgid=4, name=name, password="a password")["id"]
        self.ask(2, msgid=1, id=self.id, password="a password")

    def ask(self, answer: int, **request: Any) -> dict[str, Any]:
        """Send a request and return the first frame with the answer's msgid."""
        self.send(json.dumps(request).encode())
        return self.wait(answer)

    def send(self, frame: bytes) -> None:
        """Send a frame."""
        self._socket.sendall(frame + b"\n")

    def wait(self, msgid: int) -> dict[str, Any]:
        """Return the next frame with this msgid."""
        while True:
            frame: dict[str, Any] = json.loads(self.read())
            if frame["msgid"] == msgid:
                return frame

    def read(self) -> bytes:
        """Return the next frame."""
        while b"\n" not in self._unread:
            self._unread += self._socket.recv(65_536)
        line, _, self._unread = self._unread.partition(b"\n")
        return line


class WebPerson(Person):
    """The same over WebSocket."""

    def __init__(self, port: int, name: str) -> None:
        self._frames: deque[bytes] = deque()
        self._is_open = False
        super().__init__(port, name)

    def send(self, frame: bytes) -> None:
        if not self._is_open:
            self._is_open = True
            self._socket.sendall(upgrade_request())
            while b"\r\n\r\n" not in self._unread:
                self._unread += self._socket.recv(65_536)
            self._unread = b""
        self._socket.sendall(masked(frame))

    def read(self) -> bytes:
        while not self._frames:
            self._unread += self._socket.recv(65_536)
            frames, self._unread = frames_in(self._unread)
            self._frames.extend(payload for _, payload in frames)
        return self._frames.popleft()


def shortest_trip(kind: type[Person] = Person) -> Trip:
    """Run a server and people of a kind, and return the trip with the fewest calls."""
    recorder = Recorder()
    recorder.install()
    trips: list[Trip] = []
    with running_server() as (tcp, web):
        port = web if kind is WebPerson else tcp
        done = Event()
        wake = gevent.get_hub().loop.async_()
        wake.start(done.set)

        def write() -> None:
            try:
                trips.extend(_trips(kind, port, recorder))
            finally:
                wake.send()

        monkey.get_original("_thread", "start_new_thread")(write, ())
        done.wait()
    if not trips:
        raise RuntimeError("the people's thread has ended early")
    return min(trips, key=lambda trip: len(trip.own) + trip.others)


@contextmanager
def running_server() -> Iterator[tuple[int, int]]:
    """Run a server in this process; yields its port, and the one for web clients."""
    web = free_port()
    with TemporaryDirectory() as folder:
        options = ["--store", f"sqlite:///{folder}/trip.db", "--web", f"127.0.0.1:{web}"]
        app = App(load(["0", *options, *SETTINGS], {}))
        app.start(Event())
        yield int(app.ready_line().split(" store=")[0].rpartition(":")[2]), web


def _trips(kind: type[Person], port: int, recorder: Recorder) -> Iterator[Trip]:
    sleep = monkey.get_original("time", "sleep")
    ann, bob = kind(port, "Ann"), kind(port, "Bob")
    for number in range(WARM + TRIPS):
        sleep(PAUSE)
        recorder.begin()
        ann.ask(11, msgid=6, toid=bob.id, msg="Hello!", cid=f"{number}")
        bob.wait(6)
        sleep(PAUSE)
        trip = recorder.end()
        if number >= WARM:
            yield trip


WIRES = {"tcp": Person, "websocket": WebPerson}


def main() -> None:
    """Print the trip, and as its last line the figures as JSON."""
    about = "Print each Python call of one chat message, and as the last line the figures as JSON."
    parser = argparse.ArgumentParser(prog="python -m lab.trip", description=about)
    parser.add_argument("--wire", choices=WIRES, default="tcp", help="what the two people speak")
    trip = shortest_trip(WIRES[parser.parse_args().wire])
    for number, step in enumerate(trip.own, 1):
        print(f"{number:4} {step.room:40} {step.name}")
    rooms = len({step.room for step in trip.own})
    print(json.dumps({"own": len(trip.own), "files": rooms, "others": trip.others, "sockets": trip.sockets}))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the server's threads and timers are not waited for

"""A program that runs for a while: started, signalled, stopped by its process id."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals
from time import monotonic, sleep
from typing import ClassVar, TypeVar

DEADLINE = 60.0
"""Seconds that a start or an end may take: generous, because nothing waits for it when all is well."""

LOOK_AGAIN = 0.02
"""Seconds between two checks that a program is ready."""

TRIES = 100
"""To find free ports in a row."""

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The first and the last port that the kernel gives to outgoing connections, and for port 0."""

HELD = 256
"""Ports that a process holds at most: each costs an open file."""

LOWEST, HIGHEST = 10_100, 65_535
"""Ports that the lab takes.  Browsers refuse 10080, and so does the setting ``web``."""


class LabError(Exception):
    """Raised if a program is missing, does not start or does not end; the sentence says which."""


class Program:
    """A server program in a process of its own, its output in ``folder/log``.

    Args:
        name: of the program, found beside this Python, in PATH or sbin.
        folder: for its data and its log; exists already.

    Attributes:
        orphaned: the signal that it gets when this process ends without having stopped it.
        needs: the programs that must be installed.
    """

    orphaned: ClassVar[str] = "KILL"
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """Its output so far."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        """Its process id, while it runs."""
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        """True while it runs (stopped by SIGSTOP counts as running)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and return when it is ready.

        Raises:
            LabError: it ended, or was not ready in time.
        """
        raise NotImplementedError

    def install(self) -> None:
        """Start it for the first time in its folder."""
        self.start()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(SIGKILL)

    def stop(self) -> None:
        """Let it end in order, if it runs."""
        if self._process is not None:
            self.signal(SIGCONT)
            self._end(SIGTERM)

    def signal(self, number: Signals) -> None:
        """Send it a signal (SIGSTOP, SIGCONT); stop means stopped, with all its threads.

        Raises:
            LabError: it does not stop.
        """
        assert self._process
        self._process.send_signal(number)
        end = monotonic() + DEADLINE
        while number == SIGSTOP and self.running and not is_stopped(self.pid):
            if monotonic() > end:
                raise LabError(f"{self.name} did not stop within {DEADLINE:.0f} s")
            sleep(LOOK_AGAIN)

    def _start(
        self, arguments: Sequence[object], ready: Callable[[], bool], env: Mapping[str, str] | None = None
    ) -> None:
        """Start it and wait until it is ready.  It ends with the caller, even if that one is killed.

        Args:
            arguments: of its command line.
            ready: returns True if it is.
            env: its environment, in place of ours.

        Raises:
            LabError: it ended, or was not ready in time.
        """
        survivor = ["setpriv", "--pdeathsig", self.orphaned] if shutil.which("setpriv") else []
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [*survivor, find(self.name), *map(str, arguments)],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for us alone: we stop it when its turn has come
            )
        end = monotonic() + DEADLINE
        while not ready():
            if self._process.poll() is not None or monotonic() > end:
                self.kill()
                raise LabError(f"{self.name} did not start:\n{self.log}")
            sleep(LOOK_AGAIN)

    def _end(self, number: Signals) -> None:
        assert self._process
        self._process.send_signal(number)
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise LabError(f"{self.name} did not end within {DEADLINE:.0f} s") from None
        self._process = None


P = TypeVar("P", bound=Program)


@contextmanager
def private(make: Callable[..., P], *options: str) -> Iterator[P]:
    """Run a server in a temporary folder for the block.

    Args:
        make: its class, called with the folder and the options.
        options: of its command line.

    Raises:
        LabError: a program is not installed, or does not start.
    """
    with tempfile.TemporaryDirectory(prefix="greenchat-") as folder:
        server = make(Path(folder), *options)
        for program in server.needs:
            find(program)
        try:
            server.install()
            yield server
        finally:
            server.stop()


def is_stopped(pid: int) -> bool:
    """Return True if all threads of a process are stopped: on a busy machine some go on for a while."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has just ended
            if stat.read_text().rpartition(")")[2].split()[0] not in "TZ":
                return False
    return True


def find(name: str) -> str:
    """Return the path of a program.

    Raises:
        LabError: it is not installed.
    """
    ours = str(Path(sys.executable).parent)
    for folders in (ours, None, "/usr/local/sbin:/usr/sbin:/sbin"):
        if path := shutil.which(name, path=folders):
            return path
    raise LabError(f"{name} is not installed: scripts/test installs it")


class _Hold:
    """A port held against all other processes of the lab, by a socket name that only one can have.

    The name is in the kernel's abstract namespace: it is gone with the process, however that ends.

    Raises:
        OSError: it is held already.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"\0greenchat-lab-port-{port}")

    def __del__(self) -> None:
        self._socket.close()


_held: dict[int, _Hold] = {}
"""The ports that this process took last: those it took longest ago are let go."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now, and stays free while its server is restarted.

    It is none of those that the kernel gives to outgoing connections, which could take it meanwhile, and no
    other process of the lab gets it.

    Raises:
        LabError: there is none.
    """
    return free_ports(1)


def free_ports(count: int) -> int:
    """Return the first of some such ports in a row.

    Raises:
        LabError: there are none.
    """
    choice = outside_ephemeral(count)
    for _ in range(TRIES):
        first = random.choice(choice)
        row = range(first, first + count)
        with suppress(LabError, OSError):
            holds = {port: _Hold(port) for port in row}
            need_ports(row)
            _held.update(holds)
            while len(_held) > HELD:
                del _held[next(iter(_held))]
            return first
    raise LabError(f"there are no {count} free ports in a row")


def outside_ephemeral(count: int) -> range:
    """Return where a row of ports may begin so that it avoids those of outgoing connections."""
    low, high = map(int, EPHEMERAL.read_text().split())
    below, above = range(LOWEST, low - count + 1), range(high + 1, HIGHEST - count + 2)
    return max(below, above, key=len) or range(LOWEST, HIGHEST - count + 2)


def need_ports(ports: Iterable[int]) -> None:
    """Do nothing if a server could listen on each of these ports of 127.0.0.1.

    Raises:
        LabError: on one it could not; the sentence says which and why.
    """
    for port in ports:
        with closing(socket.socket()) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("127.0.0.1", port))
            except OSError as error:
                reason = os.strerror(error.errno or 0).lower()
                raise LabError(f"port {port} of 127.0.0.1 cannot be had: {reason}") from None

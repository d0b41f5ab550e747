"""``scripts/cluster``, as somebody at a terminal runs it."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

from greenchat.client import Client
from lab import ROOT
from lab.servers.node import environment
from lab.servers.program import free_port, free_ports
from tests.servers import need

DEADLINE = 120.0
"""Seconds that a start or an end may take: a whole cluster on a busy machine."""

FREE = ("--port", "0", "--web-port", "0", "--first-port", "0")


class Script:
    """A ``scripts/cluster`` that runs, in a process group of its own as under a shell.

    Attributes:
        said: all of its standard output up to now.
    """

    def __init__(self, *arguments: str) -> None:
        self.said = ""
        self._process = subprocess.Popen(
            # Bash cannot trap a signal that was ignored when it began, as SIGINT is in a script's background.
            ["env", "--default-signal=INT", ROOT / "scripts" / "cluster", *arguments],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )

    def wait_until_ready(self) -> None:
        """Read what it says until it has said all."""
        assert self._process.stdout
        end = monotonic() + DEADLINE
        while "Ctrl-C stops" not in self.said:
            waiting, _, _ = select.select([self._process.stdout], [], [], max(0.0, end - monotonic()))
            data = os.read(self._process.stdout.fileno(), 4096) if waiting else b""
            if not data:
                _, complaints = self.end()
                raise AssertionError(f"not ready: {self.said}{complaints}")
            self.said += data.decode()

    @property
    def programs(self) -> list[tuple[str, int, int]]:
        """Name, port (0: none) and process id of what runs, as it says."""
        rows = re.findall(r"^  (\w+) +(\d+|-) +(\d+)  /", self.said, re.M)
        return [(name, int(port.replace("-", "0")), int(pid)) for name, port, pid in rows]

    @property
    def port(self) -> int:
        """Where clients come to."""
        return next(port for name, port, _ in self.programs if name == "nginx")

    @property
    def folder(self) -> Path:
        match = re.search(r"stops all of it\. (\S+) ", self.said)
        assert match
        return Path(match[1])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group, as the terminal does."""
        os.killpg(self._process.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit status and what it complained of."""
        out, complaints = self._process.communicate(timeout=DEADLINE)
        self.said += out.decode()
        return self._process.returncode, complaints.decode()

    def close(self) -> None:
        """End it however it is."""
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
            self.end()


Run = Callable[..., Script]


@pytest.fixture
def run() -> Iterator[Run]:
    need("mariadbd", "redis-server", "nginx")
    with ExitStack() as scripts:

        def run(*arguments: str) -> Script:
            script = Script(*arguments)
            scripts.callback(script.close)
            return script

        yield run


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="greenchat-") as name:
        yield Path(name)


def alive(pids: list[int]) -> list[int]:
    """Return those of some processes that run; the dead whom nobody has buried have no command line."""
    lines = {pid: Path(f"/proc/{pid}/cmdline") for pid in pids}
    return [pid for pid, line in lines.items() if line.exists() and line.read_bytes()]


def wait_until_gone(pids: list[int]) -> None:
    end = monotonic() + DEADLINE
    while alive(pids) and monotonic() < end:
        sleep(0.02)
    assert alive(pids) == []


def test_the_check_of_two_servers_goes_well(run: Run) -> None:
    script = run("2", "--check", *FREE)
    status, complaints = script.end()
    assert (status, script.said.count("ok: ")) == (0, 7), script.said + complaints
    assert len(complaints.splitlines()) == 1


def test_ctrl_c_ends_all_of_it_and_nothing_stays(run: Run) -> None:
    script = run("1", *FREE)
    script.wait_until_ready()
    names = [name for name, _, _ in script.programs]
    assert names == ["nginx", "server", "supervisord", "Redis", "MariaDB"]
    with Client("127.0.0.1", script.port) as client:
        client.register("ann", "pw")
        client.login("ann", "pw")
        script.signal(signal.SIGINT)
        status, complaints = script.end()
    assert (status, len(complaints.splitlines())) == (0, 2)
    assert alive([pid for _, _, pid in script.programs]) == []
    assert not script.folder.exists()


def test_its_programs_do_not_outlive_it(run: Run) -> None:
    script = run("1", *FREE)
    script.wait_until_ready()
    script.signal(signal.SIGKILL)
    script.end()
    try:
        wait_until_gone([pid for _, _, pid in script.programs])
    finally:
        shutil.rmtree(script.folder)


def test_the_data_can_be_kept(run: Run, folder: Path) -> None:
    ports = (
        "--port",
        str(free_port()),
        "--web-port",
        str(free_port()),
        "--first-port",
        str(free_ports(1)),
    )  # of the logs of the first time, too
    for name in ("ann", "bob"):
        script = run("1", "--keep", str(folder), *ports)
        script.wait_until_ready()
        with Client("127.0.0.1", script.port) as client:
            client.register(name, "pw")
            assert client.login("ann", "pw").id == 1
        script.signal(signal.SIGTERM)
        assert script.end()[0] == 0


def test_a_program_that_ends_by_itself_ends_it_all_with_one_line(run: Run) -> None:
    script = run("1", *FREE)
    script.wait_until_ready()
    pids = {name: pid for name, _, pid in script.programs}
    os.kill(pids["Redis"], signal.SIGKILL)
    status, complaints = script.end()
    assert status == 1
    assert re.fullmatch(r"scripts/cluster: redis-server has ended: .*\n", complaints.split("…\n")[1])
    assert alive(list(pids.values())) == []


def test_a_port_that_is_taken_is_told_in_one_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        script = run("1", "--port", str(port), "--web-port", "0", "--first-port", "0")
        told = complaint(script)
        assert told.startswith(f"port {port} of 127.0.0.1 cannot be had: address already in use; take others")


def complaint(script: Script) -> str:
    """Return the one sentence that it ends with, and has said nothing before."""
    status, complaints = script.end()
    assert (status, script.said) == (1, "")
    return complaints.removeprefix("scripts/cluster: ").removesuffix("\n")


def test_a_folder_that_is_in_use_is_told_in_one_line(run: Run, folder: Path) -> None:
    first = run("1", "--keep", str(folder), *FREE)
    first.wait_until_ready()
    assert (
        complaint(run("1", "--keep", str(folder), *FREE)) == f"{folder} is in use by another scripts/cluster"
    )


@pytest.mark.parametrize("arguments", [["0"], ["100"], ["three"], ["--port", "-1"], ["--chek"]])
def test_arguments_that_make_no_sense_are_told(run: Run, arguments: list[str]) -> None:
    script = run(*arguments)
    status, complaints = script.end()
    assert (status, script.said) == (2, "")
    assert complaints.splitlines()[-1].startswith("scripts/cluster: error: ")

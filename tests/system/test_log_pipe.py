"""A server whose standard error or standard output is a pipe that nobody reads."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from lab import ROOT
from lab.servers.node import environment
from lab.servers.program import free_port
from tests.pipe import Pipe, open_pipe
from tests.system.server import DEADLINE, Client, command, get

LINES = 12_000
"""Connections, each of which is a line of the log: more than the queue and a pipe take."""


class Here:
    """Where a server is."""

    def __init__(self) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.admin = free_port()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with open_pipe() as pipe:
        yield pipe


@contextmanager
def running(
    folder: Path, here: Here, *, stdout: int = subprocess.DEVNULL, stderr: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server during the block, which begins when clients can come."""
    options = ["--store", f"sqlite:///{folder}/chat.db", "--admin", f"127.0.0.1:{here.admin}"]
    options += ["--log-level", "debug", "--heartbeat-interval", "60"]
    words = command(here.port, *options)
    process = subprocess.Popen(words, env=environment(), cwd=ROOT, stdout=stdout, stderr=stderr)
    try:
        until = monotonic() + DEADLINE
        while not is_served(here):
            assert monotonic() < until
            assert process.poll() is None
            sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE)


def is_served(here: Here) -> bool:
    try:
        with Client(here) as client:
            return bool(client.ask(12)["msgid"] == 12)
    except OSError:
        return False


def come_and_go(here: Here) -> None:
    for _ in range(LINES):
        with closing(socket.create_connection((here.host, here.port), DEADLINE)):
            pass


def lost_lines(here: Here) -> int:
    """Return how many lines the server says it has left out."""
    found = re.search(r"^greenchat_log_lines_lost_total ([\d.e+]+)$", get(here.admin, "/metrics")[1], re.M)
    assert found
    return int(float(found[1]))


def test_a_log_that_nobody_reads_holds_up_nobody_and_its_losses_are_counted(
    tmp_path: Path, pipe: Pipe
) -> None:
    here = Here()
    with running(tmp_path, here, stderr=pipe.writer) as process:
        come_and_go(here)
        assert is_served(here)
        lost = lost_lines(here)
        assert 0 < lost < LINES
        written = pipe.read_until("lines of it were lost")
        assert written.count(" ended: ") >= LINES - lost_lines(here)
        assert is_served(here)
        pipe.read_until(" ended: ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        assert "INFO greenchat: stopped" in pipe.read_until("stopped")


def test_nor_does_it_keep_the_server_from_ending_in_order(tmp_path: Path, pipe: Pipe) -> None:
    here = Here()
    pipe.fill()
    with running(tmp_path, here, stderr=pipe.writer) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


def test_a_ready_line_that_nobody_reads_holds_up_nobody(tmp_path: Path, pipe: Pipe) -> None:
    here = Here()
    pipe.fill()
    with running(tmp_path, here, stdout=pipe.writer) as process:
        assert is_served(here)
        pipe.read_until("listening on")
        assert is_served(here)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0


def test_a_ready_line_that_is_stuck_keeps_no_server_from_ending(tmp_path: Path, pipe: Pipe) -> None:
    here = Here()
    pipe.fill()
    with running(tmp_path, here, stdout=pipe.writer) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0


def test_a_reason_that_nobody_reads_keeps_no_failed_start_from_ending(pipe: Pipe) -> None:
    pipe.fill()
    process = subprocess.Popen(command("nonsense"), env=environment(), cwd=ROOT, stderr=pipe.writer)
    try:
        assert process.wait(DEADLINE) == 2
    finally:
        process.kill()

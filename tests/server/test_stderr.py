"""Standard error behind a queue: nothing that is done with it waits for whoever reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import gevent
import pytest

from greenchat.metrics import LOG_LINES_LOST
from greenchat.server.stderr import UnblockedStream
from tests.pipe import Pipe, open_pipe

DEADLINE = 60.0

LIMIT = 10_000

LINE = "x" * 99 + "\n"


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with open_pipe() as pipe:
        yield pipe


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """No test hangs, as long as the loop turns."""
    with gevent.Timeout(DEADLINE):
        yield


def test_what_is_written_arrives_in_order(pipe: Pipe) -> None:
    stream = UnblockedStream(pipe.writer)
    lines = [f"line {number} ü\udcff\n" for number in range(1_000)]
    for line in lines:
        stream.write(line)
    assert pipe.read_until("line 999") == "".join(lines).replace("\udcff", r"\udcff")


def test_a_pipe_that_nobody_reads_costs_lines_and_no_time(pipe: Pipe) -> None:
    """One hole, and one line at its place; afterwards all is as before."""
    stream = UnblockedStream(pipe.writer, LIMIT)
    before = LOG_LINES_LOST.value
    for number in range(1_000):
        stream.write(f"{number:>9} {LINE[10:]}")
    lost = LOG_LINES_LOST.value - before
    # The pipe's 4 KiB, the limit, and what the writer has taken and could not write.
    assert 1_000 - (4_096 + 2 * LIMIT) / len(LINE) < lost <= 1_000 - LIMIT / len(LINE)
    assert not stream.drain(0.01)
    text = pipe.read_until("lost")
    *written, notice = text.splitlines()
    assert [int(line[:9]) for line in written] == list(range(1_000 - lost))
    assert re.fullmatch(
        rf"[-\d]+ [\d:,]+ WARNING greenchat: the log can be written again; {lost} lines of it were lost",
        notice,
    )
    stream.write("afterwards\n")
    assert pipe.read_until("afterwards") == "afterwards\n"
    assert LOG_LINES_LOST.value - before == lost


def test_what_cannot_be_written_is_counted_and_told_when_it_can(pipe: Pipe) -> None:
    other = os.dup(pipe.writer)
    with open("/dev/full", "wb", buffering=0) as full:
        os.dup2(full.fileno(), other)
    stream = UnblockedStream(other)
    before = LOG_LINES_LOST.value
    stream.write(LINE * 3)
    assert stream.drain(DEADLINE)
    assert LOG_LINES_LOST.value - before == 3
    os.dup2(pipe.writer, other)
    stream.write("again\n")
    assert pipe.read_until("lost").splitlines()[0] == "again"
    os.close(other)


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    stream = UnblockedStream(pipe.writer)
    lines = [f"line {number}\n" for number in range(5_000)]
    for line in lines:
        stream.write(line)
    assert pipe.read_until("line 4999") == "".join(lines)


def test_the_end_waits_for_what_was_said_and_not_for_ever(pipe: Pipe) -> None:
    stream = UnblockedStream(pipe.writer)
    stream.write(LINE)
    assert stream.drain(DEADLINE)
    assert os.read(pipe.reader, 4_096) == LINE.encode()
    stream.write(LINE * 100)
    assert not stream.drain(0.01)
    for _ in range(100 * len(LINE)):
        os.read(pipe.reader, 1)
    assert stream.drain(DEADLINE)

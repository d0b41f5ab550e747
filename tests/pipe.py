"""A pipe that a program writes to and a test reads, or does not."""

from __future__ import annotations

import fcntl
import os
import re
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

DEADLINE = 60.0
"""Seconds that a line may take to come."""


class Pipe:
    """A pipe of 4 KiB, which a page of text fills.

    Attributes:
        reader, writer: its ends.
    """

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4_096)

    def fill(self) -> None:
        """Write until no more goes in."""
        os.set_blocking(self.writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writer, b"x" * 512)
        os.set_blocking(self.writer, True)

    def read_until(self, words: str) -> str:
        """Return all that is read up to the end of the first line that has these words."""
        read, until = b"", monotonic() + DEADLINE
        line = re.compile(re.escape(words).encode() + rb".*\n")
        while not line.search(read):
            assert select.select([self.reader], [], [], until - monotonic())[0], f"{words!r} never came"
            read += os.read(self.reader, 65_536)
        return read.decode()


@contextmanager
def open_pipe() -> Iterator[Pipe]:
    """Have a pipe for the block."""
    pipe = Pipe()
    yield pipe
    os.close(pipe.reader)
    os.close(pipe.writer)

"""The private servers of the tests; without the programs, skip (in CI: fail)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.servers import program
from lab.servers.program import LabError, P, find


def need(*programs: str) -> None:
    """Skip the test, or in CI fail it, if one of these programs is not installed."""
    try:
        for name in programs:
            find(name)
    except LabError as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@contextmanager
def private(make: type[P], *options: str) -> Iterator[P]:
    """Run a server in a temporary folder for the block, if it is installed (see ``need``)."""
    need(*make.needs)
    with program.private(make, *options) as server:
        yield server

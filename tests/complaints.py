"""What the servers of a failed test have complained of: a section of its report."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from lab.fleet import Fleet
from lab.servers.node import Node
from lab.servers.program import Program
from tests.system.server import Server

LINES = 40
"""Lines of a log that are shown, the last ones."""

WIDTH = 500
"""Characters of a line that are shown."""

RECORD = re.compile(r"\d{4}-\d\d-\d\d +\d")
"""The beginning of a record in the logs of greenchat and MariaDB."""

COMPLAINT = re.compile(r" (WARNING|ERROR|CRITICAL) |\[(Warning|ERROR)\]")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failure what each server of the test's fixtures has complained of."""
    report = yield
    if report.failed:
        fixtures = getattr(item, "funcargs", {}).values()
        for server in dict.fromkeys(server for value in fixtures for server in servers_of(value)):
            report.sections.append((heading(server), "\n".join(complaints(log_of(server)))))
    return report


def servers_of(value: object) -> Iterator[Server | Program]:
    """Return the servers that a fixture's value is, or holds as ``servers`` or ``fleet``."""
    fleet = value if isinstance(value, Fleet) else getattr(value, "fleet", None)
    if isinstance(fleet, Fleet):
        yield from (*fleet.nodes, fleet.mariadb, fleet.redis)
    for one in (value, *(value if isinstance(value, list) else getattr(value, "servers", ()))):
        if isinstance(one, Server | Program):
            yield one


def log_of(server: Server | Program) -> str:
    """Return all that a server has written."""
    return server.log.read_text(errors="replace") if isinstance(server.log, Path) else server.log


def heading(server: Server | Program) -> str:
    """Return a line that names a server."""
    if isinstance(server, Server):
        name = f"the server on port {server.port}"
    else:
        name = server.node if isinstance(server, Node) else server.name
    return f"complaints of {name}, which {'runs' if server.running else 'has ended'}"


def complaints(log: str) -> list[str]:
    """Return the last warnings, errors and tracebacks of a log."""
    kept: list[str] = []
    keeps = False
    for line in log.splitlines():
        if RECORD.match(line):
            keeps = COMPLAINT.search(line) is not None
        elif line.startswith("Traceback"):
            keeps = True
        if keeps:
            kept.append(line[:WIDTH])
    return kept[-LINES:] or ["(none)"]

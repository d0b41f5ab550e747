"""Ports of the lab's servers: nobody else takes one while its server is down."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing

import pytest

from lab import ROOT
from lab.servers import program
from lab.servers.program import EPHEMERAL, LabError, free_port, free_ports, need_ports
from tests.system.server import DEADLINE


def take(port: int) -> str:
    """Have another process of the lab take a port, if it can."""
    script = (
        "from lab.servers import program\n"
        f"program.outside_ephemeral = lambda count: range({port}, {port} + 1)\n"
        "program.TRIES = 1\n"
        "print(program.free_port())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return ran.stdout.strip() or ran.stderr.splitlines()[-1]


def test_a_port_is_none_of_those_that_outgoing_connections_get() -> None:
    low, high = map(int, EPHEMERAL.read_text().split())
    for _ in range(50):
        first = free_ports(5)
        assert not set(range(first, first + 5)) & set(range(low, high + 1))


@pytest.mark.parametrize(("low", "high"), [(32_768, 60_999), (10_005, 60_000), (1_024, 65_000)])
def test_wherever_outgoing_connections_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, low: int, high: int
) -> None:
    ephemeral = tmp_path_factory.mktemp("proc") / "ip_local_port_range"
    ephemeral.write_text(f"{low}\t{high}\n")
    monkeypatch.setattr(program, "EPHEMERAL", ephemeral)
    first = free_ports(3)
    assert first + 2 < low or first > high
    need_ports(range(first, first + 3))


def test_a_row_is_held_against_other_processes_while_nothing_listens_there() -> None:
    first = free_ports(3)
    for number in range(3):
        assert "no 1 free ports" in take(first + number)


def test_the_ports_that_were_taken_longest_ago_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "HELD", 2)
    first, second, third = free_port(), free_port(), free_port()
    assert take(first) == str(first)
    assert "no 1 free ports" in take(second)
    assert "no 1 free ports" in take(third)


def test_a_port_is_a_plain_number() -> None:
    """The socket module takes no subclass of it: "Int or String expected"."""
    assert type(free_port()) is int


def test_a_port_where_somebody_listens_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(program, "outside_ephemeral", lambda count: range(port, port + 1))
        with pytest.raises(LabError):
            free_port()

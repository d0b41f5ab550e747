"""The lab's README names its programs, their options and the rooms as they are."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from lab import ROOT
from lab.servers.node import environment

PAGE = (ROOT / "lab" / "README.md").read_text(encoding="utf-8")

PROGRAMS, ROOMS = re.findall(r"^## (?:Programs|Rooms)\n(.*?)(?=^## )", PAGE, re.M | re.S)

COMMANDS = re.findall(r"^\| `(?:scripts/|python -m lab\.)(\w+)(.*?)` \|", PROGRAMS, re.M)
"""The name of each program in the table, and the arguments of its example."""

DEADLINE = 60.0


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_a_program_has_the_options_of_its_example(name: str, arguments: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", f"lab.{name}", "--help"],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    ).stdout
    assert set(re.findall(r"--[\w-]+", arguments)) <= set(re.findall(r"--[\w-]+", told))


def test_every_program_stands_in_the_table() -> None:
    programs = {
        path.parent.name if path.stem == "__main__" else path.stem
        for path in (ROOT / "lab").rglob("*.py")
        if path.stem == "__main__" or '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert {name for name, _ in COMMANDS} == programs


def test_every_room_and_module_stands_in_the_table() -> None:
    here = {path.stem for path in (ROOT / "lab").iterdir() if path.is_dir() or path.suffix == ".py"}
    rows = re.findall(r"^\| (`.*?) \|", ROOMS, re.M)
    assert set(re.findall(r"`(\w+)[./]", "".join(rows))) == here - {"__init__", "__pycache__"}

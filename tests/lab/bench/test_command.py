"""``scripts/bench`` as people call it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from lab import ROOT
from lab.bench.__main__ import chosen, command_line
from lab.bench.scenarios import ALL, GROWTH, STANDARD

DEADLINE = 120

PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")

ONLY = "w16,group-10,offline,login-token,history-50,friends-of-10000,heartbeat-1"
ROWS = [
    *("w16", "group-10", "offline-store", "offline-drain", "login-token", "history-50", "friends-of-10000"),
    *("heartbeat-1-memory", "heartbeat-1-cpu"),
]


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "bench", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def test_a_quick_run_measures_writes_and_compares(tmp_path: Path) -> None:
    quick = ("--quick", "--seconds", "0.3", "--only", ONLY)
    first = bench(tmp_path, *quick, "--json", "first.json")
    assert (first.returncode, "Traceback" in first.stderr) == (0, False), first.stderr
    written = json.loads((tmp_path / "first.json").read_text())
    assert [row["name"] for row in written["rows"]] == ROWS
    assert [row for row in written["rows"] if row["faults"]] == []
    assert all(row["figure"] > 0 for row in written["rows"] if not row["name"].startswith("heartbeat"))

    second = bench(tmp_path, *quick[:-1], "w16", "--compare", "first.json")
    assert second.returncode == 0, second.stderr
    assert "× " in second.stdout
    assert len(list(tmp_path.glob("bench-*.json"))) == 1


@pytest.mark.long
def test_websocket_is_measured_beside_tcp(tmp_path: Path) -> None:
    only = ("--wire", "websocket", "--only", "w16,group-10,offline,heartbeat-1", "--json", "it.json")
    done = bench(tmp_path, "--quick", "--seconds", "0.3", *only)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    rows = json.loads((tmp_path / "it.json").read_text())["rows"]
    assert [row["name"] for row in rows if "tcp" not in row["more"]] == []
    assert [row for row in rows if row["faults"]] == []
    assert "over TCP" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "w17"], "there is no 'w17'"),
        (["--compare", "nowhere.json"], "nowhere.json"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    done = bench(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_names_are_chosen_by_pattern_once_and_in_the_order_given() -> None:
    assert chosen(None, False) == list(STANDARD)
    assert chosen(None, True) == list(GROWTH)
    assert chosen("login-p*, w1,login*", False)[:2] == ["login-password", "w1"]
    assert len(set(chosen("w*,w1", False))) == len(chosen("w*,w1", False))


def test_the_page_has_commands_that_can_be_typed() -> None:
    commands = re.findall(r"^scripts/bench(.*?)(?:  |$)", PAGE, re.M)
    assert len(commands) > 5
    for command in commands:
        options = command_line().parse_args(command.split())
        assert chosen(options.only, options.growth)
    for names in re.findall(r"--only ([^\s`]+)", PAGE):
        assert chosen(names, False)


def test_the_page_shows_every_scenario() -> None:
    of_any_size = {name: re.sub(r"\d+$", "N", name) for name in ALL}
    assert [name for name in ALL if name not in PAGE and f"`{of_any_size[name]}`" not in PAGE] == []

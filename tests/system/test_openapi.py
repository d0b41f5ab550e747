"""The description of the calls is the one that is served, and a real server keeps to it (schemathesis)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from greenchat.http.api.openapi import PATH, description
from greenchat.http.api.table import OPERATIONS
from lab.servers.program import free_port
from tests.system.rest import Caller
from tests.system.server import Server, join

Start = Callable[..., Server]

SECONDS = 100
"""Of a run, on a machine that does much else; alone it takes 15."""

CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 401, 404, 409, 413]

[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 413, 415, 431]
"""
"""A body that its schema allows can name two receivers, or none; and what is too long is 413 here."""

EXCLUDED = ("events", "endSession")
"""The first does not end, and behind the second the token of the run is no longer good."""

PROGRAM = "from schemathesis.cli import schemathesis; schemathesis()"


def test_a_server_keeps_to_its_description(start: Start, tmp_path: Path) -> None:
    port = free_port()
    server = start("--web", f"127.0.0.1:{port}")
    ann = join(server, "ann")
    group = ann.done(8, groupname="ours")["groupid"]
    ann.done(10, groupid=group, msg="hi")
    ann.done(17, groupid=group, target=1)
    ann.done(6, toid=ann.id, msg="to myself")
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    url = f"http://127.0.0.1:{port}{PATH}"
    _, token = Caller(port).begin("ann", "web")
    command = [sys.executable, "-c", PROGRAM, "--config-file", str(config), "run", url]
    command += ["-H", f"Authorization: Bearer {token}", "--seed", "1", "--generation-deterministic"]
    command += [
        "--max-examples",
        "10",
        "--phases",
        "examples,coverage,fuzzing",
        "--checks",
        "all",
        "--no-color",
    ]
    for name in EXCLUDED:
        command += ["--exclude-operation-id", name]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"Tested: {len(OPERATIONS) - len(EXCLUDED)}" in run.stdout
    assert Caller(port).get(PATH).json == description()

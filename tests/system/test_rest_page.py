"""The commands of docs/rest.md, run as they stand against a real server."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.servers.program import free_port
from tests.pages import page
from tests.servers import need
from tests.system.server import Client, Server

Start = Callable[..., Server]

PAGE = page("docs/rest.md")

SECONDS = 60

EXAMPLES = re.findall(r"^```sh\n(.*?)^```\n(?:```(\w*)\n(.*?)^```$)?", PAGE, re.M | re.S)
"""Commands, and the language and text of the block right behind them."""

ENDLESS = "/api/v1/events"


def shape(value: Any) -> Any:
    """Return a value without what differs from day to day: names of fields, and one item of each list."""
    if isinstance(value, dict):
        return {name: shape(field) for name, field in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return type(value)


def beginning(script: str, folder: Path) -> str:
    """Return what a command that does not end prints first, up to an empty line."""
    process = subprocess.Popen(
        ["timeout", str(SECONDS), "bash", "-euc", script], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        printed = ""
        while not printed.endswith("\n\n"):
            line = process.stdout.readline()
            assert line, printed
            printed += line
        return printed
    finally:
        process.terminate()
        process.communicate()


def test_the_commands_do_what_the_page_says(start: Start, tmp_path: Path) -> None:
    need("curl")
    port = free_port()
    server = start("--web", f"127.0.0.1:{port}")
    with Client(server) as ann, Client(server) as bob:
        for person, name in ((ann, "ann"), (bob, "bob")):
            person.done(4, name=name, password="secret")
            person.login(name=name, password="secret")
        group = ann.done(8, groupname="tea")["groupid"]
        bob.done(9, groupid=group)
    lasting = ""
    shown = 0
    for command, language, told in EXAMPLES:
        script = lasting + command.replace(":8080/", f":{port}/")
        if ENDLESS in command:
            assert re.match(r"retry: \d+\nevent: login\ndata: \{.*\}\n\n", beginning(script, tmp_path))
            continue
        run = subprocess.run(
            ["bash", "-euc", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert run.returncode == 0, (command, run.stderr)
        if command.startswith("TOKEN="):
            lasting = command
        if language == "json":
            shown += 1
            assert shape(json.loads(run.stdout)) == shape(json.loads(told)), (command, run.stdout)
        else:
            assert run.stdout == "", command
    assert shown == PAGE.count("```json\n")

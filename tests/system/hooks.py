"""Hooks of real servers: the operator's program, and a receiver in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from standardwebhooks import Webhook

from lab import ROOT
from lab.servers.node import environment
from lab.servers.program import Program, free_port

DEADLINE = 60.0

SOCKET = "control.sock"
"""Of each server, in its own folder."""

OPTIONS = ("--control-socket", SOCKET, "--hook-http", "--hook-private", "127.0.0.0/8")


class Receiver(Program):
    """A receiver of webhooks; it may be killed and started again on the same port and journal.

    Args:
        folder: for its journal and log; made here.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        super().__init__(sys.executable, folder)
        self.port = free_port()
        self._starts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/greenchat?key=s3cret"

    def start(self) -> None:
        self._starts += 1
        script = ROOT / "tests" / "system" / "receiver.py"
        arguments = [script, self.port, self.folder / "journal", self.folder / "status"]
        self._start(arguments, lambda: self.log.count("ready") == self._starts, environment())

    def answer(self, status: int) -> None:
        """Answer with a status from now on."""
        fresh = self.folder / "status.new"
        fresh.write_text(str(status))
        fresh.rename(self.folder / "status")

    def lines(self, what: str) -> list[dict[str, Any]]:
        """Return the lines of the journal of a kind; one that was cut off by a kill is left out."""
        path = self.folder / "journal"
        read = path.read_text().splitlines() if path.exists() else []
        whole = [json.loads(line) for line in read if line.endswith("}")]
        return [line for line in whole if line["what"] == what]

    @property
    def got(self) -> list[dict[str, Any]]:
        """All requests, in order."""
        return self.lines("got")

    @property
    def ids(self) -> list[str]:
        """The webhook-id of each request."""
        return [line["headers"]["webhook-id"] for line in self.got]

    def check_signatures(self, secret: str) -> None:
        """Check the signature of each request, as a receiver does."""
        for line in self.got:
            entry = Webhook(secret).verify(line["body"], line["headers"])
            assert line["headers"]["webhook-id"].endswith(f"-{entry['seq']}")


def admin(folder: Path, *arguments: object) -> tuple[int, str, str]:
    """Run greenchat-admin on the server of a folder; return the status and what it printed."""
    ran = subprocess.run(
        [sys.executable, "-m", "greenchat.admin", "--socket", str(folder / SOCKET), *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


def done(folder: Path, *arguments: object) -> str:
    """Run greenchat-admin, which succeeds, and return what it printed."""
    status, out, error = admin(folder, *arguments)
    assert (status, out != "") == (0, True), error
    return out.strip()


def post(url: str, body: bytes, content_type: str = "application/json") -> tuple[int, str, dict[str, str]]:
    """POST; return the status, the text and the headers of the answer."""
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return answer.status, answer.read().decode(), lowered(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), lowered(error.headers)


def lowered(headers: Message) -> dict[str, str]:
    """Return headers by their names in small letters."""
    return {name.lower(): value for name, value in headers.items()}


def until(is_so: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Wait until something is so."""
    end = monotonic() + seconds
    while not is_so():
        assert monotonic() < end, "it did not come about"
        sleep(0.02)

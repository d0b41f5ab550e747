"""A greenchat server, as one node of a cluster."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

from lab import ROOT
from lab.servers.program import LabError, Program, free_port

READY = re.compile(r"^greenchat \S+ listening on \S+ .*$", re.MULTILINE)

COMPLAINT = re.compile(r"^.* (?:WARNING|ERROR|CRITICAL) .*$|^Traceback.*$", re.MULTILINE)


def environment(root: Path = ROOT) -> dict[str, str]:
    """Return our environment for a server: without settings of another one, and with a checkout."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GREENCHAT_")}
    return ours | {"PYTHONPATH": str(root)}


class Node(Program):
    """A ``python -m greenchat.server`` of a cluster.

    Args:
        folder: for its log.
        name: of the node.
        store, bus: URLs.
        options: more of its command line.
        root: the checkout of its server.

    Attributes:
        host, port: where clients come to, the same after a restart.
    """

    host = "127.0.0.1"

    def __init__(
        self, folder: Path, name: str, store: str, bus: str, *options: object, root: Path = ROOT
    ) -> None:
        super().__init__(sys.executable, folder)
        self.node = name
        self.port = free_port()
        self._options = ["--node", name, "--store", store, "--bus", bus, *options]
        self._environment = environment(root)
        self._read = 0

    def start(self) -> None:
        """Start it, and return when clients can come."""
        self._read = len(self.log)
        arguments = ["-m", "greenchat.server", self.port, *self._options]
        self._start(arguments, self._is_ready, self._environment)

    def interrupt(self) -> None:
        """Let it end as Ctrl-C does.

        Raises:
            LabError: it did not end, or not with the exit status 0.
        """
        process = self._process
        assert process
        self._end(signal.SIGINT)
        if process.returncode:
            raise LabError(f"{self.node} ended with {process.returncode}:\n{self.log}")

    @property
    def died(self) -> bool:
        """True if it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    @property
    def complaints(self) -> list[str]:
        """The warnings, errors and beginnings of tracebacks that it has logged."""
        return COMPLAINT.findall(self.log)

    def freeze(self) -> None:
        """Stop the process where it is; clients and backends see nobody."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def __repr__(self) -> str:
        return self.node

    def _is_ready(self) -> bool:
        return READY.search(self.log, self._read) is not None

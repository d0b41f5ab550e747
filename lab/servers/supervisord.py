"""A private supervisord that runs greenchat servers, with ``conf/supervisord.conf``."""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from lab import ROOT
from lab.servers.node import READY, environment
from lab.servers.program import DEADLINE, LOOK_AGAIN, LabError, Program

CONF = ROOT / "conf" / "supervisord.conf"

HOPELESS = ("FATAL",)
UNPROMISING = ("FATAL", "BACKOFF")
"""States of a server that is not coming: ever, and at its first start (later it may have been killed)."""


class Supervisord(Program):
    """A ``supervisord`` with its servers on loopback.

    Args:
        folder: for its socket and all logs; its path has at most 80 characters, as a socket's must.
        servers: how many.
        first_port: of the first server; the others follow.
        settings: of all servers, by their names in the environment.

    Attributes:
        ports: of the servers.
        url: for supervisorctl.
    """

    orphaned = "TERM"  # it stops its servers, which would live on without it

    def __init__(self, folder: Path, servers: int, first_port: int, settings: Mapping[str, str]) -> None:
        super().__init__("supervisord", folder)
        self.ports = range(first_port, first_port + servers)
        self.url = f"unix://{folder / 'supervisor.sock'}"
        numbers = {"CLUSTER_NODES": str(servers), "CLUSTER_FIRST_PORT": str(first_port)}
        self._env = {**environment(), **numbers, **settings}
        self._earlier = dict.fromkeys(self.ports, 0)

    def start(self) -> None:
        """Start it, and return when it answers; the servers are on their way then."""
        self._earlier = {port: self._ready_lines(port) for port in self.ports}
        self._start(["--nodaemon", "--configuration", CONF], self._answers, self._env)

    def server(self, port: int) -> dict[str, Any]:
        """Return its information on a server: ``pid``, ``statename``, ``exitstatus`` …"""
        return dict(self._ask("getProcessInfo", _name(port)))

    def stop_server(self, port: int) -> None:
        """Let a server end in order, and return when it has."""
        self._ask("stopProcess", _name(port))

    def server_log(self, port: int) -> str:
        """Return all that a server has written."""
        path = self.log_path(port)
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def log_path(self, port: int) -> Path:
        """Return where a server writes."""
        return self.folder / f"greenchat-{port}.log"

    def starts(self, port: int) -> int:
        """Return how often a server has become ready since supervisord was started."""
        return self._ready_lines(port) - self._earlier[port]

    def wait_for(self, port: int, starts: int = 1) -> None:
        """Wait until a server has become ready so many times.

        Raises:
            LabError: it ended, or was not ready in time.
        """
        end, trouble = monotonic() + DEADLINE, UNPROMISING if starts == 1 else HOPELESS
        while self.starts(port) < starts:
            if not self.running:
                raise LabError(f"supervisord has ended: see {self.folder / 'log'}")
            if self.server(port)["statename"] in trouble or monotonic() > end:
                raise LabError(f"the server on port {port} does not start: {self._last_words(port)}")
            sleep(LOOK_AGAIN)

    def _ready_lines(self, port: int) -> int:
        return len(READY.findall(self.server_log(port)))

    def _last_words(self, port: int) -> str:
        return (self.server_log(port).splitlines() or ["it has said nothing"])[-1]

    def _answers(self) -> bool:
        try:
            return bool(self._ask("getState"))
        except (OSError, HTTPException):
            return False

    def _ask(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, self.url)
        with xmlrpc.client.ServerProxy("http://localhost", transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)


def _name(port: int) -> str:
    return f"greenchat:greenchat-{port}"

"""A private HAProxy in front of greenchat servers, with ``conf/haproxy.cfg``."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path

from lab import ROOT
from lab.servers.program import LabError, Program

CONF = ROOT / "conf" / "haproxy.cfg"

SERVER = re.compile(r"^( +server (chat|web)\d+ 127\.0\.0\.1:)\d+(?: port \d+)?\n", re.M)
"""The lines of the servers."""


class HaProxy(Program):
    """An ``haproxy`` on loopback; its log has a line for each session and web request that has ended.

    Args:
        folder: for its configuration and its log.
        servers: ports of the servers behind it (which speak the PROXY protocol), and their web ports.
        port: where chat clients come to.
        web_port: where web clients come to.
    """

    orphaned = "TERM"

    def __init__(self, folder: Path, servers: Sequence[tuple[int, int]], port: int, web_port: int) -> None:
        super().__init__("haproxy", folder)
        self.port = port
        self.web_port = web_port
        self._configuration = folder / "haproxy.cfg"
        self._configuration.write_text(configuration(servers, port, web_port), encoding="utf-8")

    def start(self) -> None:
        """Start it, and return when clients can come."""
        self._start(["-db", "-f", self._configuration], self._listens)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.web_port)) == 0


def configuration(servers: Sequence[tuple[int, int]], port: int, web_port: int) -> str:
    """Return the text of the configuration with other ports.

    Raises:
        LabError: the file is not in the known form.
    """
    text = CONF.read_text(encoding="utf-8")
    places = {
        "chat": "".join(f"    server chat{one} 127.0.0.1:{one} port {web}\n" for one, web in servers),
        "web": "".join(f"    server web{one} 127.0.0.1:{web}\n" for one, web in servers),
    }

    def first(found: re.Match[str]) -> str:
        return places.pop(found[2], "")

    text, lines = SERVER.subn(first, text)
    for known, other in ((8000, port), (8080, web_port)):
        bind = f"    bind 127.0.0.1:{known}\n"
        if lines != 6 or text.count(bind) != 1:
            raise LabError(f"{CONF}: the lines with the ports are not as they were")
        text = text.replace(bind, f"    bind 127.0.0.1:{other}\n")
    return text

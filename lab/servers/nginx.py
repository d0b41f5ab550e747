"""A private nginx in front of greenchat servers, with ``conf/nginx_stream.conf`` and ``nginx_http.conf``."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lab import ROOT
from lab.servers.program import LabError, Program

CONF = ROOT / "conf" / "nginx_stream.conf"
WEB_CONF = ROOT / "conf" / "nginx_http.conf"

PORT = 8000
WEB_PORT = 8080
"""The addresses for clients, as they stand in the files."""

FIRST_SERVER = 6001
"""The port of the first server, as it stands in the file."""

WEB_ABOVE = 2_000
"""The web port of a server is so far above its own, in the files."""

SERVERS = re.compile(r"^( +server 127\.0\.0\.1:)\d+( .*;\n)(?:\1\d+\2)*", re.M)
"""The lines of the local servers, one after the other."""

MODULE = re.compile(r"^load_module (\S+);\n", re.M)


class Front(NamedTuple):
    """The way in for web clients: the port they come to, and the web ports of the servers."""

    port: int
    servers: Sequence[int]


class Nginx(Program):
    """An ``nginx`` on loopback.

    Args:
        folder: for its configuration, its process id and its logs.
        servers: ports of the servers behind it, which speak the PROXY protocol.
        port: where clients come to.
        web: where web clients come to; None: nowhere.

    Attributes:
        access_log: has a line for each session that has ended, at the latest a second later.
        web_log: the same for each web request.
    """

    orphaned = "TERM"  # the master tells its workers, which would live on without it

    def __init__(
        self, folder: Path, servers: Sequence[int], port: int = PORT, web: Front | None = None
    ) -> None:
        super().__init__("nginx", folder)
        self.port = port
        self.web = web
        self.web_log = folder / "greenchat_web.log"
        self.configuration = folder / "nginx.conf"
        self.access_log = folder / "access.log"
        self._pid_file = folder / "nginx.pid"
        self.configure(servers)

    def configure(self, servers: Sequence[int]) -> None:
        """Write the configuration: the files of the checkout, with these ports."""
        text = configuration(self.port, servers)
        if self.web is not None:
            text += f"http {{\n{web_configuration(self.web)}}}\n"
        self.configuration.write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start it, and return when clients can come."""
        self._pid_file.unlink(missing_ok=True)
        self._start(
            ["-p", self.folder, "-c", self.configuration, "-e", "stderr", "-g", "daemon off;"],
            self._listens,
        )

    def reload(self, servers: Sequence[int]) -> None:
        """Let it use other servers; the connections that it has stay."""
        self.configure(servers)
        self.signal(signal.SIGHUP)

    def _listens(self) -> bool:
        # It writes its process id once it has the ports; to try one would be a session of its own.
        return self._pid_file.exists() and self._pid_file.read_text() != ""


def configuration(port: int, servers: Sequence[int]) -> str:
    """Return the text of the configuration with other ports, and without the module where it is built in.

    Raises:
        LabError: the file is not in the known form.
    """

    text = _with_ports(CONF, PORT, port, servers)
    module = MODULE.search(text)
    if module and not Path(module[1]).exists():
        text = MODULE.sub("", text)
    return text


def web_configuration(web: Front) -> str:
    """Return the text for the block ``http`` with other ports.

    Raises:
        LabError: the file is not in the known form.
    """
    return _with_ports(WEB_CONF, WEB_PORT, web.port, web.servers)


def _with_ports(file: Path, known: int, port: int, servers: Sequence[int]) -> str:
    def lines(found: re.Match[str]) -> str:
        return "".join(f"{found[1]}{server}{found[2]}" for server in servers)

    text, changed = SERVERS.subn(lines, file.read_text(encoding="utf-8"))
    where = f" 127.0.0.1:{known} "
    if changed != 1 or text.count(where) != 1:
        raise LabError(f"{file}: the lines with the ports are not as they were")
    return text.replace(where, f" 127.0.0.1:{port} ")

"""A private nginx in front of greenchat servers, with ``conf/nginx_stream.conf``."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from lab import ROOT
from lab.servers.program import LabError, Program

CONF = ROOT / "conf" / "nginx_stream.conf"

PORT = 8000
FIRST_SERVER = 6001
"""The address for clients and that of the first server behind it, as they stand in the file."""

SERVERS = re.compile(r"^( +server 127\.0\.0\.1:)\d+( .*;\n)(?:\1\d+\2)*", re.M)
"""The lines of the local servers, one after the other."""

MODULE = re.compile(r"^load_module (\S+);\n", re.M)


class Nginx(Program):
    """An ``nginx`` on loopback.

    Args:
        folder: for its configuration, its process id and its logs.
        servers: ports of the servers behind it, which speak the PROXY protocol.
        port: where clients come to.

    Attributes:
        access_log: has a line for each session that has ended, at the latest a second later.
    """

    orphaned = "TERM"  # the master tells its workers, which would live on without it

    def __init__(self, folder: Path, servers: Sequence[int], port: int = PORT) -> None:
        super().__init__("nginx", folder)
        self.port = port
        self.configuration = folder / "nginx.conf"
        self.access_log = folder / "access.log"
        self._pid_file = folder / "nginx.pid"
        self.configure(servers)

    def configure(self, servers: Sequence[int]) -> None:
        """Write the configuration: the file of the checkout, with these ports."""
        self.configuration.write_text(configuration(self.port, servers), encoding="utf-8")

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

    def lines(found: re.Match[str]) -> str:
        return "".join(f"{found[1]}{server}{found[2]}" for server in servers)

    text, changed = SERVERS.subn(lines, CONF.read_text(encoding="utf-8"))
    where = f" 127.0.0.1:{PORT} "
    if changed != 1 or text.count(where) != 1:
        raise LabError(f"{CONF}: the lines with the ports are not as they were")
    module = MODULE.search(text)
    if module and not Path(module[1]).exists():
        text = MODULE.sub("", text)
    return text.replace(where, f" 127.0.0.1:{port} ")

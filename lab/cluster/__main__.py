"""``scripts/cluster``: a whole cluster on this machine, MariaDB, Redis, servers under supervisord, nginx."""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import sleep
from typing import NamedTuple, NoReturn

from lab import ROOT
from lab.cluster.smoke_test import SmokeTestFailed, smoke_test
from lab.servers import nginx, supervisord
from lab.servers.mariadb import MariaDb
from lab.servers.program import LabError, find, free_port, free_ports, need_ports
from lab.servers.redis import PASSWORD, Redis

MOST_NODES = 99

LONGEST_FOLDER = 70
"""Characters: there are sockets below it, and their paths have at most 107."""

LOOK_AGAIN = 1.0
"""Seconds between two checks that all programs still run."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Raised where the program is when it is told to stop."""


class Ports(NamedTuple):
    """The ports of a cluster.

    Attributes:
        clients: where chat clients come to.
        web: where web clients come to.
        first: of the first server; the others follow.
        web_above: the web port of a server is so far above its own.
    """

    clients: int
    web: int
    first: int
    web_above: int


class Cluster:
    """The programs of a cluster, each in a folder of its own.

    Args:
        folder: for all of it.  One that had a cluster before has its database still.
        nodes: how many servers.
        ports: where clients come to, and where they find the servers.
    """

    def __init__(self, folder: Path, nodes: int, ports: Ports) -> None:
        self.mariadb = MariaDb(_within(folder, "mariadb"))
        self.redis = Redis(_within(folder, "redis"))
        self._folder = folder.absolute()
        settings = {
            "GREENCHAT_CONTROL_SOCKET": self._socket("%p"),
            "GREENCHAT_STORE": self.mariadb.url(),
            "GREENCHAT_BUS": self.redis.url(),
            "GREENCHAT_WEB": f"127.0.0.1:+{ports.web_above}",
        }
        self.servers = supervisord.Supervisord(_within(folder, "servers"), nodes, ports.first, settings)
        web = nginx.Front(ports.web, [port + ports.web_above for port in self.servers.ports])
        self.nginx = nginx.Nginx(_within(folder, "nginx"), self.servers.ports, ports.clients, web)
        self._installed = folder / "installed"

    def _socket(self, port: object) -> str:
        """Return the path of a server's socket for operators."""
        return str(self._folder / f"control-{port}.sock")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run all of it for the block, which begins when clients can come.

        Raises:
            LabError: a program does not start.
        """
        with ExitStack() as started:
            started.callback(self.mariadb.stop)
            self._start_database()
            # nginx starts before the servers and so ends after them: it brings their BYE to the clients.
            for program in (self.redis, self.nginx, self.servers):
                started.callback(program.stop)
                program.start()
            for port in self.servers.ports:
                self.servers.wait_for(port)
            yield

    def _start_database(self) -> None:
        if self._installed.exists():
            self.mariadb.start()
            return
        shutil.rmtree(self.mariadb.folder / "data", ignore_errors=True)
        self.mariadb.install()
        self.mariadb.run("CREATE DATABASE chat")
        self._installed.touch()  # last of all: an installation that was broken off is done anew

    def watch(self) -> NoReturn:
        """Wait for ever.

        Raises:
            LabError: a program has ended by itself.
        """
        while True:
            for program in (self.mariadb, self.redis, self.nginx, self.servers):
                if not program.running:
                    raise LabError(f"{program.name} has ended: {(program.log.splitlines() or ['?'])[-1]}")
            sleep(LOOK_AGAIN)

    def description(self) -> str:
        """Return the programs with their ports, pids and logs, and how to connect."""
        servers, programs = self.servers, Path(sys.executable).parent
        pids = {port: servers.server(port)["pid"] for port in servers.ports}
        rows = [
            ("nginx", self.nginx.port, self.nginx.pid, self.nginx.access_log),
            *(("server", port, pid, servers.log_path(port)) for port, pid in pids.items()),
            ("supervisord", "-", servers.pid, servers.folder / "supervisord.log"),
            ("Redis", self.redis.port, self.redis.pid, self.redis.folder / "log"),
            ("MariaDB", self.mariadb.port, self.mariadb.pid, self.mariadb.folder / "log"),
        ]
        return "\n".join(
            [
                "The cluster is ready. Chat in it, from two terminals or more:",
                f"  cd {ROOT} && .venv/bin/python -m greenchat.client 127.0.0.1 {self.nginx.port}",
                f"web client: http://127.0.0.1:{self.nginx.web.port}" if self.nginx.web else "",
                "",
                f"  {'127.0.0.1':<12} {'port':>5} {'pid':>8}  log",
                *(f"  {what:<12} {port:>5} {pid:>8}  {log}" for what, port, pid, log in rows),
                "",
                "Look into it:",
                f"  {ROOT / 'scripts' / 'admin'} --socket {self._socket(servers.ports[0])} hook list",
                f"  {programs / 'supervisorctl'} -s {servers.url} status",
                f"  mariadb --socket={self.mariadb.folder / 'sock'} --user=root chat",
                f"  REDISCLI_AUTH={PASSWORD} redis-cli -p {self.redis.port}",
            ]
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cluster until it is told to stop, or check one.

    Returns:
        The exit status: 0 if it was told to stop or the check went well, 1 if something failed.
    """
    given = _parser().parse_args(arguments)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        _run(given)
    except (LabError, SmokeTestFailed, OSError) as error:
        _say(f"scripts/cluster: {error}")
        return 1
    except Stopped:
        pass
    return 0


def _run(given: argparse.Namespace) -> None:
    for program in ("mariadbd", "mariadb-install-db", "redis-server", "nginx", "supervisord"):
        find(program)
    ports = _ports(given)
    with _folder(given.keep) as folder:
        cluster = Cluster(folder, given.nodes, ports)
        _say(f"starting MariaDB, Redis, nginx, and {_servers(given.nodes)} under supervisord …")
        with cluster.running():
            if given.check:
                smoke_test(cluster.servers, cluster.nginx.port, ports.web, partial(print, flush=True))
                return
            end = "stays" if given.keep else "is removed then; --keep FOLDER keeps one"
            print(cluster.description(), f"Ctrl-C stops all of it. {folder} {end}.", sep="\n\n", flush=True)
            cluster.watch()


def _ports(given: argparse.Namespace) -> Ports:
    """Return the ports that were asked for.

    Raises:
        LabError: one of them is taken.
    """
    nodes, above = given.nodes, nginx.WEB_ABOVE
    first = given.first_port
    if not first:
        first, above = free_ports(2 * nodes), nodes
    ports = Ports(given.port or free_port(), given.web_port or free_port(), first, above)
    try:
        servers = range(first, first + nodes)
        need_ports([ports.clients, ports.web, *servers, *(port + above for port in servers)])
    except LabError as error:
        raise LabError(f"{error}; take others with --port, --web-port and --first-port") from None
    return ports


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/cluster",
        description="Run a whole cluster on this machine: private MariaDB and Redis, servers under"
        " supervisord (conf/supervisord.conf), nginx in front (conf/nginx_stream.conf and nginx_http.conf).",
        allow_abbrev=False,
    )
    parser.add_argument("nodes", metavar="N", nargs="?", type=_nodes, default=3, help="servers (default: 3)")
    parser.add_argument("--check", action="store_true", help="hold a short conversation through it, and end")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="keep the data here, for the next time")
    ports: list[tuple[str, int, str]] = [
        ("--port", nginx.PORT, "where clients come to"),
        ("--web-port", nginx.WEB_PORT, "where web clients come to"),
        ("--first-port", nginx.FIRST_SERVER, "of the first server, the others follow"),
    ]
    for option, default, what in ports:
        about = f"{what} (default: {default}); 0 takes free ones"
        parser.add_argument(option, metavar="PORT", type=_port, default=default, help=about)
    return parser


def _nodes(text: str) -> int:
    return _number(text, 1, MOST_NODES)


def _port(text: str) -> int:
    return _number(text, 0, 65_535 - MOST_NODES)


def _number(text: str, least: int, most: int) -> int:
    if not (text.isdecimal() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
    return int(text)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Make the folder of the cluster, and remove it at the end unless it is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="greenchat-cluster-") as name:
            yield Path(name)
        return
    folder = keep.absolute()
    if len(str(folder)) > LONGEST_FOLDER:
        raise LabError(f"{folder}: too long for the sockets in it: {LONGEST_FOLDER} characters will do")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"{folder} is in use by another scripts/cluster") from None
        yield folder


def _servers(count: int) -> str:
    return f"{count} servers" if count > 1 else "a server"


def _within(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(exist_ok=True)
    return path


def _stop(number: int, frame: object) -> NoReturn:
    for each in SIGNALS:  # once is enough: the end takes seconds, and is not to be broken off
        signal.signal(each, signal.SIG_IGN)
    _say("stopping …")
    raise Stopped


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""A private MariaDB server for tests: its own folder, port and process, nothing left behind."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pymysql
import pytest

DEADLINE = 60.0
"""Seconds that a start or an end may take: generous, because nothing waits for it when all is well."""

PASSWORD = "s3cret ü@/"
"""Of the user ``chat``: with what must be quoted in a URL."""


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class MariaDb:
    """A ``mariadbd`` on loopback.

    Args:
        folder: for its data, its socket and its log.
        options: of its command line.

    Attributes:
        port: where it listens, the same after a restart.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers.  It ends with the tests, even if these are killed."""
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    *(["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []),
                    shutil.which("mariadbd") or "/usr/sbin/mariadbd",
                    "--no-defaults",
                    f"--user={_user()}",
                    f"--datadir={self.folder / 'data'}",
                    f"--socket={self.folder / 'sock'}",
                    f"--pid-file={self.folder / 'pid'}",
                    f"--port={self.port}",
                    "--bind-address=127.0.0.1",
                    "--skip-log-bin",
                    "--innodb-buffer-pool-size=64M",
                    "--innodb-log-file-size=32M",
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = monotonic() + DEADLINE
        while True:
            try:
                self.connect().close()
                return
            except pymysql.err.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert monotonic() < end, (self.folder / "log").read_text()
            sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it end in order, if it runs."""
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self._end(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal (SIGSTOP, SIGCONT)."""
        assert self._process
        self._process.send_signal(number)

    def connect(self, database: str | None = None, **options: Any) -> pymysql.connections.Connection[Any]:
        """Return a connection of the root user, each statement committed by itself."""
        return pymysql.connect(
            unix_socket=str(self.folder / "sock"),
            user="root",
            database=database,
            autocommit=True,
            charset="utf8mb4",
            **options,
        )

    def run(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements as root and return the rows of the last."""
        with closing(self.connect(database)) as connection, closing(connection.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def fresh(self, name: str = "chat") -> str:
        """Make an empty database, in place of an old one of that name, and return its URL."""
        self.run(f"DROP DATABASE IF EXISTS `{name}`", f"CREATE DATABASE `{name}`")
        return self.url(name)

    def url(self, name: str = "chat") -> str:
        return f"mysql+pymysql://chat:s3cret%20%C3%BC%40%2F@127.0.0.1:{self.port}/{name}"

    def load(self, path: Path, database: str) -> None:
        """Do what ``mysql DATABASE < PATH`` does."""
        client = shutil.which("mariadb") or shutil.which("mysql")
        assert client
        with open(path, "rb") as script:
            subprocess.run(
                [client, "--no-defaults", f"--socket={self.folder / 'sock'}", "--user=root", database],
                stdin=script,
                check=True,
                timeout=DEADLINE,
            )

    def install(self) -> None:
        """Make its data folder and its users, and start it."""
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--user={_user()}",
                f"--datadir={self.folder / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                "--innodb-log-file-size=32M",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=DEADLINE,
        )
        self.start()
        self.run(
            f"CREATE USER chat@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
            "GRANT ALL ON `chat%`.* TO chat@'127.0.0.1'",
        )

    def _end(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)
        self._process.wait(DEADLINE)
        self._process = None


@contextmanager
def private_mariadb(*options: str) -> Iterator[MariaDb]:
    """Run a server for the block; without the program, skip (in CI: fail)."""
    if shutil.which("mariadb-install-db") is None:
        message = "mariadb-server is not installed: scripts/test installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with tempfile.TemporaryDirectory(prefix="greenchat-mariadb-") as folder:
        server = MariaDb(Path(folder), *options)
        try:
            server.install()
            yield server
        finally:
            server.stop()


def _user() -> str:
    """Return who the server is to run as: it refuses root unless it is named."""
    return pwd.getpwuid(os.geteuid()).pw_name

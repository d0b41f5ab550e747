"""A private MariaDB server."""

from __future__ import annotations

import os
import pwd
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql

from lab.servers.program import DEADLINE, LabError, Program, find, free_port

PASSWORD = "s3cret ü@/"
"""Of the user ``chat``: with characters that must be quoted in a URL."""


class MariaDb(Program):
    """A ``mariadbd`` on loopback.

    Args:
        folder: for its data, its socket and its log.
        options: of its command line.

    Attributes:
        port: where it listens, the same after a restart.
    """

    needs = ("mariadbd", "mariadb-install-db")

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__("mariadbd", folder)
        self.port = free_port()
        self._options = options

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._start(
            [
                "--no-defaults",
                f"--user={_user()}",
                f"--datadir={self.folder / 'data'}",
                self._own_temporary_folder,
                f"--socket={self.folder / 'sock'}",
                f"--pid-file={self.folder / 'pid'}",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                "--skip-log-bin",
                "--innodb-buffer-pool-size=64M",
                "--innodb-log-file-size=32M",
                *self._options,
            ],
            self._answers,
        )

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

    def url(self, name: str = "chat", port: int | None = None) -> str:
        """Return the URL of a database, by way of another port if one is given."""
        return f"mysql+pymysql://chat:s3cret%20%C3%BC%40%2F@127.0.0.1:{port or self.port}/{name}"

    def load(self, path: Path, database: str) -> None:
        """Run a script, as ``mysql DATABASE < PATH`` does."""
        with open(path, "rb") as script:
            subprocess.run(
                [
                    find("mariadb"),
                    "--no-defaults",
                    f"--socket={self.folder / 'sock'}",
                    "--user=root",
                    database,
                ],
                stdin=script,
                check=True,
                timeout=DEADLINE,
            )

    def install(self) -> None:
        """Make its data folder and its users, and start it."""
        with open(self.folder / "log", "ab") as log:
            made = subprocess.run(
                [
                    find("mariadb-install-db"),
                    "--no-defaults",
                    f"--user={_user()}",
                    f"--datadir={self.folder / 'data'}",
                    self._own_temporary_folder,
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                    "--innodb-log-file-size=32M",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,  # as an ordinary user it complains of steps that it can skip
                check=False,
                timeout=DEADLINE,
            )
        if made.returncode:
            raise LabError(f"mariadb-install-db failed:\n{self.log}")
        self.start()
        self.run(
            f"CREATE USER chat@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
            "GRANT ALL ON `chat%`.* TO chat@'127.0.0.1'",
        )

    @property
    def _own_temporary_folder(self) -> str:
        # A server that starts deletes all temporary tables there, those of other servers too.
        return f"--tmpdir={self.folder}"

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except pymysql.err.OperationalError:
            return False
        return True


def _user() -> str:
    """Return the user to run the server as: it refuses root unless that is named."""
    return pwd.getpwuid(os.geteuid()).pw_name

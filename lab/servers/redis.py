"""A private Redis server."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import redis

from lab.servers.program import Program, free_port

PASSWORD = "r3dis-pw"


class Redis(Program):
    """A ``redis-server`` on loopback that keeps nothing on the disk.

    Args:
        folder: for its log.
        options: of its command line.

    Attributes:
        port: where it listens, the same after a restart.
    """

    needs = ("redis-server",)

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__("redis-server", folder)
        self.port = free_port()
        self._options = options

    def start(self) -> None:
        """Start it, and return when it answers."""
        where = ["--port", self.port, "--bind", "127.0.0.1", "--dir", self.folder]
        self._start(
            [*where, "--save", "", "--appendonly", "no", "--requirepass", PASSWORD, *self._options],
            self._answers,
        )

    def connect(self, *, decode_responses: bool = True) -> redis.Redis:
        """Return a client of it, which returns text, or bytes."""
        return redis.Redis("127.0.0.1", self.port, password=PASSWORD, decode_responses=decode_responses)

    def url(self, port: int | None = None) -> str:
        """Return its URL, by way of another port if one is given."""
        return f"redis://:{PASSWORD}@127.0.0.1:{port or self.port}"

    def _answers(self) -> bool:
        try:
            with closing(self.connect()) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

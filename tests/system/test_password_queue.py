"""A crowd that has passwords hashed without end keeps nobody else from logging in or registering."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.system.server import DEADLINE, Client, Ended, Server

LOGIN, LOGINOUT, REG = 1, 3, 4

ACCOUNTS, DEVICES = 9, 8
"""72 connections: more than the queue of hashes has room for."""

ROUNDS = 8


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path, "--login-timeout", 60)) as server:
        yield server


class Crowd:
    """Connections that log in by password again and again, with the right one.

    Attributes:
        is_complete: all of them have had an answer.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self.is_complete = threading.Event()
        self._answered: set[tuple[int, int]] = set()
        places = [(account, device) for account in range(ACCOUNTS) for device in range(DEVICES)]
        self._threads = [threading.Thread(target=self._insist, args=place) for place in places]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _insist(self, account: int, device: int) -> None:
        with suppress(Ended, OSError), Client(self._server) as client:
            while not self._stop.is_set():
                client.ask(LOGIN, name=f"crowd{account}", password="pw", device=f"{device}")
                client.ask(LOGINOUT)
                self._answered.add((account, device))
                if len(self._answered) == len(self._threads):
                    self.is_complete.set()


def test_a_crowd_at_the_queue_of_hashes_keeps_nobody_out(server: Server) -> None:
    with Client(server) as client:
        for number in range(ACCOUNTS):
            client.done(REG, name=f"crowd{number}", password="pw")
        client.done(REG, name="ann", password="pw")
    with Crowd(server) as crowd:
        assert crowd.is_complete.wait(DEADLINE)
        for number in range(ROUNDS):
            with Client(server) as ann:
                ann.done(LOGIN, name="ann", password="pw")
                ann.done(LOGINOUT)
                ann.done(REG, name=f"newcomer{number}", password="pw")

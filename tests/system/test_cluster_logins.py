"""Logins of one account at several real nodes at the same moment."""

from __future__ import annotations

from contextlib import ExitStack
from time import monotonic

import pytest

from lab.fleet import Fleet
from lab.servers.node import Node
from tests.system.server import DEADLINE, Client, Ended, join

LOGIN, HEARTBEAT = 1, 12

ROUNDS = 12

CALM = 1.5
"""Seconds in which nodes tell each other their positions, and hold newcomers against the database."""


@pytest.fixture
def nodes(fleet: Fleet) -> list[Node]:
    return fleet.nodes


def lives(client: Client) -> bool:
    """Return True if a connection stands."""
    try:
        client.ask(HEARTBEAT)
    except (Ended, OSError):
        return False
    return True


def wait_for_one(clients: list[Client]) -> None:
    """Wait until one connection is left; it stays."""
    until = monotonic() + DEADLINE
    while len(clients := [client for client in clients if lives(client)]) > 1:
        assert monotonic() < until, "more than one lives"
    calm = monotonic() + CALM
    while monotonic() < calm:
        assert [lives(client) for client in clients] == [True]


@pytest.mark.parametrize("logins", [2, 9])
def test_of_forced_logins_at_several_nodes_at_once_one_connection_lives(
    nodes: list[Node], logins: int
) -> None:
    for number in range(ROUNDS):
        with ExitStack() as ends:
            first = ends.enter_context(join(nodes[0], f"forced{logins}.{number}"))
            clients = [ends.enter_context(Client(nodes[place % 3])) for place in range(logins)]
            for client in clients:
                client.send(LOGIN, token=first.token, force=True, cid="login")
            wait_for_one([first, *clients])


def test_eight_devices_at_several_nodes_at_once_all_get_in_by_password(nodes: list[Node]) -> None:
    with ExitStack() as ends:
        ann = ends.enter_context(join(nodes[0], "eight"))
        ann.done(3)
        clients = [ends.enter_context(Client(nodes[place % 3])) for place in range(8)]
        for place, client in enumerate(clients):
            client.send(LOGIN, name="eight", password="pw", device=f"d{place}", cid="login")
        assert [client.wait(cid="login")["errno"] for client in clients] == [0] * 8


def test_of_logins_without_force_at_several_nodes_at_once_one_gets_in(nodes: list[Node]) -> None:
    for number in range(ROUNDS):
        with ExitStack() as ends:
            ann = ends.enter_context(join(nodes[0], f"polite{number}"))
            token = ann.token
            ann.sock.close()
            clients = [ends.enter_context(Client(node)) for node in nodes]
            until = monotonic() + DEADLINE
            errnos: list[int] = []
            while 0 not in errnos and monotonic() < until:  # until the end of the first one is known
                for client in clients:
                    client.send(LOGIN, token=token, cid="login")
                errnos = [client.wait(cid="login")["errno"] for client in clients]
            assert sorted(errnos) == [0, 2, 2]

"""Who may think before a login, and who goes first when room is needed."""

from __future__ import annotations

import itertools

import pytest

from greenchat.network.limits import Limits
from greenchat.network.silent import SilentConnections


class Newcomer:
    count = itertools.count()

    def __init__(self, host: str) -> None:
        self.opened = float(next(self.count))
        self.address = f"{host}:1"
        self.ended = False

    def make_room(self) -> None:
        self.ended = True


def crowd(silent: SilentConnections, *hosts: str) -> list[Newcomer]:
    newcomers = [Newcomer(host) for host in hosts]
    for newcomer in newcomers:
        silent.grant(newcomer)
    return newcomers


@pytest.fixture
def silent() -> SilentConnections:
    return SilentConnections(
        Limits(
            silent_timeout=60.0,
            max_silent=4,
            max_silent_per_address=3,
            is_exempt=lambda host: host == "127.0.0.1",
        )
    )


def test_an_address_has_so_many_and_an_exempt_one_as_many_as_there_is_room(silent: SilentConnections) -> None:
    crowd(silent, "192.0.2.1", "192.0.2.1", "192.0.2.1")
    assert not silent.grant(Newcomer("192.0.2.1"))
    assert silent.grant(Newcomer("192.0.2.2"))
    exempt = SilentConnections(Limits(max_silent=9, max_silent_per_address=1, is_exempt=lambda host: True))
    assert all(exempt.grant(Newcomer("127.0.0.1")) for _ in range(9))


def test_of_ipv6_a_network_of_64_bits_is_one_address(silent: SilentConnections) -> None:
    crowd(silent, "[2001:db8::1]", "[2001:db8::2]", "[2001:db8::3]")
    assert not silent.grant(Newcomer("[2001:db8::4]"))
    assert silent.grant(Newcomer("[2001:db8:0:1::1]"))


def test_the_newest_of_the_address_with_the_most_makes_room(silent: SilentConnections) -> None:
    person, *attacker = crowd(silent, "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3")
    assert silent.grant(late := Newcomer("192.0.2.4"))
    assert [peer.ended for peer in (person, *attacker, late)] == [False, False, True, False, False]


def test_the_newest_is_the_one_that_came_last_and_not_the_one_granted_last(silent: SilentConnections) -> None:
    older, newer = Newcomer("192.0.2.1"), Newcomer("192.0.2.1")
    assert silent.grant(newer)
    assert silent.grant(older)
    assert silent.give_way(0)
    assert (older.ended, newer.ended) == (False, True)


def test_a_newcomer_of_the_address_with_the_most_is_the_one_to_go(silent: SilentConnections) -> None:
    others = crowd(silent, "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3")
    assert not silent.grant(Newcomer("192.0.2.2"))
    assert not any(other.ended for other in others)
    assert len(silent) == 4


def test_of_addresses_with_one_each_the_newest_goes(silent: SilentConnections) -> None:
    first, *_, last = crowd(silent, "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
    assert not silent.grant(Newcomer("192.0.2.5"))
    assert not first.ended
    assert not last.ended


def test_for_a_newcomer_one_gives_way_whose_address_has_more(silent: SilentConnections) -> None:
    assert not silent.give_way(0)
    person, first, second, third = crowd(silent, "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2")
    assert not silent.give_way(2)
    assert silent.give_way(0)
    assert silent.give_way(0)
    assert not silent.give_way(0)
    assert [peer.ended for peer in (person, first, second, third)] == [False, False, True, True]
    assert third not in silent


def test_one_that_has_logged_in_or_ended_is_forgotten(silent: SilentConnections) -> None:
    for newcomer in crowd(silent, "192.0.2.1", "192.0.2.1", "192.0.2.1"):
        silent.remove(newcomer)
        silent.remove(newcomer)
    assert len(silent) == 0
    assert silent.grant(Newcomer("192.0.2.1"))

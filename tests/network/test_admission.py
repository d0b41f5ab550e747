"""Who is one too many: the counts by hand-made newcomers."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from greenchat.errors import RateLimited
from greenchat.metrics import CONNECTIONS_REFUSED
from greenchat.network import admission
from greenchat.network.admission import REFUSED_AT_ONCE, RETRY_AFTER, Admission, TooManyConnections


def some(most: int = 1000, of_address: int = 1000, strangers: int = 1000, exempt: str = "") -> Admission:
    return Admission(most, of_address, strangers, lambda host: host == exempt)


def come(
    found: Admission, address: str = "192.0.2.1:1", user: int | None = None
) -> tuple[Any, RateLimited | None]:
    """Enter, and be seated."""
    refusal = found.enter(address)
    connection: Any = PeerAt(address=address, is_anonymous=user is None)
    found.register(connection, refusal)
    return connection, refusal


class PeerAt(SimpleNamespace):
    """What is seen of a connection."""

    __hash__ = object.__hash__  # type: ignore[assignment]


class Clock:
    """A clock that stands still.

    Attributes:
        now: seconds.
    """

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(admission, "monotonic", clock)
    return clock


def wait_of_refused(found: Admission) -> float:
    """Return the seconds that one more is asked to wait, which then leaves."""
    refusal = found.enter("192.0.2.1:1")
    found.leave_unregistered("192.0.2.1:1", refusal)
    assert refusal is not None
    assert refusal.retry_after is not None
    return refusal.retry_after


def admitted(found: Admission) -> list[bool]:
    """Fill all limits, and return which of the connections were admitted."""
    return [come(found, f"[2001:db8:0:{number % 9}::1]:1")[1] is None for number in range(60)]


def refused(found: Admission, address: str = "192.0.2.1:1") -> str | None:
    """Return the reason for which one more is refused, who then leaves."""
    connection, refusal = come(found, address)
    found.leave(connection)
    if refusal is None:
        return None
    assert refusal.errno == 11
    assert refusal.retry_after is not None
    assert RETRY_AFTER[0] <= refusal.retry_after <= admission.LONGEST_WAIT
    return str(refusal)


def test_each_limit_is_told_by_its_name() -> None:
    in_all, of_address, strangers = some(most=2), some(of_address=2), some(strangers=2)
    for found in (in_all, of_address, strangers):
        come(found)
        assert refused(found) is None
        come(found)
    assert refused(in_all) == "too many connections to this server"
    assert refused(of_address) == "too many connections from your address"
    assert refused(strangers) == "too many connections to this server that are not logged in"


def test_for_a_newcomer_a_connection_may_be_ended_given_how_many_its_address_has() -> None:
    asked: list[int] = []

    def give_way(here: int) -> bool:
        asked.append(here)
        return here < 2

    found = Admission(1000, 1000, 2, lambda host: False, give_way)
    for address in ("192.0.2.1:1", "192.0.2.2:1", "192.0.2.2:2", "192.0.2.2:3"):
        come(found, address)
    assert asked == [1, 2]
    assert refused(found, "192.0.2.3:1") is None


def test_in_a_wave_the_refused_are_spread_further(clock: Clock) -> None:
    def longest(found: Admission, count: int) -> float:
        waits = [wait_of_refused(found) for _ in range(count)]
        assert min(waits) >= RETRY_AFTER[0]
        return max(waits)

    assert longest(some(most=0), 100) <= 5.2
    assert 7.0 < longest(some(most=0), 2_000) <= 9.0
    found = some(most=0)
    assert longest(found, 50_000) <= admission.LONGEST_WAIT
    clock.now += admission.WAVE_SECONDS
    assert longest(found, 100) <= 5.2


def test_who_leaves_makes_room() -> None:
    for found in (some(most=1), some(of_address=1), some(strangers=1)):
        connection, _ = come(found)
        assert refused(found)
        found.leave(connection)
        assert refused(found) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1:1", "192.0.2.1:2", True),
        ("192.0.2.1:1", "192.0.2.2:1", False),
        ("[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::9]:1", True),
        ("[2001:db8:1:2::1]:1", "[2001:db8:1:3::1]:1", False),
        ("[fe80::1%1]:1", "[fe80::2%1]:1", True),
    ],
)
def test_an_address_is_what_one_household_has(one: str, other: str, same: bool) -> None:
    found = some(of_address=1)
    come(found, one)
    assert (refused(found, other) is not None) is same


def test_an_exempt_address_and_no_limit_of_addresses_let_any_number_in() -> None:
    for found in (some(of_address=1, exempt="192.0.2.1"), some(of_address=0)):
        for _ in range(5):
            assert come(found)[1] is None
    found = some(of_address=1, exempt="192.0.2.1")
    come(found, "192.0.2.2:1")
    assert refused(found, "192.0.2.2:2")


def test_exempt_or_not_the_limits_in_all_count() -> None:
    for found in (some(most=1, exempt="192.0.2.1"), some(strangers=1, exempt="192.0.2.1")):
        come(found)
        assert refused(found)


def test_who_has_logged_in_is_no_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "SWEEP_AGAIN", 0.0)
    found = some(strangers=2)
    ann, _ = come(found)
    come(found)
    assert refused(found)
    ann.is_anonymous = False
    assert refused(found) is None


def test_a_flood_of_strangers_is_not_looked_through_for_each(clock: Clock) -> None:
    found = some(strangers=1)
    ann, _ = come(found)
    assert refused(found)
    ann.is_anonymous = False
    assert refused(found)  # it has been looked just now
    clock.now += admission.SWEEP_AGAIN
    assert refused(found) is None


def test_who_is_being_greeted_counts_everywhere() -> None:
    for found in (some(most=1), some(of_address=1), some(strangers=1)):
        assert found.enter("192.0.2.1:1") is None
        assert refused(found)
        found.leave_unregistered("192.0.2.1:1", None)
        assert refused(found) is None


def test_the_refused_do_not_pile_up() -> None:
    found = some(of_address=1)
    before = CONNECTIONS_REFUSED.value
    come(found)
    lingering = [come(found)[0] for _ in range(REFUSED_AT_ONCE - 1)]
    refusal = found.enter("192.0.2.1:1")  # in the greeting they count too
    with pytest.raises(TooManyConnections, match="too many connections from your address"):
        found.enter("192.0.2.1:1")
    assert found.enter("192.0.2.2:1") is None
    found.leave_unregistered("192.0.2.1:1", refusal)
    assert refused(found)
    found.leave(lingering[0])
    assert refused(found)
    assert CONNECTIONS_REFUSED.value == before + REFUSED_AT_ONCE + 3


def test_nothing_is_left_of_those_who_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "REFUSED_AT_ONCE", 5000)
    dice = random.Random(1)
    found = some(most=30, of_address=5, strangers=20)
    here: list[Any] = []
    greeted: list[tuple[str, RateLimited | None]] = []
    for _ in range(5000):
        step, address = dice.random(), f"[2001:db8:0:{dice.randrange(9)}::{dice.randrange(9)}]:1"
        if step < 0.4:
            here.append(come(found, address, dice.choice([None, 7]))[0])
        elif step < 0.6:
            greeted.append((address, found.enter(address)))
        elif step < 0.8 and here:
            found.leave(here.pop(dice.randrange(len(here))))
        elif greeted:
            found.leave_unregistered(*greeted.pop())
    for connection in here:
        found.leave(connection)
    for entry in greeted:
        found.leave_unregistered(*entry)
    assert admitted(found) == admitted(some(most=30, of_address=5, strangers=20))

"""Who tries too often has to wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from greenchat.errors import RateLimited
from greenchat.model.guards import Guard, lock_seconds
from greenchat.protocol.messages import MsgId
from greenchat.service.identity import throttle
from greenchat.service.identity.passwords import HASHER
from tests.service.world import Person, World

HERE, THERE = "203.0.113.5:1000", "203.0.113.6:1000"

Make = Callable[..., World]


def guess(person: Person, password: str = "wrong", **who: Any) -> dict[str, Any]:
    return person.ask(MsgId.LOGIN, password=password, **who)


def errnos(person: Person, times: int, **who: Any) -> list[object]:
    return [guess(person, **who)["errno"] for _ in range(times)]


@pytest.fixture
def world(make_world: Make) -> World:
    world = make_world(login_failures=3, address_failures=5, registrations_per_hour=2)
    world.absent("ann")
    world.absent("bob")
    return world


@pytest.mark.parametrize("who", [{"name": "ann"}, {"id": 1}, {"name": "nobody"}, {"id": 77}])
def test_wrong_passwords_lock_an_account_whether_it_exists_or_not(world: World, who: dict[str, Any]) -> None:
    person = world.connect()
    assert errnos(person, 5, **who) == [1, 1, 1, 1, 11]
    refused = guess(person, **who)
    assert refused["error"] == "rate_limited"
    assert isinstance(refused["retry_after"], float)
    assert 0 < refused["retry_after"] <= 1.1


def test_each_further_one_locks_for_longer() -> None:
    guard = Guard("login:1", "account 1", 3, 3_600, 900, forgiving=True)
    locks = [lock_seconds(guard, failures) for failures in range(20)]
    assert locks == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *[900] * 6]
    assert lock_seconds(guard, 10**6) == 900


def test_the_right_password_is_refused_too_while_the_account_is_locked(world: World) -> None:
    person = world.connect()
    errnos(person, 4, name="ann")
    assert guess(person, "pw", name="ann")["errno"] == 11
    assert guess(person, "pw", name="bob")["errno"] == 0


def test_id_and_name_are_one_account(world: World) -> None:
    person = world.connect()
    assert errnos(person, 2, name="ann") + errnos(person, 3, id=1) == [1, 1, 1, 1, 11]


@pytest.mark.parametrize("userid", [1, 77])
def test_a_name_that_nobody_has_is_never_an_id(world: World, userid: int) -> None:
    """Neither that of a user, nor one that does not exist: the two are told apart by nothing."""
    errnos(world.connect(), 5, name=str(userid))
    assert guess(world.connect(), id=userid)["errno"] == 1


def test_the_right_password_forgets_the_wrong_ones(world: World) -> None:
    for _ in range(4):
        person = world.connect()
        assert errnos(person, 2, name="ann") == [1, 1]
        assert guess(person, "pw", name="ann", force=True)["errno"] == 0


def test_a_token_is_not_kept_out_by_a_lock(world: World) -> None:
    ann = world.log_in(1)
    errnos(world.connect(), 5, name="ann")
    assert world.connect().ask(MsgId.LOGIN, token=ann.token, force=True)["errno"] == 0


def test_an_address_that_tries_many_accounts_is_locked(world: World) -> None:
    person = world.connect(address=HERE)
    assert [guess(person, name=f"n{number}")["errno"] for number in range(7)] == [1] * 6 + [11]
    assert guess(person, "pw", name="bob")["errno"] == 11
    assert guess(world.connect(address=THERE), "pw", name="bob")["errno"] == 0


def test_an_address_of_ipv6_is_a_network(world: World) -> None:
    people = [world.connect(address=f"[2001:db8:1:2::{number}]:99") for number in range(6)]
    assert [guess(person, name=f"n{number}")["errno"] for number, person in enumerate(people)] == [1] * 6
    assert guess(people[0], "pw", name="bob")["errno"] == 11
    assert guess(world.connect(address="[2001:db8:1:3::1]:99"), "pw", name="bob")["errno"] == 0


def test_a_guess_of_the_old_password_counts_like_one_at_a_login(world: World) -> None:
    """For the account and for the address; and being logged in helps nobody past a lock."""
    ann = world.connect(address=HERE)
    ann.login(name="ann")
    guesses = [ann.ask(MsgId.CHANGE_PASSWORD, old=f"guess {n}", new="new")["errno"] for n in range(6)]
    assert guesses == [1, 1, 1, 1, 11, 11]
    assert ann.refused(11, MsgId.CHANGE_PASSWORD, old="pw", new="new")["retry_after"] > 0
    assert guess(world.connect(address=THERE), "pw", name="ann", force=True)["errno"] == 11
    assert [guess(world.connect(address=HERE), name="bob")["errno"] for _ in range(3)] == [1, 1, 11]
    ann.ok(MsgId.FIND, name="ann")


def test_an_exempt_address_does_not_count_but_its_account_does(world: World) -> None:
    ann = world.log_in(1)
    guesses = [ann.ask(MsgId.CHANGE_PASSWORD, old="wrong", new="new")["errno"] for _ in range(5)]
    assert guesses == [1, 1, 1, 1, 11]


def test_the_right_old_password_forgets_the_wrong_ones(world: World) -> None:
    ann = world.log_in(1)
    for number in range(4):
        ann.refused(1, MsgId.CHANGE_PASSWORD, old="wrong", new="new")
        ann.refused(1, MsgId.CHANGE_PASSWORD, old="wrong", new="new")
        ann.ok(MsgId.CHANGE_PASSWORD, old="pw" if number == 0 else f"{number}", new=f"{number + 1}")


def test_this_machine_is_no_address_but_an_account_is_an_account(world: World) -> None:
    person = world.connect()
    assert [guess(person, name=f"n{number}")["errno"] for number in range(20)] == [1] * 20
    for number in range(5):
        person.ok(MsgId.REG, name=f"n{number}", password="pw")


def test_registrations_of_an_address_have_an_end(world: World) -> None:
    person = world.connect(address=HERE)
    for number in range(2):
        person.ok(MsgId.REG, name=f"n{number}", password="pw")
    refused = person.refused(11, MsgId.REG, name="n3", password="pw")
    assert refused["retry_after"] == 3600
    world.connect(address=THERE).ok(MsgId.REG, name="n3", password="pw")


def test_a_registration_that_is_wrong_does_not_count(world: World) -> None:
    person = world.connect(address=HERE)
    for _ in range(5):
        person.refused(3, MsgId.REG, name="n", password="")
        person.refused(12, MsgId.REG, name="n" * 51, password="pw")
    person.ok(MsgId.REG, name="n", password="pw")


def test_requests_beyond_the_rate_are_refused_until_there_is_room(make_world: Make) -> None:
    world = make_world(request_rate=2.0, request_burst=3)
    person = world.connect(address=HERE)
    person.ok(MsgId.REG, name="ann", password="pw")
    person.login(name="ann")
    person.send(MsgId.HEARTBEAT)
    refused = person.refused(11, MsgId.FIND, name="ann")
    assert refused["retry_after"] == pytest.approx(0.5, abs=0.1)
    world.time += 0.5
    person.ok(MsgId.FIND, name="ann")
    person.refused(11, MsgId.FIND, name="ann")
    world.time += 60
    for _ in range(3):
        person.ok(MsgId.FIND, name="ann")
    person.refused(11, MsgId.FIND, name="ann")


def test_a_chat_that_is_refused_for_the_rate_is_not_stored(make_world: Make) -> None:
    world = make_world(request_rate=1.0, request_burst=3)
    person = world.connect(address=HERE)
    person.ok(MsgId.REG, name="ann", password="pw")
    person.login(name="ann")
    assert person.chat(person) == 1
    person.refused(11, MsgId.ONE_CHAT, toid=person.id, msg="too much", cid="same")
    world.time += 1
    assert person.chat(person, "too much", cid="same") == 2


@pytest.mark.parametrize(
    ("settings", "address"), [({"request_rate": 0.0}, HERE), ({"request_rate": 1.0}, "[::1]:5")]
)
def test_there_may_be_no_rate(make_world: Make, settings: dict[str, float], address: str) -> None:
    person = make_world(request_burst=1, **settings).connect(address=address)
    for _ in range(20):
        person.refused(5, MsgId.FIND, name="x")


# -- The price of logins


@pytest.fixture
def priced(make_world: Make, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world where each row that a login reads costs as much as a request.

    Ann's login reads one group and its two members: with the request itself its price is 4 of 100, which
    come back at 10 a second.
    """
    monkeypatch.setattr(throttle, "ROWS", 1)
    world = make_world(request_rate=10.0, request_burst=100)
    ann, bob = world.users("ann", "bob")
    ann.group("g", bob)
    return world


def come_again(world: World, token: str, address: str = HERE, times: int = 1) -> list[int]:
    """Log in on new connections, by the token, and return the answers' errnos."""
    fields = {"token": token, "force": True}
    return [world.connect(address=address).ask(MsgId.LOGIN, **fields)["errno"] for _ in range(times)]


def test_logins_of_an_account_are_limited_by_the_rows_that_they_read(priced: World) -> None:
    ann, bob = (priced.log_in(userid, force=True) for userid in (1, 2))
    free = int(100 - throttle.RESERVED) // 4 + 1
    assert come_again(priced, ann.token, times=free) == [0] * free
    refused = priced.connect(address=THERE).refused(11, MsgId.LOGIN, token=ann.token, force=True)
    assert refused["errmsg"] == "this account has logged in too often just now"
    assert refused["retry_after"] == pytest.approx(0.4, abs=0.1)
    assert come_again(priced, bob.token) == [0]
    priced.time += refused["retry_after"]
    assert come_again(priced, ann.token, times=2) == [0, 11]


def test_a_login_that_costs_more_than_there_is_makes_the_next_one_come_later(priced: World) -> None:
    ann = priced.log_in(1, force=True)
    for number in range(60):
        ann.group(f"more {number}")
    assert come_again(priced, ann.token, times=2) == [0, 11]  # 124 of 100: 24 are owed
    priced.time += 8.3
    assert come_again(priced, ann.token) == [11]
    priced.time += 0.2
    assert come_again(priced, ann.token) == [0]


def test_logins_from_exempt_addresses_cost_nothing(priced: World) -> None:
    ann = priced.log_in(1, force=True)
    assert come_again(priced, ann.token, "127.0.0.1:1", times=40) == [0] * 40


def test_logins_that_are_refused_cost_a_request_each(priced: World) -> None:
    ann = priced.log_in(1, force=True)
    for _ in range(30):
        priced.connect(address=HERE).refused(2, MsgId.LOGIN, token=ann.token)
    assert come_again(priced, ann.token) == [0]


def test_logins_that_are_under_way_at_the_same_time_are_few(world: World) -> None:
    """None of them has paid yet."""
    bills = [world.service.throttle.bill(1, HERE, 0.0) for _ in range(8)]
    with pytest.raises(RateLimited):
        world.service.throttle.bill(1, HERE, 0.0)
    bills[0].pay()
    world.service.throttle.bill(1, HERE, 0.0)


def test_accounts_that_logged_in_longest_ago_are_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "ACCOUNTS", 2)
    bill = world.service.throttle.bill
    for _ in range(8):
        bill(1, HERE, 0.0)
    bill(2, HERE, 0.0)
    with pytest.raises(RateLimited):
        bill(1, HERE, 0.0)
    bill(3, HERE, 0.0)
    with pytest.raises(RateLimited):
        bill(1, HERE, 0.0)
    bill(2, HERE, 0.0)
    bill(3, HERE, 0.0)
    bill(1, HERE, 0.0)


def test_a_group_has_room_for_so_many(make_world: Make) -> None:
    world = make_world(max_members=2)
    ann, bob, cem = world.users("ann", "bob", "cem")
    group = ann.group("g", bob)
    cem.refused(14, MsgId.ADD_GROUP, groupid=group)
    bob.ok(MsgId.ADD_GROUP, groupid=group)
    bob.ok(MsgId.LEAVE_GROUP, groupid=group)
    cem.ok(MsgId.ADD_GROUP, groupid=group)


def test_a_hash_of_old_parameters_is_made_anew_at_a_login(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.passwords, "outdated", lambda hashed: hashed == "pw")
    monkeypatch.setattr(world.passwords, "hash", lambda password, share: f"new:{password}")
    monkeypatch.setattr(
        world.passwords, "verify", lambda hashed, password, share: (hashed or "").endswith(password)
    )
    ann = world.log_in(1, device="old")
    world.commit()
    account = world.store.account(id=1)
    assert account is not None
    assert account.password == "new:pw"
    assert world.connect().ask(MsgId.LOGIN, token=ann.token, device="old", force=True)["errno"] == 0


def test_hashes_of_today_are_not_outdated_and_others_are(world: World) -> None:
    assert not HASHER.check_needs_rehash(HASHER.hash("pw"))
    weaker = type(HASHER)(time_cost=1, memory_cost=8, parallelism=1)
    assert HASHER.check_needs_rehash(weaker.hash("pw"))

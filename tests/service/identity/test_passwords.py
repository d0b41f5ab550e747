"""The real argon2: what it keeps, and what it takes for right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from greenchat.errors import Busy
from greenchat.model.records import Share
from greenchat.protocol.messages import MsgId
from greenchat.service.identity.passwords import Passwords
from tests.service.world import World

SHARE = Share("address", "account")

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


class Counting:
    """An offload that counts, and refuses when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.full = False

    def __call__(self, share: Share, function: Callable[..., Any], *args: Any) -> Any:
        if self.full:
            raise Busy(retry_after=1.5)
        self.calls.append(args)
        return function(*args)


@pytest.fixture
def offload() -> Counting:
    return Counting()


@pytest.fixture
def passwords(offload: Counting) -> Passwords:
    return Passwords(offload)


@pytest.mark.parametrize("password", ["pw", "p" * 128, "пароль \U0001f600", "a\x00b", " "])
def test_a_password_fits_its_hash_and_no_other_does(passwords: Passwords, password: str) -> None:
    hashed = passwords.hash(password, SHARE)
    assert passwords.verify(hashed, password, SHARE)
    assert not passwords.verify(hashed, password + "x", SHARE)


def test_a_hash_is_argon2id_with_19_mib_and_a_salt_of_its_own(passwords: Passwords) -> None:
    hashed = passwords.hash("pw", SHARE)
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hashed != passwords.hash("pw", SHARE)
    assert len(hashed) <= 200  # the column


@pytest.mark.parametrize("hashed", [None, "nonsense", "$argon2id$v=19$m=8,t=1,p=1$", "$1$salt$hash"])
def test_what_is_no_hash_fits_nothing(passwords: Passwords, hashed: str | None) -> None:
    assert not passwords.verify(hashed, "pw", SHARE)
    assert not passwords.verify(hashed, "", SHARE)


def test_an_unknown_user_costs_the_same_hash(passwords: Passwords, offload: Counting) -> None:
    known = passwords.hash("pw", SHARE)
    offload.calls.clear()
    passwords.verify(known, "pw", SHARE)
    passwords.verify(None, "pw", SHARE)
    (first, _), (second, _) = offload.calls
    assert first.rsplit("$", 2)[0] == second.rsplit("$", 2)[0]


def test_registering_and_logging_in_go_through_the_real_hash(world: World) -> None:
    offload = Counting()
    world.service.passwords = Passwords(offload)
    ann = world.user("ann")
    stored = world.store.account(id=ann.id)
    assert stored is not None
    assert stored.password.startswith("$argon2id$")
    world.connect().refused(1, MsgId.LOGIN, name="ann", password="PW")
    world.connect().refused(1, MsgId.LOGIN, name="nobody", password="pw")
    assert len(offload.calls) == 4


def test_too_many_who_wait_are_told_when_to_come_back(world: World) -> None:
    offload = Counting()
    world.service.passwords = Passwords(offload)
    offload.full = True
    reply = world.connect().refused(13, MsgId.REG, name="ann", password="pw")
    assert reply["retry_after"] == 1.5


@pytest.mark.parametrize("given", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("registered", [COMPOSED, DECOMPOSED])
def test_a_password_fits_however_a_keyboard_composes_it(world: World, registered: str, given: str) -> None:
    ann = world.connect()
    ann.ok(MsgId.REG, name="ann", password=registered)
    ann.login(name="ann", password=given)
    ann.ok(MsgId.CHANGE_PASSWORD, old=registered, new=given)
    ann.leave()
    world.connect().login(name="ann", password=registered)


def test_a_password_that_was_stored_as_it_came_still_fits_and_is_stored_anew(world: World) -> None:
    world.service.passwords = Passwords(Counting())
    ann = world.connect()
    ann.ok(MsgId.REG, name="ann", password="x")
    account = world.store.account(id=1)
    assert account is not None
    old = world.service.passwords.hash(DECOMPOSED, SHARE)
    world.store.replace_hash(1, account.password, old)
    ann.refused(1, MsgId.LOGIN, name="ann", password=COMPOSED)
    ann.login(name="ann", password=DECOMPOSED)
    world.commit()
    account = world.store.account(id=1)
    assert account is not None
    assert world.service.passwords.verify(account.password, COMPOSED, SHARE)
    ann.leave()
    world.connect().login(name="ann", password=COMPOSED)


def test_a_password_that_was_stored_as_it_came_can_be_changed(world: World) -> None:
    ann = world.user("ann")
    world.store.replace_hash(ann.id, "pw", DECOMPOSED)
    ann.ok(MsgId.CHANGE_PASSWORD, old=DECOMPOSED, new="new")
    world.commit()
    world.log_in(ann, password="new", device="phone")


def test_both_forms_are_tried_whether_the_user_exists_or_not(world: World) -> None:
    offload = Counting()
    world.user("ann").leave()
    world.service.passwords = Passwords(offload)
    for name in ("ann", "nobody"):
        offload.calls.clear()
        world.connect().refused(1, MsgId.LOGIN, name=name, password=DECOMPOSED)
        assert [given for _, given in offload.calls] == [COMPOSED, DECOMPOSED]


def test_two_forms_are_one_guess(make_world: Callable[..., World]) -> None:
    world = make_world(login_failures=3)
    world.user("ann").leave()
    person = world.connect()
    guesses = [person.ask(MsgId.LOGIN, name="ann", password=f"{DECOMPOSED}{n}")["errno"] for n in range(5)]
    assert guesses == [1, 1, 1, 1, 11]


def test_the_length_of_a_password_counts_in_the_form_that_is_kept(world: World) -> None:
    """But one that was stored as it came may be longer in the form of today."""
    grows = "\u0958" * 128  # two characters each in NFC
    person = world.connect()
    person.refused(12, MsgId.REG, name="ann", password=grows)
    person.ok(MsgId.REG, name="ann", password="e\u0301" * 128)
    person.login(name="ann", password="\u00e9" * 128)
    world.store.replace_hash(1, "\u00e9" * 128, grows)
    person.leave()
    world.connect().login(name="ann", password=grows)

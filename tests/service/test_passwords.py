"""The real argon2: what it keeps, and what it takes for right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from greenchat.errors import Busy
from greenchat.protocol.messages import MsgId
from greenchat.service.passwords import Passwords
from tests.service.world import World


class Counting:
    """An offload that counts, and refuses when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.full = False

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
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
    hashed = passwords.hash(password)
    assert passwords.verify(hashed, password)
    assert not passwords.verify(hashed, password + "x")


def test_a_hash_is_argon2id_with_19_mib_and_a_salt_of_its_own(passwords: Passwords) -> None:
    hashed = passwords.hash("pw")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hashed != passwords.hash("pw")
    assert len(hashed) <= 200  # the column


@pytest.mark.parametrize("hashed", [None, "nonsense", "$argon2id$v=19$m=8,t=1,p=1$", "$1$salt$hash"])
def test_what_is_no_hash_fits_nothing(passwords: Passwords, hashed: str | None) -> None:
    assert not passwords.verify(hashed, "pw")
    assert not passwords.verify(hashed, "")


def test_an_unknown_user_costs_the_same_hash(passwords: Passwords, offload: Counting) -> None:
    known = passwords.hash("pw")
    offload.calls.clear()
    passwords.verify(known, "pw")
    passwords.verify(None, "pw")
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

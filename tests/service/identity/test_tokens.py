"""Tokens: what they open, when they end, and that nobody else can make them."""

from __future__ import annotations

import base64
import hmac

import pytest

from greenchat.errors import BadCredentials
from greenchat.protocol.messages import MsgId
from greenchat.service.identity.tokens import Token, Tokens, new_secret
from tests.service.world import Person, World

DAYS_30 = 30 * 86_400


class Clock:
    def __init__(self) -> None:
        self.time = 1_000.0

    def __call__(self) -> float:
        return self.time


def test_a_token_says_what_was_put_into_it() -> None:
    tokens = Tokens("secret", 30, Clock())
    assert tokens.read(tokens.issue(7, "phone", 3)) == Token(7, "phone", 3, 1_000 + DAYS_30)


@pytest.mark.parametrize("secret", ["s", "s" * 64, "s" * 65, "ü" * 200])
def test_a_token_is_signed_by_hmac_sha256(secret: str) -> None:
    """Tokens of other versions stay valid, so the signature MUST be the standard one."""
    text = Tokens(secret, 30, Clock()).issue(7, "phone", 3)
    signed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert signed[:32] == hmac.digest(secret.encode(), signed[32:], "sha256")


def test_a_token_lasts_30_days() -> None:
    clock = Clock()
    tokens = Tokens("secret", 30, clock)
    text = tokens.issue(7, "", 1)
    clock.time += DAYS_30 - 1
    tokens.read(text)
    clock.time += 1
    with pytest.raises(BadCredentials):
        tokens.read(text)


def test_a_token_with_any_bit_changed_is_refused() -> None:
    tokens = Tokens("secret", 30, Clock())
    text = tokens.issue(7, "phone", 3)
    signed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for place in range(len(signed)):
        forged = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
        with pytest.raises(BadCredentials):
            tokens.read(base64.urlsafe_b64encode(forged).decode())


@pytest.mark.parametrize("text", ["", "=", "a", "!!!!", "é", "\ud7ff", "a" * 100_000, "AAAA" * 20, " "])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(BadCredentials):
        Tokens("secret", 30, Clock()).read(text)


def test_another_secret_makes_other_tokens() -> None:
    assert new_secret() != new_secret()
    with pytest.raises(BadCredentials):
        Tokens(new_secret(), 30, Clock()).read(Tokens(new_secret(), 30, Clock()).issue(7, "", 1))


def test_a_token_logs_in_with_or_without_the_name_or_id_of_its_user(world: World, ann: Person) -> None:
    ann.leave()
    for fields in ({}, {"id": ann.id}, {"name": " ann "}):
        person = world.connect()
        assert person.login(token=ann.token, **fields)["name"] == "ann"
        person.leave()


@pytest.mark.parametrize("fields", [{"id": 99}, {"name": "bob"}, {"device": "phone"}])
def test_a_token_of_somebody_or_something_else_is_refused(
    world: World, ann: Person, bob: Person, fields: dict[str, object]
) -> None:
    ann.leave()
    world.connect().refused(1, MsgId.LOGIN, token=ann.token, **fields)


def test_a_token_holds_across_a_restart(world: World, ann: Person) -> None:
    world.restart()
    world.connect().login(token=ann.token)


def test_a_token_of_an_earlier_login_still_counts(world: World, ann: Person) -> None:
    first = ann.token
    ann.leave()
    world.time += 60
    world.log_in(ann).leave()
    world.connect().login(token=first)


def test_loginout_ends_the_tokens_of_its_device_alone(world: World, ann: Person) -> None:
    phone = world.log_in(ann, device="phone")
    ann.ok(MsgId.LOGINOUT)
    phone.leave()
    world.connect().refused(1, MsgId.LOGIN, token=ann.token)
    world.connect().login(token=phone.token, device="phone")


def test_a_changed_password_ends_all_tokens_and_gives_a_new_one(world: World, ann: Person) -> None:
    phone = world.log_in(ann, device="phone")
    ack = ann.ok(MsgId.CHANGE_PASSWORD, old="pw", new="new")
    ann.leave()
    world.connect().refused(1, MsgId.LOGIN, token=ann.token)
    world.connect().refused(1, MsgId.LOGIN, token=phone.token, device="phone")
    world.connect().login(token=ack["token"])


def test_a_token_ends_after_30_days_of_the_services_clock(world: World, ann: Person) -> None:
    ann.leave()
    world.time += DAYS_30
    world.connect().refused(1, MsgId.LOGIN, token=ann.token)

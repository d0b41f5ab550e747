"""What the log says of accounts, and what it never says."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.world import World

HERE = "203.0.113.5:1000"


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of accounts, and forget it."""
    found = [record.getMessage() for record in caplog.records if record.name == "greenchat.accounts"]
    caplog.clear()
    return found


def test_the_life_of_an_account_is_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    ann = world.connect(address=HERE)
    ann.ok(MsgId.REG, name="ann", password="s3cret")
    ann.login(name="ann", password="s3cret", device="phone")
    ann.ok(MsgId.CHANGE_PASSWORD, old="s3cret", new="s3cret2")
    ann.ok(MsgId.LOGINOUT)
    assert lines(caplog) == [
        f"registered: user=1 name='ann' device='' from={HERE} node=n",
        f"logged in: user=1 name='ann' device='phone' from={HERE} node=n",
        f"password changed: user=1 name='ann' device='phone' from={HERE} node=n",
        f"logged out: user=1 name='ann' device='phone' from={HERE} node=n",
    ]


def test_failures_and_locks_are_in_the_log(
    make_world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(login_failures=1, address_failures=3)
    ann = world.user("ann")
    lines(caplog)
    person = world.connect(address=HERE)
    for _ in range(3):  # the last is refused, which is not a failure
        person.ask(MsgId.LOGIN, name="ann", password="wrong", device="phone")
    ann.ask(MsgId.CHANGE_PASSWORD, old="wrong", new="new")
    person.ask(MsgId.LOGIN, token="nonsense")
    person.ask(MsgId.LOGIN, token=ann.token, device="other")
    failed = f"login failed: user=1 name='ann' device='phone' from={HERE} node=n"
    assert lines(caplog) == [
        failed,
        "account 1 locked for 1 s",
        failed,
        f"login failed: user=unknown from={HERE} node=n",
        f"login failed: user=1 name='ann' device='other' from={HERE} node=n",
    ]
    for number in range(3):
        person.ask(MsgId.LOGIN, name=f"n{number}", password="wrong")
    assert "address 203.0.113.5 locked for 1 s" in lines(caplog)


def test_a_wrong_old_password_is_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.user("ann").refused(1, MsgId.CHANGE_PASSWORD, old="wrong", new="new")
    assert lines(caplog)[-1].startswith("change of the password failed: user=1 name='ann'")


def test_a_name_that_nobody_has_is_not_logged(
    make_world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a password in the wrong field."""
    person = make_world(login_failures=1).connect(address=HERE)
    for _ in range(2):
        person.refused(1, MsgId.LOGIN, name="s3cret", password="wrong")
    assert lines(caplog) == [
        f"login failed: user=unknown from={HERE} node=n",
        "an account that does not exist locked for 1 s",
        f"login failed: user=unknown from={HERE} node=n",
    ]


@pytest.mark.parametrize("odd", ["a'\u2028logged in: user=1", "\u202eann", "a\u200bb\u00ad", "a\U000e0041"])
def test_no_name_or_device_forges_a_line(world: World, caplog: pytest.LogCaptureFixture, odd: str) -> None:
    world.store.create_user(odd, "pw", world.service.now())
    world.connect().login(name=odd, device=odd)
    (line,) = lines(caplog)
    assert line.isprintable()
    assert line.count("user=1") <= 1 + odd.count("user=1") * 2
    assert line.startswith("logged in: user=1 name=")
    assert line.endswith(" from=127.0.0.1:1 node=n")

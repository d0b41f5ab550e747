"""The bus of a server that is alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from greenchat.bus import open_bus
from greenchat.bus.local.bus import FRIENDS
from greenchat.errors import ConfigError
from greenchat.model.records import Node
from greenchat.ports.bus import Bus
from tests.bus.contract import CONTRACT, Loader, Recorder


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_it_keeps_the_contract(rule: Callable[[Bus, Recorder], None]) -> None:
    bus, listener = open_bus("local://"), Recorder()
    assert bus.open("cluster", "a") == 0
    bus.start(Node("a", 1), listener, [])
    rule(bus, listener)


def test_it_remembers_the_friends_of_so_many_users_only() -> None:
    bus, load = open_bus("local://"), Loader(2)
    for userid in range(FRIENDS + 1):
        bus.are_friends(userid, [2], load)
    bus.are_friends(0, [2], load)
    assert load.calls == FRIENDS + 2


def test_an_unknown_scheme_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigError) as refused:
        open_bus("kafka://user:s3cret@host")
    assert "kafka" in str(refused.value)
    assert "s3cret" not in str(refused.value)

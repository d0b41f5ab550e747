"""The bus of a server that is alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from greenchat.bus import Backend, open_backend
from greenchat.bus.local.friends import SIZE
from greenchat.errors import ConfigError
from greenchat.model.records import Node
from tests.bus.contract import CONTRACT, Loader, Recorder


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_it_keeps_the_contract(rule: Callable[[Backend, Recorder], None]) -> None:
    backend, listener = open_backend("local://"), Recorder()
    assert backend.bus.open("cluster", "a") == 0
    backend.bus.start(Node("a", 1), listener, [])
    rule(backend, listener)


def test_it_remembers_the_friends_of_so_many_users_only() -> None:
    friends, load = open_backend("local://").friends, Loader(2)
    for userid in range(SIZE + 1):
        friends.are_friends(userid, [2], load)
    friends.are_friends(0, [2], load)
    assert load.calls == SIZE + 2


def test_an_unknown_scheme_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigError) as refused:
        open_backend("kafka://user:s3cret@host")
    assert "kafka" in str(refused.value)
    assert "s3cret" not in str(refused.value)

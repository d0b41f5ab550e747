"""The address of the admin pages; what they show is tested with the real server (tests/system)."""

from __future__ import annotations

import pytest

from greenchat.errors import ConfigError
from greenchat.server.admin import AdminPages


def never_asked() -> str:
    raise AssertionError("nobody asks before somebody comes")


@pytest.mark.parametrize("address", ["127.0.0.1:9100", "localhost:0", "[::1]:9100", ":::9100"])
def test_an_address_is_taken(address: str) -> None:
    AdminPages(address, never_asked)


@pytest.mark.parametrize(
    "address",
    ["9100", ":9100", "localhost", "localhost:", "localhost:http", "localhost:65536", "localhost:-1", "a:²"],
)
def test_what_is_no_address_is_told_with_what_is_needed(address: str) -> None:
    with pytest.raises(ConfigError, match="admin: HOST:PORT is needed, not") as caught:
        AdminPages(address, never_asked)
    assert repr(address) in str(caught.value)


def test_without_an_address_nothing_listens() -> None:
    AdminPages("", never_asked).start()

"""The address of the admin pages; what they show is tested with the real server (tests/system)."""

from __future__ import annotations

import pytest

from greenchat.errors import ConfigError
from greenchat.server.admin import AdminPages


def never_asked() -> str:
    raise AssertionError("nobody asks before somebody comes")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9100", "localhost:0", "[::1]:9100", ":::9100", "[::]:+3000", "localhost:+0"]
)
def test_an_address_is_taken(address: str) -> None:
    AdminPages(address, 6001, never_asked)


@pytest.mark.parametrize(
    "address",
    [
        "9100",
        ":9100",
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:65536",
        "localhost:-1",
        "a:²",
        "+3000",
        "a:+",
        "a:++1",
    ],
)
def test_what_is_no_address_is_told_with_what_is_needed(address: str) -> None:
    with pytest.raises(ConfigError, match=r"admin: HOST:PORT or HOST:\+N is needed, not") as caught:
        AdminPages(address, 6001, never_asked)
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize(
    ("port", "sentence"),
    [
        (0, r"admin: \+3000 counts from the server's port, which must not be 0 then"),
        (62_536, r"admin: \+3000 above 62536 is no port: at most 65535"),
    ],
)
def test_an_offset_that_leads_nowhere_is_told(port: int, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        AdminPages("localhost:+3000", port, never_asked)


def test_without_an_address_nothing_listens() -> None:
    AdminPages("", 6001, never_asked).start()

"""The addresses of the ports beside the server's own."""

from __future__ import annotations

import pytest

from greenchat.config import load
from greenchat.errors import ConfigError
from greenchat.server.ports import web_address


@pytest.mark.parametrize(
    ("web", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:8080", ("::1", 8080)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("localhost:+2000", ("localhost", 8001)),
    ],
)
def test_an_address_is_read(web: str, address: tuple[str, int]) -> None:
    assert web_address(load(["6001", "--web", web], {})) == address


def test_by_default_there_is_none() -> None:
    assert web_address(load([], {})) is None


@pytest.mark.parametrize("address", ["8080", ":8080", "localhost:", "localhost:x", "localhost:70000"])
def test_an_address_that_cannot_be_read_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^web: HOST:PORT or HOST:\+N is needed"):
        web_address(load(["--web", address], {}))


@pytest.mark.parametrize("port", [6000, *range(6665, 6670), 6697, 10080, 22])
def test_a_port_that_browsers_refuse_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match=f"^web: browsers refuse port {port} "):
        web_address(load(["--web", f"127.0.0.1:{port}"], {}))
    with pytest.raises(ConfigError, match=f"^web: browsers refuse port {port} "):
        web_address(load(["1", "--web", f"127.0.0.1:+{port - 1}"], {}))

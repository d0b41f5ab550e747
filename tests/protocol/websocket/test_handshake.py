"""The opening handshake, as headers."""

from __future__ import annotations

import pytest

from greenchat.protocol.websocket.handshake import BadHandshake, upgrade

GOOD = {
    b"host": b"localhost",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",
    b"sec-websocket-version": b"13",
}


def with_(*, without: bytes = b"", **changes: bytes) -> list[tuple[bytes, bytes]]:
    """Return the good headers but for some."""
    changed = {name.replace("_", "-").encode(): value for name, value in changes.items()}
    return [(name, value) for name, value in (GOOD | changed).items() if name != without]


def test_the_answer_is_that_of_the_rfc() -> None:
    assert upgrade(GOOD.items()) == [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),  # RFC 6455, 1.3
    ]


@pytest.mark.parametrize(
    "headers",
    [
        with_(upgrade=b"WebSocket"),
        with_(upgrade=b"h2c, websocket"),
        with_(connection=b"keep-alive, Upgrade"),
        [*with_(connection=b"keep-alive"), (b"connection", b" upgrade")],
        with_(sec_websocket_extensions=b"permessage-deflate; client_max_window_bits"),
        with_(sec_websocket_protocol=b"chat, superchat"),
    ],
)
def test_browsers_and_proxies_write_it_in_other_ways_and_nothing_else_is_agreed_on(
    headers: list[tuple[bytes, bytes]],
) -> None:
    assert upgrade(headers) == upgrade(GOOD.items())


@pytest.mark.parametrize(
    "headers",
    [
        with_(without=b"upgrade"),
        with_(upgrade=b"h2c"),
        with_(without=b"connection"),
        with_(connection=b"close"),
    ],
)
def test_a_request_that_does_not_upgrade_is_told_to(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadHandshake) as refused:
        upgrade(headers)
    assert refused.value.status == 426
    assert (b"Upgrade", b"websocket") in refused.value.headers


@pytest.mark.parametrize(
    "headers",
    [
        with_(without=b"sec-websocket-version"),
        with_(sec_websocket_version=b"8"),
        with_(sec_websocket_version=b"13, 8"),
        [*GOOD.items(), (b"sec-websocket-version", b"13")],
    ],
)
def test_another_version_is_told_the_right_one(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadHandshake) as refused:
        upgrade(headers)
    assert refused.value.status == 426
    assert refused.value.headers == [(b"Sec-WebSocket-Version", b"13")]


@pytest.mark.parametrize(
    "headers",
    [
        with_(without=b"sec-websocket-key"),
        with_(sec_websocket_key=b""),
        with_(sec_websocket_key=b"short"),
        with_(sec_websocket_key=b"dGhlIHNhbXBsZSBub25jZQ"),
        with_(sec_websocket_key=b"dGhlIHNhbXBsZSBub25jZQ==x"),
        with_(sec_websocket_key="ÿ".encode() * 24),
        [*GOOD.items(), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")],
    ],
)
def test_a_key_is_16_bytes_and_one(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadHandshake) as refused:
        upgrade(headers)
    assert refused.value.status == 400

"""The opening handshake: is an HTTP request an upgrade to WebSocket, and what is it answered?

No extension and no subprotocol is ever accepted: compression keeps a window of 32 KiB and more for each
connection, as long as that lasts.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from binascii import Error, a2b_base64
from collections.abc import Iterable

Headers = Iterable[tuple[bytes, bytes]]
"""Names and values of HTTP headers; the names in lower case."""

VERSION = b"13"
"""The only version of the protocol that is spoken (RFC 6455, 4.1)."""

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""The text that is appended to a key before it is hashed (RFC 6455, 1.3)."""

KEY_BYTES = 16
"""Bytes of a key, once it is decoded."""


class BadHandshake(Exception):
    """Raised if a request does not upgrade to WebSocket; the message is a sentence for its sender.

    Attributes:
        status: of the HTTP answer: 400, or 426 where another request would do.
        headers: that the answer has to have.
    """

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = list(headers)


def upgrade(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers of the answer (101 Switching Protocols) that accepts an upgrade to WebSocket.

    The caller has checked that it is a GET of HTTP/1.1, and its host and origin.

    Args:
        headers: of the request.

    Raises:
        BadHandshake: it does not ask for an upgrade, for another version, or without a valid key.
    """
    sent: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        sent.setdefault(name, []).append(value.strip())
    if b"websocket" not in _tokens(sent, b"upgrade") or b"upgrade" not in _tokens(sent, b"connection"):
        raise BadHandshake(
            426,
            "only WebSocket is spoken here: Upgrade: websocket and Connection: Upgrade are needed",
            [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")],
        )
    if sent.get(b"sec-websocket-version") != [VERSION]:
        raise BadHandshake(
            426, "the version of WebSocket is 13 (RFC 6455)", [(b"Sec-WebSocket-Version", VERSION)]
        )
    keys = sent.get(b"sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        raise BadHandshake(400, "Sec-WebSocket-Key: 16 bytes in base64 are needed, once")
    return [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", accept_key(keys[0])),
    ]


def accept_key(key: bytes) -> bytes:
    """Return what shows that the server has understood a client's key."""
    return b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())


def _tokens(sent: dict[bytes, list[bytes]], name: bytes) -> set[bytes]:
    """Return the members of a header that is a list, in lower case."""
    return {token.strip().lower() for value in sent.get(name, ()) for token in value.split(b",")}


def _is_key(key: bytes) -> bool:
    try:
        return len(a2b_base64(key, strict_mode=True)) == KEY_BYTES
    except Error:
        return False

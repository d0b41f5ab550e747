"""Login tokens: their contents, signed with a secret that the database keeps."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from greenchat.errors import BadCredentials

_SIGNATURE_BYTES = 32
_BLOCK_BYTES = 64
_DAY = 86_400

_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def new_secret() -> str:
    """Return a secret to sign tokens with: 256 bits, in hexadecimal."""
    return secrets.token_hex(32)


class Token(NamedTuple):
    """The contents of a token: user, device, generation, and its end (Unix seconds)."""

    userid: int
    device: str
    generation: int
    expires: int


_read_content = msgspec.json.Decoder(Token).decode


class Tokens:
    """Issue and read tokens (an HMAC-SHA256 over their content: nothing is hashed slowly or looked up).

    Args:
        secret: signs them; the same on every node.
        days: how long a token lasts.
        clock: Unix seconds.
    """

    def __init__(self, secret: str, days: float, clock: Callable[[], float]) -> None:
        # The two hashes of an HMAC (RFC 2104), each with its key: `hmac.digest` prepares them anew for each
        # content, which takes three times as long (measured), and a login signs twice.
        key = secret.encode()
        key = (key if len(key) <= _BLOCK_BYTES else hashlib.sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes([byte ^ 0x36 for byte in key]))
        self._outer = hashlib.sha256(bytes([byte ^ 0x5C for byte in key]))
        self._lifetime = int(days * _DAY)
        self._clock = clock

    def issue(self, userid: int, device: str, generation: int) -> str:
        """Return a new token (URL-safe base64)."""
        content = msgspec.json.encode(Token(userid, device, generation, int(self._clock()) + self._lifetime))
        signed = binascii.b2a_base64(self._sign(content) + content, newline=False)
        return signed.translate(_TO_URL_SAFE, b"=").decode()

    def read(self, text: str) -> Token:
        """Return the contents of a token.  The caller checks that its generation is still valid.

        Raises:
            BadCredentials: it is not one of ours, or it has expired.
        """
        try:
            padded = text.encode().translate(_FROM_URL_SAFE) + b"=" * (-len(text) % 4)
            signed = binascii.a2b_base64(padded, strict_mode=True)
        except (binascii.Error, ValueError):
            raise BadCredentials from None
        signature, content = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(content)):
            raise BadCredentials
        token = _read_content(content)
        if token.expires <= self._clock():
            raise BadCredentials
        return token

    def _sign(self, content: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(content)
        outer.update(inner.digest())
        return outer.digest()

"""Login tokens: what they say, signed with a secret that the database keeps."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from greenchat.errors import BadCredentials

_SIGNATURE_BYTES = 32
_DAY = 86_400


def new_secret() -> str:
    """Return a secret to sign tokens with: 256 bits, in hexadecimal."""
    return secrets.token_hex(32)


class Token(NamedTuple):
    """What a token says: whose it is, of which device and generation, and until when (Unix seconds)."""

    userid: int
    device: str
    generation: int
    expires: int


class Tokens:
    """Issue and read tokens (an HMAC-SHA256 over their content: nothing is hashed slowly or looked up).

    Args:
        secret: signs them; the same on every node.
        days: how long a token lasts.
        clock: Unix seconds.
    """

    def __init__(self, secret: str, days: float, clock: Callable[[], float]) -> None:
        self._secret = secret.encode()
        self._lifetime = int(days * _DAY)
        self._clock = clock

    def issue(self, userid: int, device: str, generation: int) -> str:
        """Return a new token (URL-safe base64)."""
        content = msgspec.json.encode(Token(userid, device, generation, int(self._clock()) + self._lifetime))
        return base64.urlsafe_b64encode(self._sign(content) + content).rstrip(b"=").decode()

    def read(self, text: str) -> Token:
        """Return what a token says.  Whether its generation still counts is the caller's to check.

        Raises:
            BadCredentials: it is not one of ours, or it has expired.
        """
        try:
            signed = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BadCredentials from None
        signature, content = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(content)):
            raise BadCredentials
        token = msgspec.json.decode(content, type=Token)
        if token.expires <= self._clock():
            raise BadCredentials
        return token

    def _sign(self, content: bytes) -> bytes:
        return hmac.digest(self._secret, content, hashlib.sha256)

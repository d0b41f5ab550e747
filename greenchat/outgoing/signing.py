"""Sign deliveries by HMAC-SHA256, as Standard Webhooks does (https://www.standardwebhooks.com)."""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode, b64encode

PREFIX = "whsec_"

SECRET_BYTES = 32
"""Of a new secret; the specification asks for 24 to 64."""


def new_secret() -> str:
    """Return a new random secret, as it is shown to people and kept."""
    return PREFIX + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(secret: str, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers that let the receiver check a delivery.

    Args:
        secret: as ``new_secret`` returns it.
        id: of the message; the same for each try.
        timestamp: Unix seconds of this try.
        body: the bytes of the request's body.
    """
    signed = b"%b.%d.%b" % (id.encode(), timestamp, body)
    digest = hmac.digest(b64decode(secret.removeprefix(PREFIX)), signed, "sha256")
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }

"""Signatures, checked by the library of those who wrote the specification."""

from __future__ import annotations

from base64 import b64decode
from time import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from greenchat.outgoing.signing import new_secret, signed_headers

BODY = '{"msg":"grüße 🦀"}'.encode()


def test_a_receiver_finds_the_signature_right() -> None:
    secret = new_secret()
    headers = signed_headers(secret, "g12-345", int(time()), BODY)
    assert Webhook(secret).verify(BODY, headers) == {"msg": "grüße 🦀"}


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "body", "secret"])
def test_a_receiver_finds_out_what_was_changed(changed: str) -> None:
    secret, now, body = new_secret(), int(time()), BODY
    headers = signed_headers(secret, "g12-345", now, body)
    if changed == "body":
        body += b" "
    elif changed == "secret":
        secret = new_secret()
    else:
        headers[changed] = {"webhook-id": "g12-346", "webhook-timestamp": str(now - 1)}[changed]
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_each_secret_is_new_and_long_enough() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(b64decode(secret.removeprefix("whsec_"))) for secret in secrets} == {32}

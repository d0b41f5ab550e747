#!/usr/bin/env python3
"""Receive an outgoing hook: check its signature, and print each message once.

    WEBHOOK_SECRET=whsec_… examples/webhook_receiver.py 8099

It needs Python and nothing else.  The signature is that of Standard Webhooks: HMAC-SHA256 over
"id.timestamp.body" with the secret that ``greenchat-admin hook add-out`` has shown.  Until the server sees
204 it sends again, so a message that was printed before is answered and not printed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 300
"""Seconds that the clocks may differ; an older request may be a replay."""

MAX_BODY = 1_048_576

seen: set[str] = set()  # ids that were printed; a real receiver keeps them with its work


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Return True if one of the signatures is that of the secret, and the time is ours."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > TOLERANCE:
        return False
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    expected = "v1," + base64.b64encode(digest).decode()
    # Several, while a secret is changed.  compare_digest takes the same time wherever they differ.
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(each.encode(), expected.encode()) for each in given)


class Receiver(BaseHTTPRequestHandler):
    """Answer 204 when the message is handled, 401 for a wrong signature."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    secret = ""

    def do_POST(self) -> None:
        """Take one message."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return self.answer(413 if length.isdecimal() else 411)
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not is_genuine(self.secret, headers, body, time.time()):
            return self.answer(401)
        if headers["webhook-id"] not in seen:
            print(json.dumps(json.loads(body), ensure_ascii=False), flush=True)
            seen.add(headers["webhook-id"])
        return self.answer(204)

    def answer(self, status: int) -> None:
        """Send a status without a body; end the connection after an error, for its body may be unread."""
        self.close_connection = self.close_connection or status >= 400
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    Receiver.secret = os.environ["WEBHOOK_SECRET"]
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()

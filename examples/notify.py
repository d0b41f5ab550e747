#!/usr/bin/env python3
"""Post to a group, once: for cron, CI and other scripts.

    export GREENCHAT_PASSWORD=secret
    df -h / | examples/notify.py 127.0.0.1 6000 reporter ops
    examples/notify.py 127.0.0.1 6000 reporter ops --text "backup done" --key "backup-$(date -I)"

The text is the argument --text, or comes from stdin.  The exit status is 0 when the server has stored it, 1
when it refuses or cannot be reached (with a sentence on stderr), and 2 for wrong arguments.  With the same
--key and text the message is stored once, however often this runs: after 1 it may run again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
import uuid

from greenchat.client import Client, LoginInfo
from greenchat.errors import AlreadyOnline, GreenchatError


def cid_of(key: str | None) -> str:
    """Return the message's cid: of a key always the same, else a new one."""
    return hashlib.sha256(key.encode()).hexdigest()[:36] if key else str(uuid.uuid4())


def log_in(client: Client, options: argparse.Namespace, password: str) -> LoginInfo:
    """Log in, after another run of this program if there is one."""
    until = time.monotonic() + options.timeout
    while True:
        try:
            return client.login(options.name, password, device="notify")
        except AlreadyOnline:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def notify(options: argparse.Namespace, password: str, text: str) -> None:
    """Join the group if need be, and post."""
    with Client(options.host, options.port, timeout=options.timeout) as client:
        me = log_in(client, options, password)
        group = next((each["id"] for each in me.groups if each["groupname"] == options.group), None)
        if group is None:
            group = client.find_group(options.group)["id"]
            client.join_group(group)
        client.group_chat(group, text[:4096], cid=cid_of(options.key), timeout=options.timeout)
        for _ in client.pushes(timeout=0):
            pass  # acknowledge what others have said, so that it is not offered at each login


def main() -> int:
    """Read the arguments and the text; return the exit status."""
    parser = argparse.ArgumentParser(description="Post a message to a group, once.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("name", help="user that posts; the password is in GREENCHAT_PASSWORD")
    parser.add_argument("group")
    parser.add_argument("--text", help="default: stdin")
    parser.add_argument("--key", help="the same message has the same key: it is stored once")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for each step")
    options = parser.parse_args()
    password = os.environ.get("GREENCHAT_PASSWORD")
    text = (sys.stdin.read() if options.text is None else options.text).strip()
    if not password or not text:
        parser.error("the text is empty" if password else "GREENCHAT_PASSWORD is not set")
    try:
        notify(options, password, text)
    except (GreenchatError, TimeoutError) as error:
        print(f"notify: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

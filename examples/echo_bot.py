#!/usr/bin/env python3
"""Answer each message in the conversation from which it came.

    GREENCHAT_PASSWORD=secret examples/echo_bot.py 127.0.0.1 6000 echo [GROUP …]

The bot registers its user if there is none, and joins the groups.  Ctrl-C ends it; after a restart it answers
what came meanwhile.  An answer that is sent again after a crash has the same cid, so it is stored once.
"""

from __future__ import annotations

import argparse
import contextlib
import os

from greenchat.client import Client, ConnectionEvent, Message
from greenchat.errors import NameTaken, RequestError

DAY = 86_400.0
"""Seconds that an answer waits for a server that is away."""


def cid_of(message: Message) -> str:
    """Return the cid of the answer to a message, the same in each run."""
    return f"echo-{message.conversation.kind[0]}{message.conversation.id}-{message.seq}"


def answer(client: Client, message: Message) -> None:
    """Send the text back, to the user or to the group."""
    send = client.chat if message.conversation.kind == "peerid" else client.group_chat
    try:
        send(message.conversation.id, f"You said: {message.text}"[:4096], cid=cid_of(message), timeout=DAY)
    except RequestError as error:  # blocked, or no member of the group any more
        print(f"not answered: {error}", flush=True)


def main() -> None:
    """Log in, and answer until the login ends."""
    parser = argparse.ArgumentParser(
        description="Answer each message in the conversation from which it came."
    )
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("name")
    parser.add_argument("groups", nargs="*")
    options = parser.parse_args()
    password = os.environ["GREENCHAT_PASSWORD"]

    with Client(options.host, options.port) as client:
        with contextlib.suppress(NameTaken):  # an earlier run has registered it
            client.register(options.name, password)
        me = client.login(options.name, password, device="echo-bot", force=True)
        joined = {group["groupname"] for group in me.groups}
        for name in set(options.groups) - joined:
            client.join_group(client.find_group(name)["id"])
        print(f"online as {me.name}", flush=True)
        for push in client.pushes():
            if isinstance(push, ConnectionEvent) and push.kind == "ended":
                raise SystemExit(f"logged out: {push.reason}")
            if isinstance(push, Message) and push.sender != me.id and push.text is not None:
                answer(client, push)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()

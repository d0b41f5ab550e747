#!/usr/bin/env python3
"""Carry messages between two groups, each way, on one server or on two.

    GREENCHAT_PASSWORD=secret examples/bridge.py bridge 127.0.0.1:6000/team 127.0.0.1:7000/guests

The user must exist on both servers; it joins the groups.  No loop: what the bridge's own user has said is not
carried (have one bridge for a pair of groups).  No loss: a message is acknowledged when it is stored on the
other side, so the bridge goes on where it was.  No double: its cid is made of its place.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
from typing import NamedTuple

from greenchat.client.aio import Client, ConnectionEvent, Message, in_group
from greenchat.errors import GreenchatError

DAY = 86_400.0
"""Seconds that a message waits for a server that is away."""


class Side(NamedTuple):
    """A group on a server, and a client that is in it."""

    place: str
    client: Client
    me: int
    group: int


async def open_side(client: Client, user: str, password: str, place: str) -> Side:
    """Log in, and join the group."""
    name = place.partition("/")[2]
    me = await client.login(user, password, device=f"bridge {name}"[:36], force=True)
    group = next((each["id"] for each in me.groups if each["groupname"] == name), None)
    if group is None:
        group = (await client.find_group(name))["id"]
        await client.join_group(group)
    return Side(place, client, me.id, group)


async def carry(source: Side, target: Side) -> None:
    """Post in one group each message of the other, in order."""
    async for push in source.client.pushes():
        if isinstance(push, ConnectionEvent) and push.kind == "ended":
            raise SystemExit(f"{source.place}: logged out: {push.reason}")
        if not isinstance(push, Message) or push.conversation != in_group(source.group):
            continue
        if push.sender != source.me and push.text is not None:
            key = f"{source.place} {push.seq} {push.time}"
            cid = hashlib.sha256(key.encode()).hexdigest()[:36]
            text = f"{push.name}: {push.text}"[:4096]
            try:
                await target.client.group_chat(target.group, text, cid=cid, timeout=DAY)
            except (GreenchatError, TimeoutError) as error:  # not acknowledged: it comes again
                raise SystemExit(f"{target.place}: {error}") from None


async def main(user: str, places: list[str], password: str) -> None:
    """Log in on both sides, and carry until a login ends."""
    addresses = [place.partition("/")[0].rpartition(":") for place in places]
    one, two = (Client(host, int(port)) for host, _, port in addresses)
    async with one, two, asyncio.TaskGroup() as both:
        left, right = [await open_side(c, user, password, p) for c, p in zip((one, two), places, strict=True)]
        print("carrying", flush=True)
        both.create_task(carry(left, right))
        both.create_task(carry(right, left))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Carry messages between two groups.")
    parser.add_argument("user")
    parser.add_argument("places", nargs=2, metavar="HOST:PORT/GROUP")
    options = parser.parse_args()
    asyncio.run(main(options.user, options.places, os.environ["GREENCHAT_PASSWORD"]))

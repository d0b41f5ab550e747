"""The client library for asyncio: the same client, with coroutines in place of calls that wait.

A bot that answers every message::

    import asyncio

    from greenchat.client.aio import Client, Message

    async def main():
        async with Client("127.0.0.1", 6000) as client:
            me = (await client.login("echo", "secret")).id
            async for push in client.pushes():
                if isinstance(push, Message) and push.sender != me and push.text:
                    await client.chat(push.sender, push.text)

    asyncio.run(main())

Both clients run ``client.core``, so they promise the same; ``docs/client.md`` tells the rest.
"""

from greenchat.client.aio.client import Client
from greenchat.client.core.backoff import Backoff
from greenchat.client.core.calls import HistoryPage, StoredEntry
from greenchat.client.core.pending import ConnectionLost
from greenchat.client.core.pushes import (
    ConnectionEvent,
    Conversation,
    Entry,
    Frame,
    LoginInfo,
    Message,
    MessageRecall,
    PresenceChange,
    Push,
    ReadReceipt,
    TypingNotice,
    in_group,
    with_user,
)

__all__ = [
    "Backoff",
    "Client",
    "ConnectionEvent",
    "ConnectionLost",
    "Conversation",
    "Entry",
    "Frame",
    "HistoryPage",
    "LoginInfo",
    "Message",
    "MessageRecall",
    "PresenceChange",
    "Push",
    "ReadReceipt",
    "StoredEntry",
    "TypingNotice",
    "in_group",
    "with_user",
]

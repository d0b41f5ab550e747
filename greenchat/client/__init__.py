"""The client library, and ``python -m greenchat.client HOST PORT``, the terminal program.

A bot that answers every message::

    from greenchat.client import Client, Message

    with Client("127.0.0.1", 6000) as client:
        me = client.login("echo", "secret").id
        for push in client.pushes():
            if isinstance(push, Message) and push.sender != me and push.text:
                client.chat(push.sender, push.text)

``docs/client.md`` tells the rest.
"""

from greenchat.client.client import Client
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

"""The client: a library (``Client``) and a program (``python -m greenchat.client HOST PORT``)."""

from greenchat.client.backoff import Backoff
from greenchat.client.client import Client, Page, Stored
from greenchat.client.pending import ConnectionLost
from greenchat.client.pushes import (
    Conversation,
    Entry,
    Event,
    Login,
    Message,
    Presence,
    Push,
    Read,
    Recall,
    Typing,
    in_group,
    with_user,
)

__all__ = [
    "Backoff",
    "Client",
    "ConnectionLost",
    "Conversation",
    "Entry",
    "Event",
    "Login",
    "Message",
    "Page",
    "Presence",
    "Push",
    "Read",
    "Recall",
    "Stored",
    "Typing",
    "in_group",
    "with_user",
]

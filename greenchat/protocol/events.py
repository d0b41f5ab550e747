"""The wire of server-sent events (HTML, "Server-sent events"): the native wire's JSON, one event a message.

An entry of the log is an event without a type, with the entry's name as its id.  All others have a type and
no id, so a receipt by ``Last-Event-ID`` is always about an entry::

    id: g12-345
    data: {"msgid":10,"id":7,"name":"ann","groupid":12,"msg":"hi","seq":345,"time":"…"}

    event: presence
    data: {"msgid":23,"id":9,"state":"online"}
"""

from __future__ import annotations

import random

from msgspec import UNSET

from greenchat.errors import RequestError
from greenchat.model.conversations import entry_name
from greenchat.model.records import Entry
from greenchat.protocol.framing import Framing
from greenchat.protocol.messages import Answer, LoginAck, PresencePush, Push, ReadPush, Request, TypingPush
from greenchat.protocol.native import FORMS, Native, encode, is_passed_over
from greenchat.protocol.wire import Fit, Frames, SharedEntry, new_slot

KEEP_ALIVE = b":\n\n"
"""A comment: it keeps proxies from closing a stream on which nothing happens."""

REPLACED_RETRY = 3_600_000
"""Milliseconds after which a replaced stream comes back.  Another one of the same device is open: if it came
back at once, the two would replace each other for ever."""

BUSY_RETRY = 5_000
"""Milliseconds after which a client comes back that could not be let in."""

RETRY = (1_000, 3_000)
"""Milliseconds after which a client comes back whose stream broke: between the two, lest all come at once."""

TYPES: dict[type[Push], str] = {PresencePush: "presence", TypingPush: "typing", ReadPush: "read"}
"""The types of the events that are no entries."""

END = b"\n\n"


def retry(milliseconds: int) -> bytes:
    """Return the field that tells a client when to come back after the stream's end."""
    return b"retry: %d" % milliseconds


class EventStream(Native):
    """Send events to clients, which send nothing: the server pages for them.  One object serves all."""

    __slots__ = ()

    slot = new_slot()
    pages = beats = pongs = False
    ping = KEEP_ALIVE
    ping_after = 15.0

    # docs of the public methods: protocol.wire.Wire

    def reply(self, request: Request, answer: Answer) -> Frames:
        if isinstance(answer, LoginAck):  # of what only a client of another wire has a use for, nothing
            answer.token = answer.heartbeat = answer.offlinemsg = answer.more = UNSET
        return (retry(random.randint(*RETRY)) + b"\n" + _event("login", encode(answer)),)

    def failed(self, error: RequestError, re: int | None, cid: str | None) -> Frames:
        return () if is_passed_over(error, re) else (refusal(error),)

    def login_room(self, request: Request, ack: LoginAck) -> Fit:
        def fit(entries: list[SharedEntry]) -> list[SharedEntry]:
            return []  # they follow as events

        super().login_room(request, ack)
        return fit

    def entry(self, entry: Entry, reader: int) -> Frames:
        name = entry_name(entry.conversation, entry.seq).encode()
        return (b"id: " + name + b"\ndata: " + encode(FORMS[entry.kind](entry, reader)) + END,)

    def push(self, push: Push) -> Frames:
        return (_event(TYPES[type(push)], encode(push)),)

    def bye(self, reason: str, retry_after: float | None) -> Frames:
        (frame,) = super().bye(reason, retry_after) or (b"",)
        if not frame:
            return ()
        seconds = b""
        if reason == "replaced":
            seconds = retry(REPLACED_RETRY) + b"\n"
        elif retry_after is not None:
            seconds = retry(int(retry_after * 1_000)) + b"\n"
        return (seconds + _event("bye", frame.rstrip()),)

    def refused(self, error: RequestError, first: bytes | None) -> Frames:
        return (refusal(error),)


EVENTS = EventStream()


class LoginFirst(Framing):
    """Say one frame in place of a client that sends nothing, and drop what it sends all the same.

    Args:
        first: the frame.
    """

    __slots__ = ("_first",)

    def __init__(self, first: bytes) -> None:
        self._first = [first]

    def feed(self, data: bytes) -> list[bytes]:
        frames, self._first = self._first, []
        return frames


def refusal(error: RequestError) -> bytes:
    """Return the whole stream of a client that is to come back later: other answers stop it for good."""
    return b": " + error.error.encode() + b"\n" + retry(BUSY_RETRY) + END


def _event(kind: str, data: bytes) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + data + END


def name_in(frame: bytes) -> str:
    """Return the name of the entry in an event; empty if it has none."""
    if not frame.startswith(b"id: "):
        return ""
    return frame[4 : frame.index(b"\n")].decode()

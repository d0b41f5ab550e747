"""The native wire over WebSocket: one JSON object a text message.

The frames of a server are not masked, so an entry of a group is encoded once for all clients on WebSocket.
"""

from __future__ import annotations

from typing import Any

import msgspec

from greenchat.errors import RequestError
from greenchat.model.records import Entry
from greenchat.protocol.lines import NEWLINE
from greenchat.protocol.messages import Answer, HeartbeatTerms, LoginAck, Push, Request
from greenchat.protocol.native import FORMS, NATIVE, Native, address
from greenchat.protocol.websocket.frames import (
    CLOSE_CODES,
    PING,
    close_frame,
    control_frame,
    payload_of,
    text_frame,
)
from greenchat.protocol.wire import Frames, SharedEntry, new_slot


class WebSocketWire(Native):
    """Speak JSON with browsers and others over WebSocket.  One object serves all of these connections.

    The server pings, and the clients send no heartbeats: browsers throttle the timers of hidden tabs to one
    a minute, and answer a ping without a script.

    Args:
        ping_after: seconds of silence after which a client is pinged.
        max_missed: pings without an answer after which it is evicted; LOGIN_ACK tells both.
    """

    __slots__ = ("_terms", "ping_after")

    slot = new_slot()
    beats = False
    ping = control_frame(PING)

    def __init__(self, ping_after: float, max_missed: int) -> None:
        self.ping_after = ping_after
        self._terms = HeartbeatTerms(ping_after, max_missed, "server")

    # docs of the public methods: protocol.wire.Wire

    def reply(self, request: Request, answer: Answer) -> Frames:
        address(answer, request)
        if isinstance(answer, LoginAck):
            answer.heartbeat = self._terms
        return (text_frame(_encode(answer)),)

    def failed(self, error: RequestError, re: int | None, cid: str | None) -> Frames:
        return framed(NATIVE.failed(error, re, cid))

    def entry(self, entry: Entry, reader: int) -> Frames:
        return (text_frame(_encode(FORMS[entry.kind](entry, reader))),)

    def push(self, push: Push) -> Frames:
        return (text_frame(_encode(push)),)

    def bye(self, reason: str, retry_after: float | None) -> Frames:
        told = framed(NATIVE.bye(reason, retry_after))
        return (*told, close_frame(CLOSE_CODES[reason], reason)) if told else ()

    def refused(self, error: RequestError, first: bytes | None) -> Frames:
        return (*self.failed(error, None, None), *self.bye("evicted", error.retry_after))


def framed(lines: Frames) -> Frames:
    """Return the messages of the native wire's lines as frames."""
    return tuple(text_frame(line.removesuffix(NEWLINE)) for line in lines)


def _embedded(value: Any) -> msgspec.Raw:
    """Return an entry that stands in an answer: the payload of its frame, which clients share."""
    if not isinstance(value, SharedEntry):
        raise NotImplementedError
    (frame,) = value.frames.get(WebSocketWire.slot) or value.encode(_SHARING)
    return msgspec.Raw(payload_of(frame))


_encode = msgspec.json.Encoder(enc_hook=_embedded).encode

_SHARING = WebSocketWire(0.0, 0)
"""Encodes entries for all objects of the class: their frames do not depend on it."""

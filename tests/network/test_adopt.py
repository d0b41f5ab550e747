"""Connections that were taken over from HTTP: WebSocket on a socket, with a fake service."""

from __future__ import annotations

import json

import pytest

from tests.network.adopted import Adopt
from tests.network.support import DEADLINE
from tests.websocket import CLOSE, PING, PONG, TEXT, Frame, masked


def test_texts_are_handed_to_the_session_and_answered(adopt: Adopt) -> None:
    client = adopt()
    client.send(masked(TEXT, b"one"), masked(TEXT, b"two"))
    assert client.frames(2) == [Frame(TEXT, b"one"), Frame(TEXT, b"two")]
    assert client.session.frames == [b"one", b"two"]


def test_what_came_with_the_upgrade_is_read(adopt: Adopt) -> None:
    client = adopt(received=masked(TEXT, b"one") + masked(TEXT, b"two")[:4])
    client.send(masked(TEXT, b"two")[4:])
    assert [frame.payload for frame in client.frames(2)] == [b"one", b"two"]


def test_a_ping_is_answered_with_what_it_holds(adopt: Adopt) -> None:
    client = adopt()
    client.send(masked(PING, b"there?"), masked(TEXT, b"one"))
    assert client.frames(2) == [Frame(PONG, b"there?"), Frame(TEXT, b"one")]


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x0f\xa0done"])
def test_a_close_is_answered_with_its_code_behind_the_replies_and_ends_tcp(
    adopt: Adopt, payload: bytes
) -> None:
    client = adopt()
    client.send(masked(TEXT, b"one"), masked(CLOSE, payload), masked(TEXT, b"never read"))
    assert client.rest() == [Frame(TEXT, b"one"), Frame(CLOSE, payload[:2])]
    client.sock.close()
    assert client.session.ended.wait(DEADLINE)
    assert (client.session.frames, client.session.reasons) == ([b"one"], ["closed by peer"])


@pytest.mark.parametrize(
    ("reason", "code"),
    [("shutdown", 1012), ("slow_consumer", 1013), ("replaced", 4001), ("evicted", 4002), ("protocol", 1008)],
)
def test_bye_comes_first_then_its_close_code(adopt: Adopt, reason: str, code: int) -> None:
    client = adopt()
    client.session.peer.close(reason, 1.5)
    bye, close = client.rest()
    assert json.loads(bye.payload) == {"msgid": 24, "reason": reason, "retry_after": 1.5}
    assert (close.opcode, close.code) == (CLOSE, code)


@pytest.mark.parametrize(
    ("sent", "code", "errno"),
    [
        (masked(2, b"binary"), 1003, 3),
        (masked(TEXT, b"\xff"), 1007, 3),
        (masked(TEXT, b"x" * 101), 1009, 12),
        (b"\x81\x00", 1002, 3),
    ],
)
def test_a_client_that_breaks_the_protocol_is_told_why_behind_its_replies(
    adopt: Adopt, sent: bytes, code: int, errno: int
) -> None:
    client = adopt(max_frame=100)
    client.send(masked(TEXT, b"one"), sent, masked(TEXT, b"never read"))
    reply, error, bye, close = client.rest()
    assert reply == Frame(TEXT, b"one")
    assert (json.loads(error.payload)["msgid"], json.loads(error.payload)["errno"]) == (14, errno)
    assert json.loads(bye.payload) == {"msgid": 24, "reason": "protocol"}
    assert close.code == code
    assert client.session.frames == [b"one"]

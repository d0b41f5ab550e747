"""The cases of the Autobahn suite over a TCP connection, with a service that echoes."""

from __future__ import annotations

import gevent
import pytest

from tests.network.adopted import Adopt
from tests.protocol.websocket.autobahn import MIB, case_table
from tests.websocket import CLOSE, PONG, TEXT

CASES = case_table()


@pytest.mark.parametrize("name", CASES)
def test_over_a_socket(adopt: Adopt, name: str) -> None:
    case = CASES[name]
    client = adopt(max_frame=MIB, outbox_limit=8 * MIB)
    writing = gevent.spawn(client.send, *case.sent)
    *frames, close = client.rest()
    writing.kill()  # of what comes behind its end the server reads nothing
    failed = case.code in {1002, 1003, 1007}
    texts = [frame.payload for frame in frames if frame.opcode == TEXT]
    assert texts[: len(texts) - 2 * failed] == list(case.texts), "ERROR and BYE come before the close"
    assert [frame.payload for frame in frames if frame.opcode == PONG] == list(case.pongs)
    assert (close.opcode, close.code) == (CLOSE, case.code)

"""The load's side of a conversation, with connections that only remember."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.bench import wire
from lab.bench.loop import Connection, Loop
from lab.bench.talk import RECEIPT_AT, Reader, Talk, Writer, settle


class FakeConnection(Connection):
    """Remembers what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.heard: Callable[[wire.Batch], None] = lambda batch: None

    def send(self, data: bytes) -> None:
        self.sent += map(json.loads, data.splitlines())

    def hear(self, *frames: dict[str, Any]) -> None:
        self.heard(wire.Batch(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames)))


class FakeLoop(Loop):
    """Time does not pass: what has not come will not come."""

    def __init__(self) -> None:
        pass

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        self.confirm = call

    def until(self, done: Callable[[], bool], what: str, seconds: float = 0.0) -> None:
        pass


def ack(number: int, **fields: Any) -> dict[str, Any]:
    return {"msgid": 11, "re": 6, "errno": 0, "cid": str(number), "seq": number} | fields


def message(number: int, seq: int | None = None) -> dict[str, Any]:
    return {"msgid": 6, "msg": f"{number:012}...", "seq": number if seq is None else seq}


class World:
    def __init__(self, readers: int = 1) -> None:
        self.loop = FakeLoop()
        self.writer = FakeConnection()
        self.readers = [FakeConnection() for _ in range(readers)]
        self.talk = Talk(
            self.loop, Writer(self.writer, '"toid":2'), [Reader(it, '"peerid":1') for it in self.readers]
        )

    def faults(self) -> dict[str, int]:
        return dict(settle(self.loop, [self.talk]))


@pytest.fixture
def world() -> World:
    return World()


def test_messages_are_numbered_have_their_size_and_go_where_they_should(world: World) -> None:
    world.talk.start(2)
    assert [frame["cid"] for frame in world.writer.sent] == ["1", "2"]
    assert {(frame["msgid"], frame["toid"], len(frame["msg"])) for frame in world.writer.sent} == {(6, 2, 64)}


def test_the_window_stays_full_and_no_fuller(world: World) -> None:
    world.talk.start(4)
    world.writer.hear(ack(1), ack(2))
    assert len(world.writer.sent) == 4
    world.readers[0].hear(message(1), message(2))
    assert len(world.writer.sent) == 6
    world.talk.window = 0
    world.readers[0].hear(message(3), message(4))
    assert len(world.writer.sent) == 6


def test_a_message_is_delivered_when_the_last_reader_has_it() -> None:
    world = World(readers=3)
    world.talk.start(4)
    first, second, third = world.readers
    first.hear(*map(message, (1, 2, 3, 4)))
    second.hear(message(1))
    second.hear(message(2), message(3))
    assert (world.talk.delivered, world.talk.deliveries) == (0, 7)
    third.hear(message(1), message(2))
    assert (world.talk.delivered, world.talk.deliveries) == (2, 9)
    third.hear(message(3))
    third.hear(message(4))
    assert world.talk.delivered == 3
    second.hear(message(4))
    assert world.talk.delivered == 4


def test_when_all_has_come_there_is_no_fault(world: World) -> None:
    world.talk.start(2)
    world.writer.hear(ack(1), {"msgid": 12}, ack(2))
    world.readers[0].hear(message(1), {"msgid": 12}, message(2))
    assert world.talk.quiet is False  # the window was filled again
    world.writer.hear(ack(3), ack(4))
    world.talk.window = 0
    world.readers[0].hear(message(3), message(4))
    assert world.talk.quiet
    assert world.faults() == {}


@pytest.mark.parametrize(
    ("acks", "came", "faults"),
    [
        ([1, 2, 3], [(1, 1), (3, 3)], {"lost": 1, "seqs lost": 1}),
        ([1, 2, 3], [(1, 1), (2, 2)], {"lost": 1, "seqs lost": 1}),
        ([1, 2, 3], [(1, 1), (1, 1), (2, 2), (3, 3)], {"doubled": 1, "seqs doubled": 1}),
        ([1, 2, 3], [(1, 1), (1, 2), (2, 3), (3, 4)], {"doubled": 1, "seqs never sent": 1}),
        ([1, 2, 3], [(2, 2), (1, 1), (3, 3)], {"reordered": 1, "seqs reordered": 1}),
        ([1, 2, 3], [(2, 1), (1, 2), (3, 3)], {"reordered": 1}),
        ([1, 2, 3], [(1, 1), (2, 3), (3, 2)], {"seqs reordered": 1}),
        ([1, 3], [(1, 1), (2, 2), (3, 3)], {"ACKs lost": 1}),
        ([1, 2, 2, 3], [(1, 1), (2, 2), (3, 3)], {"ACKs doubled": 1}),
        ([2, 1, 3], [(1, 1), (2, 2), (3, 3)], {"ACKs reordered": 1}),
    ],
)
def test_a_planted_fault_is_found(
    world: World, acks: list[int], came: list[tuple[int, int]], faults: dict[str, int]
) -> None:
    world.talk.writer.send(3)
    world.writer.hear(*map(ack, acks))
    world.readers[0].hear(*(message(*it) for it in came))
    assert world.faults() == faults


def test_a_message_of_ones_own_is_no_ack(world: World) -> None:
    world.talk.writer.send(1)
    world.writer.hear(ack(1), message(1) | {"cid": "1"})
    world.readers[0].hear(message(1))
    assert world.faults() == {}


def test_a_message_that_was_refused_is_a_fault(world: World) -> None:
    world.talk.writer.send(1)
    world.writer.hear(ack(1, errno=13, error="busy", seq=0))
    assert world.faults()["refused: busy"] == 1


def test_a_fault_of_one_reader_is_found_among_many() -> None:
    world = World(readers=3)
    world.talk.writer.send(2)
    world.writer.hear(ack(1), ack(2))
    for reader in world.readers[:2]:
        reader.hear(message(1), message(2))
    world.readers[2].hear(message(2))
    assert world.faults() == {"lost": 1, "seqs lost": 1}


def test_a_reader_confirms_many_at_once_and_few_after_a_while(world: World) -> None:
    reader = world.readers[0]
    world.talk.writer.send(RECEIPT_AT + 2)
    reader.hear(message(1))
    assert reader.sent == []
    world.loop.confirm()
    world.loop.confirm()
    assert reader.sent == [{"msgid": 13, "peerid": 1, "seq": 1}]
    reader.hear(*map(message, range(2, RECEIPT_AT + 2)))
    assert reader.sent[1:] == [{"msgid": 13, "peerid": 1, "seq": RECEIPT_AT + 1}]

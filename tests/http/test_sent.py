"""The order in which a device was sent entries, and what an id of one acknowledges."""

from __future__ import annotations

import pytest

from greenchat.http.api.sent import ENTRIES, REMEMBERED, Memory, Sent
from greenchat.model.conversations import named

ANN = (1, "web")
GROUP, PAIR = named("g1"), named("u1-2")


@pytest.fixture
def memory() -> Memory:
    """A memory of a stream that has sent three entries."""
    memory, sent = Memory(), Sent()
    for name in ("g1-5", "u1-2-3", "g1-6"):
        sent.add(name)
    memory.begin(ANN, sent)
    return memory


def test_an_id_acknowledges_what_was_sent_before_it(memory: Memory) -> None:
    assert memory.upto(ANN, "g1-5", 0) == {GROUP: 5}
    assert memory.upto(ANN, "u1-2-3", 0) == {GROUP: 5, PAIR: 3}
    assert memory.upto(ANN, "g1-6", 0) == {GROUP: 6, PAIR: 3}


def test_an_id_that_was_not_sent_acknowledges_its_conversation_alone(memory: Memory) -> None:
    assert memory.upto(ANN, "g1-4", 0) == {GROUP: 4}
    assert memory.upto((1, "other"), "g1-6", 0) == {GROUP: 6}


def test_an_id_that_is_none_is_told(memory: Memory) -> None:
    with pytest.raises(ValueError):
        memory.upto(ANN, "", 0)


def test_what_an_earlier_stream_sent_does_not_count(memory: Memory) -> None:
    """The newest one sends it again, in another order: only that is what the client has."""
    sent = Sent()
    sent.add("g1-6")
    memory.begin(ANN, sent)
    assert memory.upto(ANN, "g1-6", 0) == {GROUP: 6}


def test_it_is_known_for_a_while_after_the_end(memory: Memory) -> None:
    open_one = Sent()
    memory.begin((2, ""), open_one)
    (mine,) = [sent for device, sent in memory.devices() if device == ANN]
    memory.end(mine, 100.0)
    assert len(memory.upto(ANN, "g1-6", 100.0 + REMEMBERED)) == 2
    assert memory.upto(ANN, "g1-6", 101.0 + REMEMBERED) == {GROUP: 6}
    memory.end(Sent(), 101.0 + REMEMBERED)
    assert [device for device, _ in memory.devices()] == [(2, "")]


def test_of_a_long_stream_the_order_of_the_last_entries_is_known() -> None:
    memory, sent = Memory(), Sent()
    memory.begin(ANN, sent)
    sent.add("u1-2-1")
    for seq in range(1, ENTRIES + 101):
        sent.add(f"g1-{seq}")
    assert memory.upto(ANN, f"g1-{ENTRIES}", 0) == {GROUP: ENTRIES, PAIR: 1}
    assert memory.upto(ANN, "g1-100", 0) == {GROUP: 100}

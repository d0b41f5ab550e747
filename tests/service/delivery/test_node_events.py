"""What nodes tell each other: as it was sent, and nothing else raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.service.delivery.node_events import (
    Ended,
    Joined,
    Left,
    NodeEvent,
    Posted,
    Told,
    decode_event,
    encode_event,
)
from greenchat.service.node_session import NodeSession
from tests.service.world import Person, World

NO_EVENTS = [
    # what comes, why it is none
    (b"", "nothing"),
    (b"\xc1", "no MessagePack"),
    (b"\x93\x63\x01\x02", "a tag that is not known here"),
    (b"\x91\x03", "fields are missing"),
    (b"\x93\x03\xa1a\xa1a", "a text for a number"),
    (b"\x93\x03\x05\xa1\xff", "a text that is not UTF-8"),
    (b"\x94\x06\x01\x02" + b"\x91" * 100_000, "a new field that is nested too deep"),
    (encode_event(Left(2**31, 1)), "a user that cannot be"),
    (encode_event(Joined(1, 0, 0)), "a group that cannot be"),
    (encode_event(Joined(1, 1, -1)), "a seq below all"),
    (encode_event(Told([1, 2**64 - 1], b"{}")), "a user among others that cannot be"),
    (encode_event(Posted(2**63, 1, 1, b"{}")), "a conversation that no database can hold"),
    (encode_event(Posted(1 << 32 | 2, 2**63, 1, b"{}")), "a seq that no database can hold"),
]


@pytest.mark.parametrize("event", [Posted(1 << 32 | 2, 7, 1, b"{}"), Told([1, 2], b"{}"), Ended(5, None)])
def test_an_event_comes_as_it_was_sent(event: NodeEvent) -> None:
    assert decode_event(encode_event(event)) == event


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert decode_event(b"\x94\x06\x01\x02\xa3new") == Left(1, 2)


@pytest.mark.parametrize(("data", "why"), NO_EVENTS)
def test_what_is_no_event_is_passed_over(data: bytes, why: str) -> None:
    assert decode_event(data) is None, why


@given(st.binary(max_size=40))
def test_no_bytes_raise(data: bytes) -> None:
    decode_event(data)


def test_a_group_that_there_is_not_holds_up_no_other(world: World, ann: Person, bob: Person) -> None:
    ours = bob.group("ours", ann)
    node_session = NodeSession(world.service, lambda: None)
    for groupid in (99, ours):
        node_session.receive(encode_event(Joined(ann.id, groupid, 0)))
    world.commit()
    ann.pushed()
    bob.say(ours)
    assert ann.live() == [1]

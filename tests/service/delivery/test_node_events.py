"""What nodes tell each other: as it was sent, and nothing else raises."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.model.conversations import of_pair
from greenchat.model.records import Entry
from greenchat.protocol.former import frames_of
from greenchat.protocol.messages import ReadPush, TypingPush
from greenchat.service.delivery.node_events import (
    Ended,
    FormerPosted,
    FormerTold,
    Joined,
    Left,
    Mark,
    NodeEvent,
    Stored,
    Told,
    committed,
    decode_event,
    encode_event,
    encode_for_former,
)
from greenchat.service.node_session import NodeSession
from tests.service.world import Person, World

PAIR = of_pair(1, 2)
CHAT = Entry(PAIR, 7, 1, "ann", "c1", "text", "hi", "2027-01-15T08:00:00.000Z")
TYPING = TypingPush(id=1, peerid=1)


def encoded(**fields: object) -> bytes:
    """Return the event of an entry that is like ``CHAT`` otherwise."""
    return encode_event(committed(CHAT._replace(**fields)))  # type: ignore[arg-type]


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
    (encode_event(Told([1, 2**64 - 1], TYPING)), "a user among others that cannot be"),
    (encoded(conversation=2**63), "a conversation that no database can hold"),
    (encoded(seq=2**63), "a seq that no database can hold"),
    (encoded(kind="recall"), "a recall of no seq"),
    (encoded(kind="recall", body="9" * 5_000), "a recall of a seq that no database can hold"),
    (encoded(kind="poem"), "a kind of a later version: it is read from the log, if somebody asks"),
    (msgspec.msgpack.encode(FormerTold([1], b'{"msgid":6}')), "a push that is none"),
]

EVENTS = [
    committed(CHAT),
    committed(CHAT._replace(conversation=-3, cid=None)),
    Told([1, 2], TYPING),
    Told([1], ReadPush(id=2, seq=5, groupid=3), Mark(2, -3, 5)),
    Ended(5, None),
]


@pytest.mark.parametrize("event", [*EVENTS, committed(CHAT._replace(kind="recall", body="3"))])
def test_an_event_comes_as_it_was_sent(event: NodeEvent) -> None:
    assert decode_event(encode_event(event)) == event


def test_an_event_of_a_message_is_smaller_than_its_frames() -> None:
    """In bytes, of a chat of 64 characters with a cid of 36."""
    entry = CHAT._replace(body="x" * 64, cid="c" * 36)
    sizes = len(encode_event(committed(entry))), len(encode_for_former(committed(entry)))
    assert sizes == (151, 372)


# -- The former version


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_of_the_former_version_tells_the_same(event: NodeEvent) -> None:
    assert decode_event(encode_for_former(event)) == event


@pytest.mark.parametrize(
    "event",
    [
        FormerPosted(PAIR, 7, 1, frames_of(CHAT)[0]),  # the sending node knew of no other devices
        FormerPosted(PAIR, 8, 1, *frames_of(CHAT)),
        FormerPosted(PAIR, 7, 1, *frames_of(CHAT._replace(body="", recalled=1))),
        FormerPosted(PAIR, 7, 2, *frames_of(CHAT)),
        FormerPosted(PAIR, 7, 1, b"{}", b"{}"),
        FormerPosted(PAIR, 7, 1, *frames_of(CHAT._replace(kind="recall", body="3"))),
    ],
)
def test_what_a_former_event_does_not_tell_is_read_from_the_log(event: FormerPosted) -> None:
    assert decode_event(msgspec.msgpack.encode(event)) == Stored(event.conversation, event.seq)


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

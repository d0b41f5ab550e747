"""Frames between nodes, and this node's picture of who is where."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.bus.cluster import frames as module
from greenchat.bus.cluster.directory import Directory
from greenchat.bus.cluster.frames import MOST_EVENTS, Frame, Incoming, Outgoing, decode, encode
from greenchat.model.records import Node

A, B = Node("a", 1), Node("b", 7)

users = st.lists(st.integers(1, 2**31 - 1), max_size=5)
frames = st.builds(
    Frame,
    source=st.builds(Node, st.text(max_size=20), st.integers(0, 2**50)),
    number=st.integers(0, 2**50),
    seen=st.builds(Node, st.just("b"), st.integers(0, 2**50)),
    seen_number=st.integers(0, 2**50),
    here=users,
    left=users,
    leaving=st.booleans(),
    events=st.lists(st.binary(max_size=50), max_size=5),
    version=st.integers(0, 2**50),
)


@given(frames)
def test_a_frame_comes_as_it_was_sent(frame: Frame) -> None:
    assert decode(encode(frame), "b") == frame


def test_a_frame_without_a_version_is_of_the_first() -> None:
    assert decode(b'{"src":"a","epoch":1,"n":1,"seen":[0,0]}\n', "b").version == 1


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a frame"):
        decode(data, "b")


@pytest.mark.parametrize(
    "data", [b"{}", b"[]", b"1", b'{"src":1}', b'{"src":"a","epoch":1,"n":1,"seen":[1]}', b"[" * 100_000]
)
def test_what_looks_like_a_frame_and_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a frame"):
        decode(data, "b")


@pytest.mark.parametrize(
    "changed",
    [
        {"src": 1},
        {"src": []},
        {"src": "\ud800"},
        {"epoch": "1"},
        {"epoch": None},
        {"n": 1.5},
        {"n": "1"},
        {"n": True},
        {"n": -1},
        {"seen": [1, "2"]},
        {"seen": [1, 2, 3]},
        {"seen": {"1": 1, "2": 2}},
        {"here": 3},
        {"here": "abc"},
        {"here": [1, "2"]},
        {"left": [[]]},
        {"left": {"1": 2}},
        {"leaving": 1},
        {"sizes": 3},
        {"sizes": [1.5]},
        {"sizes": [-1, 4]},
        {"sizes": [2]},
        {"sizes": [2, 2]},
        {"sizes": []},
    ],
    ids=str,
)
def test_a_frame_with_a_field_of_another_kind_is_refused(changed: dict[str, object]) -> None:
    """Whoever takes the frame compares and counts with its fields."""
    head = {"src": "a", "epoch": 1, "n": 1, "seen": [1, 2], "sizes": [1, 2]}
    assert decode(json.dumps(head).encode() + b"\nxyz", "b").events == [b"x", b"yz"]
    with pytest.raises(ValueError, match="not a frame"):
        decode(json.dumps(head | changed).encode() + b"\nxyz", "b")


class Pair:
    """One direction of the traffic between two nodes."""

    def __init__(self) -> None:
        self.out = Outgoing()
        self.incoming = Incoming()

    def send(self, *events: bytes, source: Node = A) -> Frame:
        for event in events:
            self.out.add(event)
        return self.out.next(source, B, 0)

    def take(self, frame: Frame) -> bool | None:
        """Return whether something was lost before; None for a frame that is not new."""
        return self.incoming.take(frame) if self.incoming.fresh(frame) else None


@pytest.fixture
def pair() -> Pair:
    """Two nodes that have exchanged a frame."""
    pair = Pair()
    assert pair.take(pair.send(b"first")) is True  # what was before it is not known
    return pair


def test_frames_in_order_are_taken(pair: Pair) -> None:
    for _ in range(3):
        assert pair.take(pair.send(b"event")) is False
        assert pair.take(pair.send()) is False  # a position


def test_a_lost_frame_shows_with_the_next(pair: Pair) -> None:
    pair.send(b"lost")
    assert pair.take(pair.send(b"next")) is True
    assert pair.take(pair.send(b"next")) is False


def test_a_lost_last_frame_shows_with_the_next_position(pair: Pair) -> None:
    pair.send(b"lost")
    assert pair.take(pair.send()) is True
    assert pair.take(pair.send()) is False


def test_what_was_dropped_before_it_was_sent_shows(pair: Pair) -> None:
    pair.out.add(b"dropped")
    pair.out.lose()
    assert pair.take(pair.send()) is True


def test_nothing_is_lost_where_nothing_waits(pair: Pair) -> None:
    pair.out.lose()
    assert pair.take(pair.send()) is False


def test_too_much_that_waits_is_dropped_and_shows(pair: Pair) -> None:
    frame = pair.send(*[b""] * (MOST_EVENTS + 1))
    assert len(frame.events) == 1
    assert pair.take(frame) is True


def test_a_frame_is_taken_once(pair: Pair) -> None:
    frame = pair.send(b"event")
    assert pair.take(frame) is False
    assert pair.take(frame) is None


def test_a_new_incarnation_begins_anew_and_the_old_one_is_not_heard_again(pair: Pair) -> None:
    old = pair.send(b"old")
    assert pair.take(pair.send(b"new", source=A._replace(incarnation=2))) is True
    assert pair.take(old) is None
    assert pair.take(pair.send(source=A._replace(incarnation=2))) is False


def test_the_newest_word_on_a_user_counts() -> None:
    out = Outgoing()
    for here in (True, False, True):
        out.tell(5, here)
    out.tell(6, False)
    assert out.waits
    frame = out.next(A, B, 3, leaving=True)
    assert (frame.here, frame.left, frame.leaving, frame.number) == ([5], [6], True, 1)
    assert not out.waits


class Where:
    """A directory, and the same as a plain set of pairs."""

    def __init__(self) -> None:
        self.directory = Directory()
        self.pairs: set[tuple[str, int]] = set()

    def check(self) -> None:
        for userid in range(1, 5):
            nodes = {node for node, user in self.pairs if user == userid}
            assert self.directory.nodes_of([userid]) == nodes
            assert self.directory.online([userid, 9]) == ({userid} if nodes else set())
        everywhere = {node for node, _ in self.pairs}
        assert self.directory.nodes_of(range(1, 5)) == everywhere
        for node in "xyz":
            assert self.directory.users(node) == {user for there, user in self.pairs if there == node}


steps = st.tuples(
    st.sampled_from("xyz"), st.integers(1, 4), st.sampled_from(["here", "left", "drop", "replace"])
)


@given(st.lists(steps, max_size=30))
def test_the_directory_knows_who_is_where(steps: list[tuple[str, int, str]]) -> None:
    where = Where()
    for node, userid, step in steps:
        others = {pair for pair in where.pairs if pair[0] != node}
        if step in {"here", "left"}:
            where.directory.put(node, userid, step == "here")
            (where.pairs.add if step == "here" else where.pairs.discard)((node, userid))
        elif step == "drop":
            where.directory.drop(node)
            where.pairs = others
        else:
            where.directory.replace(node, range(1, userid))
            where.pairs = others | {(node, user) for user in range(1, userid)}
        where.check()


def test_the_frame_of_this_page_is_the_one_that_is_documented() -> None:
    """The page of ``frames`` names the fields."""
    head = encode(Frame(A, 1, B, 2, [3], [4], True, [b"x"], 2)).partition(b"\n")[0].decode()
    assert module.__doc__
    assert all(
        f'"{name}"' in head for name in ("src", "epoch", "v", "n", "seen", "here", "left", "leaving", "sizes")
    )

"""The table of the kinds of entries: what each row says of bodies and targets."""

from __future__ import annotations

import pytest

from greenchat.model.kinds import KINDS, RECALL, TEXT, changed, target_of
from greenchat.model.records import MAX_SEQ, Entry

CHAT = Entry(-3, 1, 2, "bob", None, TEXT.name, "hi", "2027-01-15T08:00:00.000Z")


@pytest.mark.parametrize("body", ["1", "12", str(MAX_SEQ)])
def test_the_body_of_a_recall_is_a_seq(body: str) -> None:
    assert RECALL.is_body(body)


@pytest.mark.parametrize("body", ["", "0", "-1", "1.0", "x", "²", "٣", str(MAX_SEQ + 1), "9" * 5_000])
def test_any_other_is_none(body: str) -> None:
    assert not RECALL.is_body(body)
    assert TEXT.is_body(body)


def test_a_row_is_found_by_its_name() -> None:
    assert all(name == kind.name for name, kind in KINDS.items())
    assert len({kind.name for kind in KINDS.values()}) == len(KINDS)


def test_only_what_is_no_message_has_a_target() -> None:
    """A change of a change would need an order of its own."""
    assert all(kind.is_message == (kind.change is None) for kind in KINDS.values())


def test_a_recall_takes_the_text_of_its_target() -> None:
    recall = CHAT._replace(seq=2, kind=RECALL.name, body="1")
    assert (target_of(CHAT), target_of(recall)) == (0, 1)
    assert changed(CHAT, recall.kind) == CHAT._replace(body="", recalled=1)

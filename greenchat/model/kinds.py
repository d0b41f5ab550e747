"""The kinds of entries in a conversation's log: one table.

A new kind is a row here and a form in the wires that have one for it (``protocol.native.FORMS``).  A wire
without a form shows the row's words, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from greenchat.model.records import MAX_SEQ, Entry


class Kind(NamedTuple):
    """A row of the table.

    Attributes:
        name: as the database and the nodes write it.
        is_body: returns True if an entry of this kind can have a text as its body.
        is_message: it is a message, and can be the target of other entries.
        change: the columns that its commit sets in its target, which must be a message that is not recalled;
            None for a kind without target.
        is_blockable: in a pair, the other user's block keeps it from being stored.
        words: returns the text that a wire without a form for this kind shows, None for nothing.
    """

    name: str
    is_body: Callable[[str], bool]
    is_message: bool
    change: Mapping[str, str | int] | None
    is_blockable: bool
    words: Callable[[Entry], str | None]


def _is_seq(body: str) -> bool:
    return len(body) < 20 and body.isascii() and body.isdecimal() and 0 < int(body) <= MAX_SEQ


TEXT = Kind(
    name="text",
    is_body=lambda body: True,
    is_message=True,
    change=None,
    is_blockable=True,
    words=lambda entry: entry.body,
)
"""A message; its body is empty once it is recalled."""

RECALL = Kind(
    name="recall",
    is_body=_is_seq,
    is_message=False,
    change={"body": "", "recalled": 1},
    is_blockable=False,
    words=lambda entry: None,
)
"""A message was taken back; the body is its seq."""

KINDS = {kind.name: kind for kind in (TEXT, RECALL)}
"""Each kind by its name."""


def target_of(entry: Entry) -> int:
    """Return the seq of the message that an entry changes, 0 if it changes none."""
    return 0 if KINDS[entry.kind].change is None else int(entry.body)


def changed(target: Entry, kind: str) -> Entry:
    """Return a message as an entry of some kind leaves it: a recall, without its text."""
    return Entry(**{**target._asdict(), **(KINDS[kind].change or {})})

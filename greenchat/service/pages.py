"""Pages of the log: what a device missed, in answers and by itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from greenchat.errors import Busy, NoSuchGroup
from greenchat.ports import Entry, Span
from greenchat.service.conversations import group_of
from greenchat.service.entries import encode_entry
from greenchat.service.gate import Gate

if TYPE_CHECKING:
    from greenchat.service.caller import Caller

PAGE_BYTES = 256 * 1024
"""Bytes of an array of entries at most (docs/protocol.md)."""

TRY_AGAIN = 0.2
"""Seconds after which what is owed to a session is tried again."""


class Item(NamedTuple):
    """An entry, and its frame for the one who reads it."""

    entry: Entry
    frame: bytes


def next_page(caller: Caller, only: int | None = None, room: int = PAGE_BYTES) -> list[Item]:
    """Take the next page that the caller's gate still expects.  May switch.

    Args:
        caller: whose page.
        only: the one conversation that it is to be about; None for all.
        room: bytes that the page may have, as a JSON array.

    Raises:
        Busy: another page is being read for the caller; or as the store says.
    """
    gate = caller.gate
    if gate is None or not (spans := gate.plan(only)):
        return []
    entries = _read(caller, gate, spans)
    if caller.gate is not gate:
        return []  # it is somebody else's session by now, or nobody's
    items = fitting(items_for(caller, entries), room)
    for item in items:
        gate.offer(item.entry.conversation, item.entry.seq)
    return items


def catch_up(caller: Caller, gate: Gate) -> None:
    """Send what the gate is owed as live messages, and try again until nothing is.  May switch."""
    try:
        paid = _pay(caller, gate)
    except Busy:
        paid = False
    if not paid:
        caller.service.later(TRY_AGAIN, partial(catch_up, caller, gate))


def _pay(caller: Caller, gate: Gate) -> bool:
    """Return whether nothing is owed any more, or nobody is there to have it."""
    service = caller.service
    while gate.owed and caller.gate is gate:
        if gate.held is not None or gate.reading:
            return False
        conversation = next(iter(gate.owed))
        groupid = group_of(conversation)
        if groupid is not None and not _is_member(caller, groupid):
            gate.forget(conversation)
            continue
        gate.expect_head(conversation, service.store.head(conversation))
        items = next_page(caller, conversation)
        if not items and caller.gate is gate:
            gate.owed.discard(conversation)
            caller.drop_idle_gate()
        for entry, frame in items:
            caller.send_entry(conversation, entry.seq, frame)
        if not caller.peer.drain():
            return True
    return True


def _is_member(caller: Caller, groupid: int) -> bool:
    """Return whether the caller's user is in a group: what is committed after this is read is live."""
    try:
        return caller.user in caller.service.memberships.load(groupid)
    except NoSuchGroup:  # another node was wrong
        return False


def raw(items: list[Item]) -> list[msgspec.Raw]:
    """Return the frames of items, to be put into a reply as they are."""
    return [msgspec.Raw(item.frame) for item in items]


def _read(caller: Caller, gate: Gate, spans: list[Span]) -> list[Entry]:
    if gate.reading:
        raise Busy("another page is being read", retry_after=0.1)
    gate.reading = True
    try:
        return caller.service.store.entries(spans)
    finally:
        gate.reading = False


def items_for(caller: Caller, entries: list[Entry]) -> list[Item]:
    reader, classic = caller.id, caller.peer.classic
    return [Item(entry, encode_entry(entry, reader, classic)) for entry in entries]


def fitting(items: list[Item], room: int = PAGE_BYTES) -> list[Item]:
    """Return as many of the first items as an array of so many bytes has room for."""
    for count, item in enumerate(items):
        room -= len(item.frame) + 1
        if room < 1:
            return items[:count]
    return items

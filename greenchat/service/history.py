"""Reading the log: pages of what a device missed, and of a conversation's past."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import msgspec

from greenchat.errors import BadRequest, Busy
from greenchat.ports import Entry
from greenchat.protocol import messages as m
from greenchat.protocol.instants import day_bounds
from greenchat.service.access import readable
from greenchat.service.caller import Caller
from greenchat.service.conversations import group_of
from greenchat.service.entries import encode_entry
from greenchat.service.gate import Gate

PAGE_BYTES = 256 * 1024
"""Bytes of an array of entries at most (docs/protocol.md)."""

TRY_AGAIN = 0.2
"""Seconds after which what is owed to a session is tried again."""

DEFAULT_HISTORY = 50
MAX_HISTORY = 200


class Item(NamedTuple):
    """An entry, and its frame for the one who reads it."""

    entry: Entry
    frame: bytes


def history(caller: Caller, request: m.History) -> m.Reply:
    """Return a page of a conversation's past."""
    limit = request.limit or DEFAULT_HISTORY
    if limit > MAX_HISTORY:
        raise BadRequest(f"limit: at most {MAX_HISTORY}")
    conversation, after = readable(caller, request)
    day = None if request.day is None else _bounds(request.day)
    entries, more = caller.service.store.history(conversation, after, request.before, day, limit)
    items = _items(caller, entries)
    kept = _fitting(items[::-1])[::-1]
    return m.HistoryAck(messages=raw(kept), more=more or len(kept) < len(items))


def sync(caller: Caller, request: m.Sync) -> m.Reply:
    """Return the next page of what this device missed."""
    items = next_page(caller)
    gate = caller.gate
    more = gate is not None and gate.more
    caller.drop_idle_gate()
    return m.SyncAck(re=m.MsgId.SYNC, offlinemsg=raw(items), more=more)


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
    items = _fitting(_items(caller, entries), room)
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
        if groupid is not None:
            service.memberships.load(groupid)  # what is committed after the head is read is live
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


def raw(items: list[Item]) -> list[msgspec.Raw]:
    """Return the frames of items, to be put into a reply as they are."""
    return [msgspec.Raw(item.frame) for item in items]


def _read(caller: Caller, gate: Gate, spans: list) -> list[Entry]:
    if gate.reading:
        raise Busy("another page is being read", retry_after=0.1)
    gate.reading = True
    try:
        return caller.service.store.entries(spans)
    finally:
        gate.reading = False


def _items(caller: Caller, entries: list[Entry]) -> list[Item]:
    reader, classic = caller.id, caller.peer.classic
    return [Item(entry, encode_entry(entry, reader, classic)) for entry in entries]


def _fitting(items: list[Item], room: int = PAGE_BYTES) -> list[Item]:
    """Return as many of the first items as an array of so many bytes has room for."""
    for count, item in enumerate(items):
        room -= len(item.frame) + 1
        if room < 1:
            return items[:count]
    return items


def _bounds(day: str) -> tuple[str, str]:
    try:
        return day_bounds(day)
    except ValueError:
        raise BadRequest("day: YYYY-MM-DD is needed") from None

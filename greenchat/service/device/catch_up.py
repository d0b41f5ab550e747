"""Pages of the log: what a device missed, in answers and by itself."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from greenchat.errors import Busy, NoSuchGroup
from greenchat.model.conversations import group_of
from greenchat.model.records import Entry, Span
from greenchat.ports.peer import Peer
from greenchat.protocol.wire import Fit, Frames, Shared, SharedEntry, Wire, fitting
from greenchat.service.device.holdback import PAGE_MESSAGES, Gate
from greenchat.service.device.receipts import Receipts
from greenchat.service.service import Service

TRY_AGAIN = 0.2
"""Seconds after which what is owed to a session is tried again."""


class Reader(Protocol):
    """A caller, as far as reading the log for it needs to know."""

    gate: Gate | None
    device: str
    wire: Wire

    @property
    def service(self) -> Service:
        """What all of this node share."""

    @property
    def peer(self) -> Peer:
        """The other end."""

    @property
    def user(self) -> int | None:
        """Who is logged in."""

    @property
    def id(self) -> int:
        """Who is logged in.

        Raises:
            NotLoggedIn
        """

    @property
    def receipts(self) -> Receipts:
        """What the device has."""

    def frames_of(self, message: Shared) -> Frames:
        """Return the frames of a message for this client."""

    def send_entry(self, conversation: int, seq: int, entry: Shared) -> None:
        """Send an entry of the log as a live message."""

    def drop_idle_gate(self) -> None:
        """Go without a gate from now on if it has nothing to do."""


def next_page(reader: Reader, only: int | None = None, fit: Fit | None = None) -> list[SharedEntry]:
    """Take the next page that the reader's gate still expects; empty if the log has no more.  May switch.

    Args:
        reader: whose page.
        only: the one conversation that it is to be about; None for all.
        fit: returns as many of the first entries as the page may have; None: what fits ``PAGE_BYTES``.

    Raises:
        Busy: another page is being read for the reader; or as the store says.
    """
    gate = reader.gate
    while gate is not None and (spans := gate.plan(only)):
        read = _read(reader, gate, spans)
        if reader.gate is not gate:
            return []  # it is somebody else's session by now, or nobody's
        standing = {span.conversation for span in spans if gate.stands(span, only)}
        entries = [entry for entry in read if entry.conversation in standing]
        mine = shared(reader, entries)
        page = fit(mine) if fit else fitting(mine, reader.wire)
        end = None
        if len(page) < len(entries):
            end = entries[len(page)].conversation, entries[len(page)].seq - 1
        elif len(read) == PAGE_MESSAGES:
            end = read[-1].conversation, read[-1].seq
        _note_offered(gate, spans, standing, end)
        if entries or not standing:
            return page
    return []


def _note_offered(gate: Gate, spans: list[Span], standing: set[int], end: tuple[int, int] | None) -> None:
    """Note up to where a page offers its spans: to their ends, but for the one in which it is cut off.

    Not up to the last entry that is in it: an operator may have deleted those behind that one.

    Args:
        gate: whose.
        spans: what was read, in order.
        standing: the conversations of those that the page offers.
        end: in which of them, and at which seq, it is cut off; None if it is not.
    """
    for conversation, _, upto in spans:
        is_end = end is not None and conversation == end[0]
        if conversation in standing:
            gate.offer(conversation, end[1] if end is not None and is_end else upto)
        if is_end:
            return


def catch_up(reader: Reader, gate: Gate) -> None:
    """Send what the gate is owed as live messages, and try again until nothing is.  May switch.

    There is one such turn for a gate at a time (``Gate.paying``).  Two would walk the same list, and what
    one notes late may have been paid and struck off by the other.
    """
    try:
        gate.paying = not _send_owed(reader, gate)
    except Busy:
        gate.paying = True
    if gate.paying:
        reader.service.later(TRY_AGAIN, partial(catch_up, reader, gate))


def _send_owed(reader: Reader, gate: Gate) -> bool:
    """Send what is owed; return True if that was all, or nobody is there to have it.  May switch."""
    while gate.owed and reader.gate is gate:
        if gate.held is not None or gate.reading:
            return False
        _send_page(reader, gate, next(iter(gate.owed)))
        if not reader.peer.drain():
            return True
    return True


def _send_page(reader: Reader, gate: Gate, conversation: int) -> None:
    """Send the next page of a conversation that is owed, or take note that it is paid.  May switch.

    Whatever is read here is late when it is there: it is held against what the gate knows by then, with no
    switch in between, and is read once more if the user is said to have left meanwhile.
    """
    gate.doubted.discard(conversation)
    joined = _joined(reader, conversation)
    if joined is None and conversation not in gate.doubted:
        gate.forget(conversation)
        reader.drop_idle_gate()
        return
    head, reached = reader.service.store.head(conversation), _reached(reader, conversation)
    if reader.gate is not gate or joined is None or conversation in gate.doubted:
        return
    gate.expect_head(conversation, head)
    gate.skip(conversation, max(joined, reached))
    for sent in next_page(reader, conversation, partial(sendable, reader)):
        reader.send_entry(conversation, sent.entry.seq, sent)
    if reader.gate is gate and conversation not in gate.doubted and not gate.plan(conversation):
        gate.owed.discard(conversation)
        reader.drop_idle_gate()


def _joined(reader: Reader, conversation: int) -> int | None:
    """Return the last seq before the user joined, 0 in a pair; None for no member.  May switch."""
    groupid = group_of(conversation)
    if groupid is None:
        return 0
    try:
        members = reader.service.memberships.settled(groupid)
    except NoSuchGroup:  # another node was wrong
        return None
    return None if reader.user is None else members.get(reader.user)


def _reached(reader: Reader, conversation: int) -> int:
    """Return up to where the reader's device has a conversation.  May switch."""
    if reader.user is None:  # it has ended meanwhile
        return 0
    place, receipts = (reader.user, reader.device), reader.receipts
    cursors = reader.service.store.cursors(conversation, [place])
    return receipts.reached(conversation, cursors.get(place, 0))


def _read(reader: Reader, gate: Gate, spans: list[Span]) -> list[Entry]:
    if gate.reading:
        raise Busy("another page is being read", retry_after=0.1)
    gate.reading = True
    try:
        return reader.service.store.entries(spans, PAGE_MESSAGES)
    finally:
        gate.reading = False


def shared(reader: Reader, entries: list[Entry]) -> list[SharedEntry]:
    """Return entries as the reader's user is shown them."""
    userid = reader.id
    return [SharedEntry(entry, userid) for entry in entries]


def sendable(reader: Reader, entries: list[SharedEntry]) -> list[SharedEntry]:
    """Return as many of the first entries as may be sent live now."""
    entries, frames = fitting(entries, reader.wire), 0
    for count, entry in enumerate(entries):
        more = len(reader.frames_of(entry))
        if not reader.peer.has_room(more, frames):
            return entries[:count]
        frames += more
    return entries

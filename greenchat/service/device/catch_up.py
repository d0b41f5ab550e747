"""Read the log for one device: pages that its client asks for, and those that the server sends by itself."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from greenchat.errors import Busy, NoSuchGroup
from greenchat.model.conversations import group_of
from greenchat.model.records import Entry, Span
from greenchat.ports.peer import Peer
from greenchat.protocol.wire import Fit, Frames, Shared, SharedEntry, Wire, fitting
from greenchat.service.device.states import CATCHING_UP
from greenchat.service.device.stream import PAGE_MESSAGES, Stream
from greenchat.service.service import Service

TRY_AGAIN = 0.2
"""Seconds after which a backlog that could not be sent is tried again."""


class Recipient(Protocol):
    """The connection that the log is read for.

    Attributes:
        device: the name of the user's device.
        stream: the device's stream on this connection.
        wire: the connection's wire.
    """

    __slots__ = ()

    device: str
    stream: Stream
    wire: Wire

    @property
    def service(self) -> Service:
        """Everything that the sessions of this node share."""

    @property
    def peer(self) -> Peer:
        """The connection's peer."""

    @property
    def user(self) -> int | None:
        """The id of the user that is logged in, None if none is."""

    @property
    def id(self) -> int:
        """The id of the user that is logged in.

        Raises:
            NotLoggedIn
        """

    def frames_of(self, message: Shared) -> Frames:
        """Return the frames of a message for this client."""

    def send_entry(self, conversation: int, seq: int, entry: Shared) -> None:
        """Send an entry of the log as a live message."""


def next_page(reader: Recipient, only: int | None = None, fit: Fit | None = None) -> list[SharedEntry]:
    """Take the next page of a device's backlogs; return an empty one if there are none.  May switch.

    Args:
        reader: the connection.
        only: the conversation that the server catches up on; None for those that the client pages through.
        fit: returns as many of the first entries as the page may have; None: those that fit ``PAGE_BYTES``.

    Raises:
        Busy: another page is being read for the connection; or as the store says.
    """
    stream = reader.stream
    while spans := stream.plan(only):
        read = _read(reader, stream, spans)
        if stream.is_over:
            return []
        # No switch from here on: nothing else can happen before these entries are sent.
        standing = {span.conversation for span in spans if stream.stands(span, only)}
        entries = [entry for entry in read if entry.conversation in standing]
        mine = shared(reader, entries)
        page = fit(mine) if fit else fitting(mine, reader.wire)
        end = None
        if len(page) < len(entries):
            end = entries[len(page)].conversation, entries[len(page)].seq - 1
        elif len(read) == PAGE_MESSAGES:
            end = read[-1].conversation, read[-1].seq
        _count_page(stream, spans, standing, end)
        if entries or not standing:
            return page
    return []


def _count_page(stream: Stream, spans: list[Span], standing: set[int], end: tuple[int, int] | None) -> None:
    """Count the spans of a page as sent to their ends, but for the span in which the page is cut off.

    Not to the last entry in the page: an operator may have deleted those behind it.

    Args:
        stream: the device's stream.
        spans: the spans that were read, in order.
        standing: the conversations of those that are in the page.
        end: the conversation and the seq at which the page is cut off; None if it is not.
    """
    for conversation, _, upto in spans:
        is_end = end is not None and conversation == end[0]
        if conversation in standing:
            stream.count_page(conversation, end[1] if end is not None and is_end else upto)
        if is_end:
            return


def catch_up(reader: Recipient, stream: Stream) -> None:
    """Send the backlogs that the server sends by itself, and try again until there are none.  May switch.

    A stream has at most one such greenlet (``Stream.is_catching_up``).  Two would send the same backlog, and
    entries that one of them counts late might have been sent by the other.
    """
    try:
        stream.is_catching_up = not _send_backlogs(reader, stream)
    except Busy:
        stream.is_catching_up = True
    if stream.is_catching_up:
        reader.service.later(TRY_AGAIN, partial(catch_up, reader, stream))


def _send_backlogs(reader: Recipient, stream: Stream) -> bool:
    """Send backlogs; return True if there are none, or the connection has ended.  May switch."""
    while (conversation := stream.next_to_catch_up()) is not None:
        if stream.is_holding or stream.is_reading:
            return False
        send_page(reader, stream, conversation, partial(sendable, reader))
        if not reader.peer.drain():
            return True
    return True


def send_page(reader: Recipient, stream: Stream, conversation: int, fit: Fit) -> None:
    """Look up where a device stands in a conversation, and send the next page of its backlog.  May switch.

    Args:
        reader: the connection.
        stream: the device's stream.
        conversation: one that the server catches up on.
        fit: returns as many of the first entries as may be sent now.

    Race: while the log was read, an entry may have been sent live, or word of a leaving have come.
    So it is used only if the conversation is still CATCHING_UP, with no switch after that look.
    """
    stream.look_up(conversation)
    joined = _joined(reader, conversation)
    if stream.state(conversation) is not CATCHING_UP:
        return
    if joined is None:
        stream.drop(conversation)
        return
    head, reached = reader.service.store.head(conversation), _reached(reader, stream, conversation)
    if stream.state(conversation) is not CATCHING_UP:
        return
    stream.count_page(conversation, max(joined, reached), head)
    for sent in next_page(reader, conversation, fit):
        reader.send_entry(conversation, sent.entry.seq, sent)


def _joined(reader: Recipient, conversation: int) -> int | None:
    """Return the last seq before the user joined, 0 in a pair; None for no member.  May switch."""
    groupid = group_of(conversation)
    if groupid is None:
        return 0
    try:
        members = reader.service.memberships.current(groupid)
    except NoSuchGroup:  # another node was wrong
        return None
    return None if reader.user is None else members.get(reader.user)


def _reached(reader: Recipient, stream: Stream, conversation: int) -> int:
    """Return up to which seq a device has a conversation.  May switch."""
    if reader.user is None:  # it has ended meanwhile
        return 0
    place = (reader.user, reader.device)
    cursors = reader.service.store.cursors(conversation, [place])
    return stream.receipts.reached(conversation, cursors.get(place, 0))


def _read(reader: Recipient, stream: Stream, spans: list[Span]) -> list[Entry]:
    if stream.is_reading:
        raise Busy("another page is being read", retry_after=0.1)
    stream.is_reading = True
    try:
        return reader.service.store.entries(spans, PAGE_MESSAGES)
    finally:
        stream.is_reading = False


def shared(reader: Recipient, entries: list[Entry]) -> list[SharedEntry]:
    """Return entries as the reader's user is shown them."""
    userid = reader.id
    return [SharedEntry(entry, userid) for entry in entries]


def sendable(reader: Recipient, entries: list[SharedEntry]) -> list[SharedEntry]:
    """Return as many of the first entries as may be sent live now."""
    entries, frames = fitting(entries, reader.wire), 0
    for count, entry in enumerate(entries):
        more = len(reader.frames_of(entry))
        if not reader.peer.has_room(more, frames):
            return entries[:count]
        frames += more
    return entries

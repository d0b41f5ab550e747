"""Hands the entries of conversations to the sessions here: each once, in order, without a gap.

Entries come from the commits of this node and, over the bus, from those of other nodes.  These may overtake
each other, and get lost.  So each conversation has a last seq that was handed out here, and:

===========================  ====================================================================
an entry arrives             action
===========================  ====================================================================
last + 1                     hand it out; then the entries that waited for it
up to last                   drop it; if it is another entry than before, see ``setback``
beyond last + 1              hold it; after ``PATIENCE`` read the missing ones from the log
no last is known             begin: each session is sent the log from its own cursor on
members are not cached       hold it; read the members first
===========================  ====================================================================

A *gap* is a conversation that waits for entries.  It is closed by arrivals and by reading the log, and as
long as the database is away it is tried again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from greenchat.errors import Busy, NoSuchGroup
from greenchat.model.conversations import group_of, pair_of, peer_of
from greenchat.model.kinds import changed, target_of
from greenchat.model.records import Entry, Membership, Span
from greenchat.ports.store import Store
from greenchat.ports.timer import Later
from greenchat.protocol.wire import NOBODY, SharedEntry
from greenchat.service.delivery.hub import Hub, Online
from greenchat.service.delivery.memberships import Memberships

PATIENCE = 0.05
"""Seconds to wait for an entry that another one has overtaken, before it is read from the database."""

TRY_AGAIN = 0.2
"""Seconds after which the database is asked again."""

PAGE = 200
"""Entries in one read of the log."""

SIZE = 200_000
"""Conversations with a known last seq; the longest unused are forgotten first."""

_log = logging.getLogger(__name__)


_Reached = tuple[int, int | None, int]
"""The last entry of a conversation that was handed out: seq, hash (None: not known here), and the number of
logins by then.  A plain tuple, since there is one for each message."""

_NOTHING: _Reached = (0, None, 0)


class _Held(NamedTuple):
    """An entry that waits for those before it, and the session that sent it."""

    entry: Entry
    origin: Online | None


class _Gap:
    """Entries of a conversation that wait for others.

    Race: a message may be recalled while it waits, and its text MUST NOT be handed out much later than the
    recall is acknowledged.  So an entry that changes a message changes it here too; what the log has counts
    more than what has arrived; and after a wait for the database all is read from the log.

    Attributes:
        held: the entries that wait, by seq.
        upto: the last seq that is known to exist.
        read: the seq up to which the log was read: entries up to there that are not held were deleted.
    """

    __slots__ = ("_changes", "_origins", "held", "read", "upto")

    def __init__(self) -> None:
        self.held: dict[int, _Held] = {}
        self.upto = 0
        self.read = 0
        self._changes: dict[int, str] = {}  # by the seq of a message, the kind of the entry that changes it
        self._origins: dict[int, Online] = {}

    def hold(self, entry: Entry, origin: Online | None) -> None:
        """Keep an entry that has arrived or was read."""
        if target := target_of(entry):
            self._changes[target] = entry.kind
        if origin is not None:
            self._origins[entry.seq] = origin
        self.held[entry.seq] = _Held(entry, self._origins.get(entry.seq))

    def forget_texts(self) -> None:
        """Drop the entries that wait, but not the sessions that sent them; they are read from the log."""
        self.held.clear()
        self.read = 0

    def take(self, after: int) -> tuple[int, _Held | None]:
        """Take the entry that follows a seq; return its seq and the entry.

        Where entries were deleted: return the last seq before the next entry, and None.
        """
        if after + 1 not in self.held and after < self.read:
            after = min(min(self.held, default=self.read + 1) - 1, self.read)
        held = self.held.pop(after + 1, None)
        if held is None:
            return after, None
        if kind := self._changes.get(after + 1):
            held = held._replace(entry=changed(held.entry, kind))
        return after + 1, held


class Sequencer:
    """Hands out entries by the last seq of each conversation that was handed out here.

    Args:
        hub: the sessions of this node.
        store: the log, where missing entries are read.
        memberships: the members of groups.
        alone: True if no entries come from other nodes: then the first entry that is seen of a conversation
            follows on those that the sessions have.
        later: runs a function so many seconds from now, where it may switch.

    Attributes:
        suspect: ``suspect(conversation, seq)`` is called for a seq that arrives again, perhaps with another
            entry.
    """

    def __init__(self, hub: Hub, store: Store, memberships: Memberships, alone: bool, later: Later) -> None:
        self._hub = hub
        self._store = store
        self._memberships = memberships
        self._alone = alone
        self._later = later
        self._reached: OrderedDict[int, _Reached] = OrderedDict()
        self._gaps: dict[int, _Gap] = {}
        self.suspect: Callable[[int, int], object] = lambda conversation, seq: None

    def mark(self, conversation: int) -> int | None:
        """Return the hash of the last entry that was handed out; None if it is not known."""
        return self._reached.get(conversation, _NOTHING)[1]

    def forget(self, conversation: int) -> None:
        """Forget the last seq of a conversation, and drop the entries that wait."""
        self._reached.pop(conversation, None)
        self._gaps.pop(conversation, None)

    def last(self, conversation: int) -> int:
        """Return the last seq that was handed out, 0 if that is not known."""
        return self._reached.get(conversation, _NOTHING)[0]

    def take(self, entry: Entry, members: Membership | None, origin: Online | None = None) -> None:
        """Hand a committed entry to the sessions here, in its turn (see the table above).  Never switches.

        Args:
            entry: the committed entry.
            members: the members of a group, ``{}`` for a pair; None if they are not cached.
            origin: the session that sent the entry.
        """
        conversation, seq = entry.conversation, entry.seq
        reached = self._reached.get(conversation)
        last = None if reached is None else reached[0]
        # Nothing comes before the first entry of all.  On a node that is alone, a session has read the log up
        # to its login, and every commit since has passed here.
        if last is None and (seq == 1 or self._alone):
            last = seq - 1
        if last is not None and seq <= last:
            # The same entry again is a duplicate (by the bus and from the log).  Hashes of earlier ones are
            # not kept, for the memory: there the log decides.
            if seq < last or self.mark(conversation) != hash(entry):
                self.suspect(conversation, seq)
            return
        # While there is a gap, ``_drain`` hands out: entries that wait may follow at once.
        if last == seq - 1 and members is not None and conversation not in self._gaps:
            self._hand_out(entry, members, origin)
            return
        known = last is not None and members is not None and self._is_followed(conversation)
        # Waiting helps against an overtaking only: members and a beginning have to be read in any case.
        patience = PATIENCE if known else 0
        self._gap(conversation, seq, patience).hold(entry, origin)
        self._drain(conversation)

    def expect(self, conversation: int, head: int) -> None:
        """Note that a session here may lack entries of a conversation, up to ``head``.  Never switches."""
        groupid = group_of(conversation)
        if self._alone:
            return
        if self.last(conversation) < head:
            self._gap(conversation, head, 0)
        elif groupid is not None:
            # Nothing is missing, but the membership that this node knows may lack the user.
            self._later(0, partial(self._learn, groupid))

    def _learn(self, groupid: int) -> None:
        """Read a group's members, so that the sessions here follow it.  May switch."""
        try:
            self._memberships.load(groupid)
        except NoSuchGroup:
            pass
        except Busy:
            self._later(TRY_AGAIN, partial(self._learn, groupid))

    # -- Gaps

    def _gap(self, conversation: int, upto: int, patience: float) -> _Gap:
        gap = self._gaps.get(conversation)
        if gap is None:
            # One greenlet fills a gap, from its beginning to its end: see ``_fill``.
            gap = self._gaps[conversation] = _Gap()
            self._later(patience, partial(self._fill, conversation))
        gap.upto = max(gap.upto, upto)
        return gap

    def _fill(self, conversation: int) -> None:
        """Close a gap, and try again until it is closed.  May switch."""
        try:
            self._drain(conversation)
            while (gap := self._gaps.get(conversation)) is not None:
                self._read(conversation, gap)
                self._drain(conversation)
        except NoSuchGroup:
            # Deleted: there is nobody left to get the entries.  The gap may have been forgotten meanwhile.
            self._gaps.pop(conversation, None)
        except Busy:
            if (gap := self._gaps.get(conversation)) is not None:
                gap.forget_texts()
            self._later(TRY_AGAIN, partial(self._fill, conversation))

    def _read(self, conversation: int, gap: _Gap) -> None:
        groupid = group_of(conversation)
        if groupid is not None:
            self._memberships.load(groupid)
        if self._members(conversation) is None:
            return  # forgotten while it was read: _fill calls again
        last = self.last(conversation)
        if conversation not in self._reached or not self._is_followed(conversation):
            self._begin(conversation, gap)
        elif last + 1 not in gap.held and last < gap.upto:
            upto = gap.upto
            entries = self._store.entries([Span(conversation, last, upto)], PAGE)
            for entry in entries:
                gap.hold(entry, None)
            # A short page proves that the rest was deleted; a full one says nothing of entries behind it.
            gap.read = upto if len(entries) < PAGE else entries[-1].seq
            if gap.read - last > len(entries):
                _log.warning("conversation %d: messages after %d were deleted", conversation, last)

    def _begin(self, conversation: int, gap: _Gap) -> None:
        """Begin a conversation: send each session the log from its own cursor up to the head.  May switch.

        Race: a session that logs in after the head has been read gets that much with its login.
        """
        before = self._reached.get(conversation)
        upto = max(self._store.head(conversation), gap.upto)
        sessions = [(session, session.id, session.device) for session in self._sessions(conversation)]
        devices = [(userid, device) for _, userid, device in sessions]
        cursors = self._store.cursors(conversation, devices) if devices else {}
        membership = self._members(conversation)
        if membership is None or self._reached.get(conversation) != before:
            return  # forgotten, or handed out meanwhile: _fill calls again
        for session, userid, device in sessions:
            # Race: the session may have ended, and the user left the group, while the cursors were read.
            if session.user == userid and (conversation > 0 or userid in membership):
                cursor = max(cursors.get((userid, device), 0), membership.get(userid, 0))
                session.stream.send_upto(conversation, cursor, upto)
        self._advance(conversation, upto)

    def _drain(self, conversation: int) -> None:
        """Hand out the entries that are next, and forget the gap if none is missing.  Never switches."""
        gap, last = self._gaps.get(conversation), self.last(conversation)
        if gap is None or (conversation not in self._reached and 1 not in gap.held):
            return
        members = self._members(conversation)
        while members is not None:
            reached, held = gap.take(last)
            if reached == last:
                break
            last = reached
            if held is not None:
                self._hand_out(held.entry, members, held.origin)
            else:
                self._advance(conversation, last)
        for seq in [seq for seq in gap.held if seq <= last]:
            del gap.held[seq]
        # Not by ``held`` alone: ``upto`` may stem from an event without the entry (``Stored``, a head).
        if last >= gap.upto:
            del self._gaps[conversation]

    def _advance(self, conversation: int, seq: int) -> None:
        """Note that nothing up to ``seq`` is left to hand out: it was read otherwise, or deleted."""
        self._reached[conversation] = seq, None, self._hub.logins
        self._reached.move_to_end(conversation)
        if len(self._reached) > SIZE:
            self._reached.popitem(last=False)

    def _is_followed(self, conversation: int) -> bool:
        """Return True if other nodes have sent this node the entries after the last one handed out.

        They have if a participant of that time has been online here ever since.  An older session whose user
        joined the group later proves nothing: the node lacks what was said before the joining, and rightly.
        """
        if self._alone:
            return True
        last, _, when = self._reached.get(conversation, _NOTHING)
        members = self._members(conversation) or {}
        return any(
            session.login_number <= when
            for userid in (members if conversation < 0 else pair_of(conversation))
            if members.get(userid, 0) <= last
            for session in self._hub.of(userid)
        )

    # -- Sessions

    def _members(self, conversation: int) -> Membership | None:
        """Return the members of a group, ``{}`` for a pair; None if they must be read first."""
        groupid = group_of(conversation)
        return {} if groupid is None else self._memberships.get(groupid)

    def _sessions(self, conversation: int) -> Iterator[Online]:
        pair = conversation > 0
        for userid in set(pair_of(conversation)) if pair else self._members(conversation) or ():
            yield from self._hub.of(userid)

    def _hand_out(self, entry: Entry, members: Membership, origin: Online | None) -> None:
        """Hand an entry to the participants' sessions here; in a group, to members that joined before it."""
        conversation, seq, sender = entry.conversation, entry.seq, entry.sender
        # As in _advance, which would be one more call for each message.
        self._reached[conversation] = seq, hash(entry), self._hub.logins
        self._reached.move_to_end(conversation)
        if len(self._reached) > SIZE:
            self._reached.popitem(last=False)
        get = self._hub.get
        if conversation > 0:
            peer = peer_of(conversation, sender)
            # Notes to oneself go to the other devices below, like any entry of the sender.
            sessions = get(peer, ()) if peer != sender else ()
            if sessions:
                shared = SharedEntry(entry, peer)
                for session in sessions:
                    session.stream.deliver(conversation, seq, shared)
        else:
            shared = SharedEntry(entry, NOBODY)
            for userid, joined in members.items():
                if joined < seq and userid != sender:
                    for session in get(userid, ()):
                        session.stream.deliver(conversation, seq, shared)
            if members.get(sender, seq) >= seq:
                return  # the sender has left since, or joined again
        own: SharedEntry | None = None
        for session in get(sender, ()):
            if origin is not None and session.stream is origin.stream:
                session.stream.deliver_own(entry)
            else:
                own = own or SharedEntry(entry, sender)
                session.stream.deliver(conversation, seq, own)

"""Notices that the database lost its last entries, and has clients log in anew.

A replica that lacked the last entries of a conversation may become the primary.  Then their seqs are given
out again, to other entries, and each of these looks like an entry that was handed out already.  So does an
entry that arrives twice, by the bus and from the log.  The log decides which it is.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection
from functools import partial

from greenchat.errors import Busy, NoSuchGroup, NoSuchMessage
from greenchat.model.conversations import group_of, pair_of
from greenchat.model.records import Membership
from greenchat.ports.store import Store
from greenchat.ports.timer import Later
from greenchat.service.delivery.hub import Hub
from greenchat.service.delivery.sequencer import Sequencer

TRY_AGAIN = 0.5
"""Seconds after which a database that is away is asked again."""

SPREAD = 2.0
"""Seconds over which the clients come back."""

_log = logging.getLogger(__name__)


class Setback:
    """Compares the log with the last entry handed out when a seq arrives again.

    Args:
        hub: the sessions of this node.
        store: the log.
        sequencer: has the last entry handed out; calls ``suspect``.
        members: reads the members of a group; may switch.
        forget: drops everything else that is cached of a conversation.
        later: runs a function so many seconds from now, where it may switch.
    """

    def __init__(
        self,
        hub: Hub,
        store: Store,
        sequencer: Sequencer,
        members: Callable[[int], Membership],
        forget: Callable[[int], None],
        later: Later,
    ) -> None:
        self._hub = hub
        self._store = store
        self._sequencer = sequencer
        self._members = members
        self._forget = forget
        self._later = later
        self._suspected: dict[int, int] = {}  # conversation: the lowest seq that arrived again
        sequencer.suspect = self.suspect

    def suspect(self, conversation: int, seq: int) -> None:
        """Note that a seq arrived again.  Never switches."""
        if conversation not in self._suspected:
            self._later(0, partial(self._compare, conversation))
        # The lowest: cursors go back to the seq before it.
        self._suspected[conversation] = min(seq, self._suspected.get(conversation, seq))

    def _compare(self, conversation: int) -> None:
        """Compare the last entry that was handed out with the log.  May switch."""
        seq = self._suspected[conversation]
        try:
            if self._is_set_back(conversation):
                # A lower one may have arrived again while the log was read.
                self._begin_anew(conversation, min(seq, self._suspected[conversation]))
        except NoSuchGroup:
            pass  # deleted meanwhile: nobody can miss anything of it
        except Busy:
            self._later(TRY_AGAIN, partial(self._compare, conversation))
            return
        del self._suspected[conversation]

    def _is_set_back(self, conversation: int) -> bool:
        """Return True if the log lacks, or has another entry for, the last one that was handed out here."""
        last, mark = self._sequencer.last(conversation), self._sequencer.mark(conversation)
        if self._store.head(conversation) < last:
            return True
        if mark is None:
            return False
        try:
            there = self._store.entry(conversation, last)
        except NoSuchMessage:  # an operator has deleted it
            return False
        return not there.recalled and hash(there) != mark

    def _begin_anew(self, conversation: int, seq: int) -> None:
        """Forget a conversation from ``seq`` on, in the database too, and end the sessions here."""
        last = self._sequencer.last(conversation)
        _log.error(
            "the database was set back: conversation %d had been handed out up to %d, and %d came again;"
            " its clients are told to log in again",
            conversation,
            last,
            seq,
        )
        groupid = group_of(conversation)
        users: Collection[int] = set(pair_of(conversation)) if groupid is None else self._members(groupid)
        # The database first.  If it is away now, nothing is forgotten here, and the comparison is repeated.
        self._store.set_back(conversation, users, seq - 1)
        self._sequencer.forget(conversation)
        self._forget(conversation)
        for userid in users:
            for session in self._hub.of(userid):
                if session.is_answered:
                    # Spread, as every client of the conversation comes back.
                    session.peer.close("shutdown", round(random.uniform(0, SPREAD), 2))

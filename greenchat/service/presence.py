"""Coming online, going offline, and telling the friends.

Each node tells the sessions that are connected to it, and no others.  A node knows which users are online
anywhere (its hub, and the bus's picture of the other nodes), and remembers which state of each user its
sessions have been told last.  Where the two differ, it reads the user's followers here and tells them.  So
nothing has to arrive: whatever is lost on the way, whichever node or database is away, and however two moves
overtake each other, presence is right here as soon as the bus's picture is, and the database answers.

======================  =============================================================================
event                   effect
======================  =============================================================================
a user moves            the user is in ``_moved`` until the followers here begin to be read, and in
                        ``_due`` once they are to be: at once, or after some seconds if the user's node
                        is restarted, as most come back
a state is read         by a login or ADD_FRIEND: of a user in ``_moved`` it may be one that the others
                        are never told, because the user moves back.  Then the user is in ``_read``, and
                        the followers are told in any case
followers are told      some clients know the state of now.  Others that logged in while the followers
                        were read may know the one before it, if the user has moved again: then the
                        user is in ``_read``
a row comes back        a login at another node took a device's row and was void: until its node has the
                        row again, the device is no follower, so all of its friends are in ``_read``
a block changes         the blocker is in ``_blockers`` until the blocks have been looked at; ``_hidden`` has
                        the friends that a user here was shown as offline for a block
======================  =============================================================================

The followers are read after the move was noticed, and the state is told as it is after the reading, without a
switch in between.  A session that comes meanwhile, or adds the friend, reads the state later than its row was
written: either the reading finds that row, or the state that was read is the newer one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from functools import partial

from greenchat.errors import Busy
from greenchat.model.records import Follower, Node
from greenchat.ports.store import Store
from greenchat.ports.timer import Later
from greenchat.protocol.messages import PresencePush, State
from greenchat.service.delivery.hub import Hub
from greenchat.service.delivery.router import Router

TRY_AGAIN = 0.5
"""Seconds after which a database that was away is asked again."""


AT_A_TIME = 500
"""Users whose blockers are read at a time, so that each answer comes soon."""


class Presence:
    """Tells the sessions here of their friends' coming and going.

    Args:
        hub: the sessions here.
        router: delivers pushes, and knows the users that are online anywhere.
        store: knows the followers.
        node: this server.
        later: runs something so many seconds from now, where it may switch.
        stops: returns True once this node stops: its users come back elsewhere, and are told there.
    """

    def __init__(
        self, hub: Hub, router: Router, store: Store, node: Node, later: Later, stops: Callable[[], bool]
    ) -> None:
        self._hub = hub
        self._router = router
        self._store = store
        self._node = node
        self._later = later
        self._stops = stops
        self._shown: set[int] = set()
        self._moved: set[int] = set()
        self._due: set[int] = set()
        self._read: set[int] = set()
        self._blockers: set[int] = set()
        self._hidden: dict[int, set[int]] = {}
        self._telling = False

    # -- Events; none of these methods switches

    def moved(self, users: Iterable[int], seconds: float = 0) -> None:
        """Take note that users may have come or gone, at this node or another.

        Args:
            users: those users.
            seconds: the time in which they may still come back; their followers are told after it.
        """
        users = set(users)
        self._moved |= users
        if seconds:
            self._later(seconds, partial(self._make_due, users))
        else:
            self._make_due(users)

    def moved_here(self, userid: int) -> None:
        """Take note of a user's first session at this node, or of the end of the last."""
        if userid in self._hidden and not self._hub.of(userid):
            del self._hidden[userid]
        self._moved.add(userid)
        self._due.add(userid)
        self._tell_soon()

    def block_changed(self, blocker: int, blocked: int) -> None:
        """Take note that a user may have blocked another, or may not block them any more."""
        if self._hub.of(blocked):
            self._blockers.add(blocker)
            self._tell_soon()

    def online(self, users: Collection[int], blockers: set[int], reader: int, as_friends: bool) -> set[int]:
        """Return the users that a client is shown as online; it MUST be told so without a switch.

        Args:
            users: the users that it is shown.
            blockers: the users that have blocked the client's user.
            reader: the client's user.
            as_friends: the friends among them are shown as such.  In the answer to another question they
                are not: PRESENCE still has to tell the client of a block.
        """
        self._read |= self._moved.intersection(users)
        hidden = blockers.intersection(users) if blockers else blockers
        if as_friends and (hidden or reader in self._hidden):
            self._note_hidden(reader, hidden, users)
        return self._router.online(users) - hidden

    def _note_hidden(self, reader: int, hidden: set[int], users: Collection[int]) -> None:
        """Take note of the users that a client is shown as offline for a block."""
        known = self._hidden.setdefault(reader, set())
        differing = known.intersection(users) ^ hidden
        if len(self._hub.of(reader)) == 1:
            known ^= differing
        elif differing:
            # The user's other clients were shown another state: tell all of them the present one.
            known -= differing
            self.tell_anew(differing)

    def tell_anew(self, users: Collection[int]) -> None:
        """Tell the followers here of users, even if their states are the last that were told."""
        self._read.update(users)
        self.moved(users)

    # -- Telling

    def check_blocks(self) -> None:
        """Find blocks that this node was not told of.  May switch.

        Raises:
            Busy: the database is away.
        """
        users = list(self._hub.users())
        for start in range(0, len(users), AT_A_TIME):
            some = users[start : start + AT_A_TIME]
            blocks = self._store.blocked_friends(some)
            known = {(friend, userid) for userid in some for friend in self._hidden.get(userid, ())}
            self._blockers |= {friend for friend, _ in known.symmetric_difference(blocks)}
            self._tell_soon()

    def _make_due(self, users: set[int]) -> None:
        self._due |= users
        self._tell_soon()

    def _tell_soon(self) -> None:
        if not self._telling and (self._due or self._blockers):
            self._telling = True
            self._later(0, self._tell)

    def _tell(self) -> None:
        """Tell the states that are due; those that change while followers are read are told the next time."""
        due, self._due = self._due, set()
        blockers, self._blockers = self._blockers, set()
        # The users with followers here that may have been told another state than the present one.
        users = (due & self._read) | (self._router.online(due) ^ (due & self._shown))
        # Before the followers are read: a user that moves meanwhile must be noticed.
        self._moved -= due
        self._read -= due
        try:
            followers = self._followers(users | blockers)
        except Exception as error:
            self._due |= users
            self._read |= users  # whatever was told of them, not all followers were told so
            self._blockers |= blockers
            self._later(TRY_AGAIN, self._tell)
            if isinstance(error, Busy):
                return
            raise
        self._telling = False
        self._tell_followers(users, followers)
        # Not all clients know the same state of those that moved meanwhile (see the table above).
        self._read |= self._moved & (users | blockers)
        self._tell_soon()

    def _followers(self, users: set[int]) -> list[Follower]:
        if not users or not self._hub.users() or self._stops():
            return []
        return self._store.followers(users, self._node)

    def _tell_followers(self, users: set[int], followers: list[Follower]) -> None:
        """Tell the followers of users that have moved, and those that a block concerns.  Does not switch."""
        online = self._router.online(users.union(follower.friend for follower in followers))
        told: dict[tuple[int, State], list[int]] = defaultdict(list)
        for friend, userid, is_blocked in followers:
            if not self._hub.of(userid):
                continue  # has just gone
            was_hidden = friend in self._hidden.get(userid, ())
            if is_blocked and not was_hidden:
                self._hidden.setdefault(userid, set()).add(friend)
                told[friend, "offline"].append(userid)
            elif not is_blocked and (friend in users or was_hidden):
                if was_hidden:
                    self._hidden[userid].discard(friend)
                told[friend, state_of(friend, online)].append(userid)
        for (friend, state), userids in told.items():
            self._router.tell_here(userids, PresencePush(id=friend, state=state))
        self._shown -= users
        self._shown |= online & users


def state_of(userid: int, online: set[int]) -> State:
    """Return a user's state, given the users that are online."""
    return "online" if userid in online else "offline"

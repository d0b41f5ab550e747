"""The members of groups, as this node knows them, and the sessions here that follow each group."""

from __future__ import annotations

from collections.abc import Callable

from greenchat.errors import NotAMember
from greenchat.model.conversations import of_group
from greenchat.model.records import Membership
from greenchat.ports.bus import Bus
from greenchat.service.delivery.cache import Cache
from greenchat.service.delivery.hub import Hub

GROUPS = 10_000
"""Groups with members in the cache."""


class Memberships:
    """The memberships of groups, read from the database and cached until they change.

    A group's entries are handed out by the membership that was read last.  The sessions of its members at
    this node *follow* the group: their streams know the seq after which entries are theirs.

    Race: a joining commits at one node while an entry commits at another one.  The membership that is read
    last decides, and each stream compares an entry's seq with its own ``joined_seq``, so word of joinings and
    leavings may come late, twice or never.

    Args:
        hub: the sessions of this node.
        load: reads the members of a group; may switch.
        joined: reads the last seq of a group before a user joined it, None for no member; may switch.
        bus: a node that is alone changes memberships in place.
        last: returns the last seq of a conversation that was handed out here, 0 if that is not known.

    Attributes:
        changes: the number of joinings and leavings that this node has heard of.
        get: ``get(groupid, default=None)`` returns the cached members of a group, else the default.
        load: ``load(groupid)`` returns the members of a group, read if they are not cached.  May switch;
            raises ``NoSuchGroup`` or ``Busy``.
        clear: drops all memberships: other nodes may have changed them.
        forget: ``forget(groupid)`` drops one membership, which may have changed.
    """

    def __init__(
        self,
        hub: Hub,
        load: Callable[[int], Membership],
        joined: Callable[[int, int], int | None],
        bus: Bus,
        last: Callable[[int], int],
    ) -> None:
        self._hub = hub
        self._joined = joined
        self._bus = bus
        self._last = last
        self._known: Cache[int, Membership] = Cache(load, GROUPS, self._note)
        self.changes = 0
        self._read_last: dict[int, Membership] = {}  # though it may be forgotten since
        # Read for each message to a group, so without a method between.
        self.get = self._known.get
        self.load = self._known.load
        self.clear = self._known.clear
        self.forget = self._known.forget

    # -- Reading the database

    def joined_seq(self, userid: int, groupid: int) -> int:
        """Return the last seq of a group before a user joined it.  May switch.

        Reads one row unless the user is in the cached membership: anybody may ask about any group, and a
        membership of 10,000 takes 7 ms to read from SQLite and 60 ms from MariaDB (measured).  A user that
        is missing there may have joined at another node whose event has not arrived.

        Raises:
            NoSuchGroup
            NotAMember
            Busy: the database is away.
        """
        members = self.get(groupid)
        joined = None if members is None else members.get(userid)
        if joined is None and (members is None or not self._bus.alone):
            joined = self._joined(userid, groupid)
            if joined is not None and members is not None:  # the cached membership lacks a member
                joined = self._known.reload(groupid).get(userid)
        if joined is None:
            raise NotAMember
        return joined

    def of_member(self, userid: int, groupid: int) -> Membership:
        """Return the members of a group, for one of them; nothing but a row is read for others.  May switch.

        Raises:
            NoSuchGroup
            NotAMember
            Busy: the database is away.
        """
        members = self.get(groupid)
        if members is None or userid not in members:
            self.joined_seq(userid, groupid)
            members = self._known.reload(groupid)
            if userid not in members:  # left in between
                raise NotAMember
        return members

    def current(self, groupid: int) -> Membership:
        """Return the members of a group, to which entries that commit from now on are sent live.  May switch.

        Raises:
            NoSuchGroup
            Busy: the database is away.
        """
        while (members := self.get(groupid)) is None:  # an event may drop it while it is read
            self.load(groupid)
        return members

    def forget_unless(self, userid: int, groupid: int, joined: int) -> bool:
        """Drop a cached membership that lacks a joining; return True if it did.  Does not switch.

        Args:
            userid: the user that has joined.
            groupid: the group.
            joined: the last seq before the joining.
        """
        members = self.get(groupid)
        if members is None or members.get(userid) == joined:
            return False
        self._known.forget(groupid)
        return True

    # -- Changes

    def joined(self, userid: int, groupid: int, joined: int) -> None:
        """Send a group's entries to a user's sessions here, from the first one after joining.

        Race: an entry may commit after the joining and be handed out before this call.  The streams send it
        from the log, in its order.  Does not switch.
        """
        self.changes += 1
        self._follow(groupid, {userid: joined})
        membership = self._changeable(groupid)
        if membership is not None:
            membership[userid] = joined
            self._known.put(groupid, membership)

    def left(self, userid: int, groupid: int) -> None:
        """Send no more entries of a group to a user's sessions here.  Does not switch.

        Race: the user may have joined again at another node.  The streams look that up before they send
        anything.
        """
        self.changes += 1
        membership = self._changeable(groupid)
        if membership is not None:
            membership.pop(userid, None)
            self._known.put(groupid, membership)
        for session in self._hub.of(userid):
            session.stream.left(groupid)

    def _changeable(self, groupid: int) -> Membership | None:
        """Return a cached membership that no other node can change; drop any other one."""
        membership = self.get(groupid)
        if membership is not None and self._bus.alone:
            return membership
        self._known.forget(groupid)  # also if it is being read now
        return None

    # -- Sessions that follow

    def _note(self, groupid: int, members: Membership) -> None:
        """Hand out a group's entries by this membership from now on."""
        self._follow(groupid, members)
        self._read_last.pop(groupid, None)
        self._read_last[groupid] = members
        if len(self._read_last) > GROUPS:
            del self._read_last[next(iter(self._read_last))]

    def _follow(self, groupid: int, members: Membership) -> None:
        """Have the sessions of a group's members follow the group, if they do not.  Does not switch.

        Entries were handed out by the membership that was read last, so its members have them all.  Any other
        member begins anew, even if the same joining was announced before: the user may have left meanwhile,
        and joined again before the next entry.
        """
        before = self._read_last.get(groupid)
        last = 0 if before is None else self._last(of_group(groupid))
        for userid, joined in members.items():
            had_all = before is None or userid in before
            for session in self._hub.of(userid):
                session.stream.follow(groupid, joined, last, had_all=had_all)

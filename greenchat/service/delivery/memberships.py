"""Who is in which group, as far as this node knows, and which sessions here follow it."""

from __future__ import annotations

from collections.abc import Callable

from greenchat.errors import NotAMember
from greenchat.model.conversations import of_group
from greenchat.model.records import Membership
from greenchat.ports.bus import Bus
from greenchat.service.delivery.cache import Cache
from greenchat.service.delivery.hub import Hub

GROUPS = 10_000
"""Groups of which is remembered who is in them."""


class Memberships:
    """The memberships of groups: read from the database, and kept until something is heard of them.

    A group's messages are handed out by the membership that was read last; the sessions here of who is
    in that one follow the group.

    Args:
        hub: who is here.
        load: reads who is in a group; may switch.
        joined: reads the last seq of a group before a user joined it, None if they have not; may switch.
        bus: tells whether this node is alone: then a membership is changed in place.
        last: the last seq of a conversation that was handed out here, 0 if that is not known.

    Attributes:
        get: ``get(groupid, default=None)``: who is in a group, or the default if that is not known now.
        load: ``load(groupid)``: who is in a group, read if it is not known.  May switch; raises
            ``NoSuchGroup`` or ``Busy``.
        clear: forget all: other nodes may have changed it.
        forget: ``forget(groupid)``: forget one membership, which may have changed.
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
        self._read_last: dict[int, Membership] = {}  # though it may be forgotten since
        # Each message to a group asks: not by way of a method.
        self.get = self._known.get
        self.load = self._known.load
        self.clear = self._known.clear
        self.forget = self._known.forget

    # -- Looks into the database

    def joined_seq(self, userid: int, groupid: int) -> int:
        """Return the last seq of a group before a user joined it.  May switch.

        Reads one row unless the answer is known: anybody may ask about any group, and a membership of
        10,000 takes 7 ms to read from SQLite and 60 ms from MariaDB (measured).  A user who is missing in
        the known membership may have joined at another node, from where word has not come yet.

        Raises:
            NoSuchGroup
            NotAMember
            Busy: the database is away.
        """
        members = self.get(groupid)
        joined = None if members is None else members.get(userid)
        if joined is None and (members is None or not self._bus.alone):
            joined = self._joined(userid, groupid)
            if joined is not None and members is not None:  # a member is missing: it is out of date
                joined = self._known.reload(groupid).get(userid)
        if joined is None:
            raise NotAMember
        return joined

    def of_member(self, userid: int, groupid: int) -> Membership:
        """Return the membership of a group if a user is in it; only then it is read.  May switch.

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

    def settled(self, groupid: int) -> Membership:
        """Return who is in a group, and is sent live what is committed from now on.  May switch.

        Raises:
            NoSuchGroup
            Busy: the database is away.
        """
        while (members := self.get(groupid)) is None:  # it may be forgotten while it is read
            self.load(groupid)
        return members

    def forget_unless(self, userid: int, groupid: int, joined: int) -> bool:
        """Forget a membership if it is known without a joining; return whether it was.  Does not switch.

        Args:
            userid: who joined.
            groupid: what.
            joined: the last seq before.
        """
        members = self.get(groupid)
        if members is None or members.get(userid) == joined:
            return False
        self._known.forget(groupid)
        return True

    # -- What is heard

    def joined(self, userid: int, groupid: int, joined: int) -> None:
        """Let a group's messages come to a user's sessions here, from the first after joining.

        What is committed after the joining but announced before the membership is known here comes
        from the log: each session's stream keeps to the order.  Does not switch.
        """
        self._follow(groupid, {userid: joined})
        membership = self._changeable(groupid)
        if membership is not None:
            membership[userid] = joined
            self._known.put(groupid, membership)

    def left(self, userid: int, groupid: int) -> None:
        """Let a group's messages come no more to a user's sessions here.  Does not switch.

        They may have joined again at another node: then the next look into the database tells.
        """
        membership = self._changeable(groupid)
        if membership is not None:
            membership.pop(userid, None)
            self._known.put(groupid, membership)
        for session in self._hub.of(userid):
            session.stream.left(groupid)

    def _changeable(self, groupid: int) -> Membership | None:
        """Return a membership if it is known, and changes at this node only; else it is read anew."""
        membership = self.get(groupid)
        if membership is not None and self._bus.alone:
            return membership
        self._known.forget(groupid)  # it may be being read
        return None

    # -- Who follows

    def _note(self, groupid: int, members: Membership) -> None:
        """Take note of who is in a group: its messages are handed out by that from now on."""
        self._follow(groupid, members)
        self._read_last.pop(groupid, None)
        self._read_last[groupid] = members
        if len(self._read_last) > GROUPS:
            del self._read_last[next(iter(self._read_last))]

    def _follow(self, groupid: int, members: Membership) -> None:
        """Have the sessions here of a group's members follow it, if they do not.  Does not switch.

        Messages are handed out by the membership that was read last, so who is in it has them all.
        Who is not in it begins anew, though they may have been told of the same joining before: they
        may have left meanwhile, and joined again before anything was said.
        """
        before = self._read_last.get(groupid)
        last = 0 if before is None else self._last(of_group(groupid))
        for userid, joined in members.items():
            came = last if before is None or userid in before else None
            for session in self._hub.of(userid):
                session.stream.follow(groupid, joined, came)

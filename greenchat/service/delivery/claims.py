"""The order of a device's logins, on which all nodes agree.

Several logins of one device may be under way at the same time, at one node or at many.  The database
decides: the transaction that marks a device online (``Store.open_device``) gives each login an instant,
``since``, later than that of every login of the device before it.  The login with the latest instant
stays.  It sends the node that had the device before an ``Ended`` event with its instant, and that node
ends older logins only.

======================  ==========================================================================
event at a node         effect on the login of the device there
======================  ==========================================================================
its transaction is done  it has its instant; it ends if a later one was reported meanwhile
``Ended(since)``        it ends if its instant is earlier; without an instant yet, the event waits
a newer login here      it ends; if its transaction is done later, the newer login inherits the instant
``Reopen(since)``       the login of that instant is void: an earlier one marks the device online again
======================  ==========================================================================
"""

from __future__ import annotations

from msgspec import Struct


class Claim(Struct, gc=False, eq=False):
    """One login's place in the order of its device's logins.

    Attributes:
        since: the login's instant; empty before its transaction is done.
        is_public: True once the login's claim is on its way to the other nodes.
        is_open: True once the login's transaction is done.
    """

    since: str = ""
    is_public: bool = False
    is_open: bool = False
    _newest: str = ""
    _void: str = ""

    def open(self, since: str) -> bool:
        """Note the instant that the database has given to the login.

        Returns:
            True if another login of the device, or one that is void, was reported before.
        """
        # It may have inherited a later instant meanwhile.  Instants are text of one length in UTC, so that
        # the greater text is the later instant.
        self.since = max(self.since, since)
        self.is_open = True
        return bool(self._newest or self._void)

    def inherit(self, since: str) -> None:
        """Take over the instant of a login at the same node that this one has replaced."""
        self.since = max(self.since, since)

    def outdate(self, since: str | None) -> bool:
        """Note the instant of another login, None for the latest of all; return True if this one ends."""
        if since is None:
            return True
        # Kept, as it may arrive before the transaction of this login is done: see the table.
        self._newest = max(self._newest, since)
        return self.is_outdated

    @property
    def is_outdated(self) -> bool:
        """True if a later login of the device is known."""
        # Before it is open, the login has no instant that could be compared.
        return self.is_open and self.since < self._newest

    def void(self, since: str) -> None:
        """Note that the login of an instant is void."""
        self._void = max(self._void, since)

    @property
    def voided(self) -> str:
        """The instant of a later login that is void, if this login has to mark the device again."""
        return self._void if self.is_open and self.since < self._void else ""

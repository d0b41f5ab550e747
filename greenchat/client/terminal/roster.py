"""Names of the users and groups that a logged-in user has met."""

from __future__ import annotations

from greenchat.client import ConnectionEvent, Frame, LoginInfo, Message, PresenceChange, Push
from greenchat.client.terminal.names import is_confusable, quote, skeleton


class Roster:
    """Keep the friends, groups and names of the login and of the pushes since.

    Attributes:
        me: id of the user.
        friends, groups: objects of the wire, by id.
        unknown: ids of groups that sent messages and are not in ``groups``.
    """

    # One thread updates while another reads.  So each change is one assignment, and readers copy before they
    # iterate.

    def __init__(self, login: LoginInfo) -> None:
        self.me = login.id
        self.unknown: set[int] = set()
        self._names: dict[int, str] = {}
        self._alike: dict[str, set[int]] = {}
        self.learn_name(login.id, login.name)
        self.refresh(login)

    def refresh(self, login: LoginInfo) -> None:
        """Replace friends and groups by those of a login."""
        self.friends: dict[int, Frame] = {friend["id"]: dict(friend) for friend in login.friends}
        self.groups: dict[int, Frame] = {group["id"]: group for group in login.groups}
        for user in [*login.friends, *(user for group in login.groups for user in group.get("users", []))]:
            self.learn_name(user["id"], user["name"])

    def add_friend(self, friend: Frame) -> None:
        """Add or replace a friend."""
        self.friends[friend["id"]] = dict(friend)
        self.learn_name(friend["id"], friend["name"])

    def add_group(self, group: Frame) -> None:
        """Add or replace a group, and learn the names of its members."""
        self.groups[group["id"]] = group
        self.unknown.discard(group["id"])
        for user in group.get("users", []):
            self.learn_name(user["id"], user["name"])

    def learn_name(self, userid: int, name: str) -> None:
        """Set the name of a user."""
        if self._names.get(userid) != name:
            self._alike.get(skeleton(self._names.get(userid, "")), set()).discard(userid)
            self._alike.setdefault(skeleton(name), set()).add(userid)
            self._names[userid] = name

    def update(self, push: Push) -> None:
        """Apply a push."""
        if isinstance(push, Message):
            self.learn_name(push.sender, push.name)
            if push.conversation.kind == "groupid" and push.conversation.id not in self.groups:
                self.unknown.add(push.conversation.id)
        elif isinstance(push, PresenceChange) and push.user in self.friends:
            self.friends[push.user]["state"] = push.state
        elif isinstance(push, ConnectionEvent) and push.login:
            self.refresh(push.login)

    def user_name(self, userid: int) -> str:
        """Return the quoted name of a user, different for each user; ``me`` for the one at the terminal.

        A name that looks like another one is followed by the id.
        """
        if userid == self.me:
            return "me"
        name = self._names.get(userid)
        if name is None:
            return f"user {userid}"
        is_alike = len(self._alike[skeleton(name)]) > 1 or is_confusable(name)
        return f"{quote(name)} (id {userid})" if is_alike else quote(name)

    def group_name(self, groupid: int) -> str:
        """Return the quoted name of a group, without the ``#``; the id if the name is not known."""
        return quote(str(self.groups[groupid]["groupname"])) if groupid in self.groups else str(groupid)

    def user_id(self, name: str) -> int | None:
        """Return the id of a user; None if the name is not known."""
        return next((userid for userid, known in list(self._names.items()) if known == name), None)

    def group_id(self, name: str) -> int | None:
        """Return the id of one of the user's groups; None if there is none of the name."""
        return next((key for key, group in list(self.groups.items()) if group["groupname"] == name), None)

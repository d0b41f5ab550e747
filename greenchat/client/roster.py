"""The people and groups that a logged-in user knows by name."""

from __future__ import annotations

from greenchat.client.pushes import Event, Frame, Login, Message, Presence, Push


class Roster:
    """Friends and groups as of the login and what was heard since.

    One thread hears while another asks: each change is one assignment, and who iterates, copies first.

    Attributes:
        me: the user's id.
        friends, groups: by id, as on the wire.
    """

    def __init__(self, login: Login) -> None:
        self.me = login.id
        self._names = {login.id: login.name}
        self.refresh(login)

    def refresh(self, login: Login) -> None:
        """Take over what a login says."""
        self.friends: dict[int, Frame] = {friend["id"]: dict(friend) for friend in login.friends}
        self.groups: dict[int, Frame] = {group["id"]: group for group in login.groups}
        for user in [*login.friends, *(user for group in login.groups for user in group.get("users", []))]:
            self.learn_name(user["id"], user["name"])

    def add_friend(self, friend: Frame) -> None:
        """Know a friend."""
        self.friends[friend["id"]] = dict(friend)
        self.learn_name(friend["id"], friend["name"])

    def add_group(self, group: Frame) -> None:
        """Know a group and, where they are named, its members."""
        self.groups[group["id"]] = group
        for user in group.get("users", []):
            self.learn_name(user["id"], user["name"])

    def learn_name(self, userid: int, name: str) -> None:
        """Know what a user is called."""
        self._names[userid] = name

    def hear(self, push: Push) -> None:
        """Learn from a push."""
        if isinstance(push, Message):
            self.learn_name(push.sender, push.name)
        elif isinstance(push, Presence) and push.user in self.friends:
            self.friends[push.user]["state"] = push.state
        elif isinstance(push, Event) and push.login:
            self.refresh(push.login)

    def user(self, userid: int) -> str:
        """Return what to call a user."""
        return "me" if userid == self.me else self._names.get(userid, f"user {userid}")

    def group(self, groupid: int) -> str:
        """Return what to call a group."""
        return str(self.groups[groupid]["groupname"]) if groupid in self.groups else str(groupid)

    def user_id(self, name: str) -> int | None:
        """Return the id of a user whose name is known."""
        return next((userid for userid, known in list(self._names.items()) if known == name), None)

    def group_id(self, name: str) -> int | None:
        """Return the id of one of the user's groups."""
        return next((key for key, group in list(self.groups.items()) if group["groupname"] == name), None)

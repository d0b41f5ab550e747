"""The people and groups that a logged-in user knows by name."""

from __future__ import annotations

from greenchat.client.pushes import ConnectionEvent, Frame, LoginInfo, Message, PresenceChange, Push
from greenchat.client.terminal.names import likeness, looks_like_another, written


class Roster:
    """Friends and groups as of the login and what was heard since.

    One thread hears while another asks: each change is one assignment, and who iterates, copies first.

    Attributes:
        me: the user's id.
        friends, groups: by id, as on the wire.
        unknown: ids of groups that were heard of, and are not among ``groups``.
    """

    def __init__(self, login: LoginInfo) -> None:
        self.me = login.id
        self.unknown: set[int] = set()
        self._names: dict[int, str] = {}
        self._alike: dict[str, set[int]] = {}
        self.learn_name(login.id, login.name)
        self.refresh(login)

    def refresh(self, login: LoginInfo) -> None:
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
        self.unknown.discard(group["id"])
        for user in group.get("users", []):
            self.learn_name(user["id"], user["name"])

    def learn_name(self, userid: int, name: str) -> None:
        """Know what a user is called."""
        if self._names.get(userid) != name:
            self._alike.get(likeness(self._names.get(userid, "")), set()).discard(userid)
            self._alike.setdefault(likeness(name), set()).add(userid)
            self._names[userid] = name

    def hear(self, push: Push) -> None:
        """Learn from a push."""
        if isinstance(push, Message):
            self.learn_name(push.sender, push.name)
            if push.conversation.kind == "groupid" and push.conversation.id not in self.groups:
                self.unknown.add(push.conversation.id)
        elif isinstance(push, PresenceChange) and push.user in self.friends:
            self.friends[push.user]["state"] = push.state
        elif isinstance(push, ConnectionEvent) and push.login:
            self.refresh(push.login)

    def user(self, userid: int) -> str:
        """Return what to call a user: nobody else, and nothing else that the terminal writes, is called so.

        A name that is easily mistaken for another has the id behind it.
        """
        if userid == self.me:
            return "me"
        name = self._names.get(userid)
        if name is None:
            return f"user {userid}"
        is_alike = len(self._alike[likeness(name)]) > 1 or looks_like_another(name)
        return f"{written(name)} (id {userid})" if is_alike else written(name)

    def group(self, groupid: int) -> str:
        """Return what to call a group, without the ``#``; digits alone are an id."""
        return written(str(self.groups[groupid]["groupname"])) if groupid in self.groups else str(groupid)

    def user_id(self, name: str) -> int | None:
        """Return the id of a user whose name is known."""
        return next((userid for userid, known in list(self._names.items()) if known == name), None)

    def group_id(self, name: str) -> int | None:
        """Return the id of one of the user's groups."""
        return next((key for key, group in list(self.groups.items()) if group["groupname"] == name), None)

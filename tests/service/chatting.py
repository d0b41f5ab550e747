"""The rules of chatting, the same for the machine of one node and for that of a cluster."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from greenchat.protocol.messages import MsgId
from tests.service.scene import USERS

Link = TypeVar("Link")

pick = st.integers(0, 60)
who = st.integers(0, len(USERS) - 1)


class Chatting(Generic[Link]):
    """Users who write to each other and to groups, from connections that stand.

    Attributes:
        users: the ids of all of them.
    """

    users: list[int]

    def online(self, number: int) -> Link | None:
        """Return one of the connections that can send a request, if there is any."""
        raise NotImplementedError

    def group(self, number: int) -> int:
        """Return one of the groups."""
        raise NotImplementedError

    def write(self, link: Link, request: dict[str, Any]) -> None:
        """Send a new message."""
        raise NotImplementedError

    @rule(number=pick, other=who)
    def chat(self, number: int, other: int) -> None:
        """Somebody writes to somebody, perhaps to themselves; the commit comes later."""
        if link := self.online(number):
            self.write(link, {"msgid": MsgId.ONE_CHAT, "toid": self.users[other]})

    @rule(number=pick, group=pick)
    def group_chat(self, number: int, group: int) -> None:
        """Somebody writes to a group, theirs or not."""
        if link := self.online(number):
            self.write(link, {"msgid": MsgId.GROUP_CHAT, "groupid": self.group(group)})

"""The port to the cache of friends that the nodes share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol


class FriendsCache(Protocol):
    """The friends of users, read from the store once and kept for all nodes until they change."""

    __slots__ = ()

    def are_friends(self, userid: int, ids: Sequence[int], load: Callable[[], Iterable[int]]) -> set[int]:
        """Return those of some users that are a user's friends.  May switch.

        Args:
            userid: the user.
            ids: the users in question.
            load: reads all friends of the user from the store; called if they are not in the cache.
        """

    def forget_friends(self, userid: int) -> None:
        """Drop the friends of a user, because they have just changed.  May switch.

        Friends that are being read meanwhile are not kept.
        """

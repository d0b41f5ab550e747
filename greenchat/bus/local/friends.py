"""The cache of friends of a server that is alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from greenchat.ports.friends import FriendsCache

SIZE = 2_000
"""Users in the cache at most: those that were asked for longest ago go first."""


class LocalFriends(FriendsCache):
    """The friends of users, in memory."""

    def __init__(self) -> None:
        self._friends: OrderedDict[int, frozenset[int]] = OrderedDict()
        self._changes = 0

    def are_friends(self, userid: int, ids: Sequence[int], load: Callable[[], Iterable[int]]) -> set[int]:
        friends = self._friends.get(userid)
        if friends is None:
            # Race: friends may change while ``load`` reads them; then the read ones are not kept.
            changes = self._changes
            friends = frozenset(load())
            if changes == self._changes:
                self._friends[userid] = friends
                if len(self._friends) > SIZE:
                    self._friends.popitem(last=False)
        else:
            self._friends.move_to_end(userid)
        return set(ids) & friends

    def forget_friends(self, userid: int) -> None:
        # Of all users together: a read that is voided in vain costs one query, a count for each user memory.
        self._changes += 1
        self._friends.pop(userid, None)

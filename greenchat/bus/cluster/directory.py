"""The users that are online at the other nodes, in memory, for the delivery of each message."""

from __future__ import annotations

from collections.abc import Iterable


class Directory:
    """The other nodes of each user, and the users of each other node, as far as this node knows."""

    def __init__(self) -> None:
        self._nodes: dict[int, tuple[str, ...]] = {}
        self._users: dict[str, set[int]] = {}
        self._alone: dict[str, tuple[str, ...]] = {}

    def nodes_of(self, users: Iterable[int]) -> set[str]:
        """Return the nodes at which any of these users is online."""
        found: set[str] = set()
        nodes = self._nodes
        if nodes:
            for userid in users:
                if userid in nodes:
                    found.update(nodes[userid])
                    # All nodes are found: of a large group most members need not be looked up.
                    if len(found) == len(self._users):
                        break
        return found

    def online(self, users: Iterable[int]) -> set[int]:
        """Return those of some users that are online at any other node."""
        nodes = self._nodes
        return {userid for userid in users if userid in nodes} if nodes else set()

    def users(self, node: str) -> set[int]:
        """Return the users that are online at a node."""
        return set(self._users.get(node, ()))

    def put(self, node: str, userid: int, here: bool) -> bool:
        """Note that a user is online at a node, or no longer; return False if that is known already."""
        users = self._users.setdefault(node, set())
        # Frames and the registry tell the same change, in any order: only the first is news.
        if here == (userid in users):
            return False
        nodes = self._nodes.get(userid, ())
        if here:
            users.add(userid)
            # All users that are online at this node alone share one tuple.
            self._nodes[userid] = (*nodes, node) if nodes else self._alone.setdefault(node, (node,))
        else:
            users.discard(userid)
            left = tuple(other for other in nodes if other != node)
            if left:
                self._nodes[userid] = left
            else:
                del self._nodes[userid]
        return True

    def replace(self, node: str, users: Iterable[int]) -> set[int]:
        """Set the users that are online at a node; return those for which this is a change."""
        wanted = set(users)
        # By difference: users that stay online have not moved.
        changed = self.users(node) ^ wanted
        for userid in changed:
            self.put(node, userid, userid in wanted)
        return changed

    def drop(self, node: str) -> set[int]:
        """Remove a node; return the users that were online there."""
        gone = self.replace(node, ())
        self._users.pop(node, None)
        return gone

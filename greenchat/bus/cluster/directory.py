"""Who is online at the other nodes, in memory: what the path of a message asks."""

from __future__ import annotations

from collections.abc import Iterable


class Directory:
    """Who is online at which other nodes: this node's picture of it, in memory."""

    def __init__(self) -> None:
        self._nodes: dict[int, tuple[str, ...]] = {}
        self._users: dict[str, set[int]] = {}
        self._alone: dict[str, tuple[str, ...]] = {}

    def nodes_of(self, users: Iterable[int]) -> set[str]:
        """Return where any of these users is online."""
        found: set[str] = set()
        nodes = self._nodes
        if nodes:
            for userid in users:
                if userid in nodes:
                    found.update(nodes[userid])
                    if len(found) == len(self._users):
                        break
        return found

    def online(self, users: Iterable[int]) -> set[int]:
        """Return who of these is online anywhere."""
        nodes = self._nodes
        return {userid for userid in users if userid in nodes} if nodes else set()

    def users(self, node: str) -> set[int]:
        """Return who is online at a node."""
        return set(self._users.get(node, ()))

    def put(self, node: str, userid: int, here: bool) -> bool:
        """Note that a user has come to a node, or left it; return False if that is known."""
        users = self._users.setdefault(node, set())
        if here == (userid in users):
            return False
        nodes = self._nodes.get(userid, ())
        if here:
            users.add(userid)
            # One tuple for all that are at this node only.
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
        """Note who is online at a node, all in all; return those who have come or gone by that."""
        wanted = set(users)
        changed = self.users(node) ^ wanted
        for userid in changed:
            self.put(node, userid, userid in wanted)
        return changed

    def drop(self, node: str) -> set[int]:
        """Forget a node, and return who was online there."""
        gone = self.replace(node, ())
        self._users.pop(node, None)
        return gone

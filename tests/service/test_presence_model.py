"""Presence alone, in every order of events: ten calm seconds later each client sees what is so.

One node.  Users log in on several devices, block each other, and move at other nodes, at any turn of a
reading of followers.  Events of blocks may be lost, and the database may be away.  Cheaper by far than a
cluster (see ``test_presence_converges``), so that it finds what needs three coincidences.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection
from typing import Any, TypeVar, cast

from greenchat.errors import Busy
from greenchat.model.records import Follower, Node
from greenchat.protocol.messages import PresencePush
from greenchat.service.delivery.cache import Cache
from greenchat.service.delivery.hub import Hub
from greenchat.service.presence import Presence
from greenchat.service.requests.profiles import visibly_online
from tests.service.turns import Priorities, Turns

T = TypeVar("T")

USERS = range(1, 4)

DEVICES = ("phone", "pad")

CALM = 10.0

ACTS = 25
"""Things that happen in a run."""

RUNS = int(os.environ.get("PRESENCE_RUNS", "1500"))


class Client:
    """A connection of a user's device, who has all others as friends.

    Attributes:
        user: None once it is over.
        held: what waits until the login is answered; None afterwards.
        view: each friend's state, as told last.
    """

    def __init__(self, model: Model, user: int, device: str) -> None:
        self.service = model
        self.user: int | None = user
        self.device = device
        self.login_number = 0
        self.held: list[tuple[int, str]] | None = []
        self.view: dict[int, str] = {}

    def take(self, friend: int, state: str) -> None:
        if self.held is None:
            self.view[friend] = state
        else:
            self.held.append((friend, state))


class Model:
    """A node's presence with all that it stands on, and chance.

    Attributes:
        elsewhere: who is online at other nodes.
        blocks: (blocker, blocked), as the database has them.
        rows: the users whose devices the database shows at this node.
        lost: the events of blocks that were lost, and are to be noticed.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.priorities = Priorities(self.chance)
        self.turns = Turns()
        self.elsewhere: set[int] = set()
        self.blocks: set[tuple[int, int]] = set()
        self.rows: set[int] = set()
        self.lost = False
        self.away = False
        self.hub = Hub(lambda userid: self.presence.moved_here(userid))  # noqa: PLW0108 - it is built on this
        self.blockers: Cache[int, set[int]] = Cache(self.read_blockers)
        itself: Any = self
        self.presence = Presence(self.hub, itself, itself, Node("n", 1), self.turns.later, lambda: False)

    # -- What presence asks for: the router and the store

    def online(self, users: Collection[int]) -> set[int]:
        return self.hub.online(users) | self.elsewhere.intersection(users)

    def tell_here(self, users: Collection[int], push: PresencePush) -> None:
        for userid in users:
            for client in cast("tuple[Client, ...]", self.hub.of(userid)):
                client.take(push.id, push.state)

    def followers(self, users: Collection[int], node: Node) -> list[Follower]:
        return self.read(
            lambda: [
                Follower(friend, user, (friend, user) in self.blocks)
                for friend in users
                for user in self.rows
                if user != friend
            ]
        )

    def blocked_friends(self, users: Collection[int]) -> list[tuple[int, int]]:
        return self.read(lambda: [pair for pair in self.blocks if pair[1] in users])

    def read_blockers(self, userid: int) -> set[int]:
        return self.read(lambda: {blocker for blocker, blocked in self.blocks if blocked == userid})

    def read(self, query: Callable[[], T]) -> T:
        self.turns.switch()
        if self.away:
            raise Busy
        result = query()
        self.turns.switch()
        return result

    # -- What happens

    def act(self) -> None:
        acts = {
            self.come: 4, self.go: 2, self.move: 6, self.block: 4, self.take_row: 1,
            self.break_database: 1, self.mend_database: 4, self.look: 1,
        }  # fmt: skip
        (act,) = self.chance.choices(list(acts), list(acts.values()))
        act()
        for _ in range(self.chance.choice((0, 1, 2, 4, 8))):
            if able := self.turns.able():
                self.turns.give(self.priorities.choose(able))
        if self.chance.random() < 0.1:
            self.turns.pass_time(self.chance.choice((0.5, 3.0)))

    def come(self) -> None:
        client = Client(self, self.chance.choice(USERS), self.chance.choice(DEVICES))
        self.turns.spawn(self.log_in, client)

    def log_in(self, client: Client) -> None:
        user = client.user
        assert user is not None
        if replaced := self.hub.find(user, client.device):
            self.leave(cast("Client", replaced))
        self.hub.add(cast("Any", client), user)
        self.turns.switch()
        if client.user is None:
            return
        self.rows.add(user)
        self.turns.switch()
        self.answer(client)

    def answer(self, client: Client) -> None:
        friends = {*USERS} - {client.user}
        try:
            online = visibly_online(cast("Any", client), friends, as_friends=True)
        except Busy:
            if client.user is not None:
                self.leave(client)
            return
        client.view = {friend: "online" if friend in online else "offline" for friend in friends}
        client.held = []
        self.turns.switch()
        for friend, state in client.held:
            client.view[friend] = state
        client.held = None

    def go(self) -> None:
        if clients := self.clients():
            self.leave(self.chance.choice(clients))

    def leave(self, client: Client) -> None:
        assert client.user is not None
        user, client.user = client.user, None
        self.hub.remove(cast("Any", client), user)
        self.turns.spawn(self.close_row, user)

    def close_row(self, user: int) -> None:
        if not self.hub.of(user):
            self.rows.discard(user)

    def move(self) -> None:
        """A user comes to another node or leaves it; or that node leaves, and they may come back."""
        user = self.chance.choice(USERS)
        seconds = 0.0
        if user in self.elsewhere:
            self.elsewhere.discard(user)
            seconds = self.chance.choice((0.0, 3.0))
        else:
            self.elsewhere.add(user)
        self.presence.moved([user], seconds)

    def block(self) -> None:
        """A user blocks another, or not any more; word of it comes later, or never."""
        blocker, blocked = self.chance.sample(USERS, 2)
        self.blocks ^= {(blocker, blocked)}
        if self.chance.random() < 0.3:
            self.lost = True
        else:
            self.turns.spawn(self.hear_of_block, blocker, blocked)

    def hear_of_block(self, blocker: int, blocked: int) -> None:
        self.blockers.forget(blocked)
        self.presence.block_changed(blocker, blocked)

    def take_row(self) -> None:
        """A login at another node takes the place of a user's device, and it is given back."""
        if clients := self.clients():
            self.turns.spawn(self.give_back, self.chance.choice(clients))

    def give_back(self, client: Client) -> None:
        user = client.user
        if user is None or client.held is not None or len(self.hub.of(user)) > 1:
            return
        self.rows.discard(user)
        for _ in range(4):
            self.turns.switch()
        if client.user == user:
            self.rows.add(user)
            self.presence.tell_anew({*USERS} - {user})

    def break_database(self) -> None:
        self.away = True

    def mend_database(self) -> None:
        self.away = False

    def look(self) -> None:
        """It is noticed that events were lost."""
        if self.lost:
            self.lost = False
            self.turns.spawn(self.catch_up)

    def catch_up(self) -> None:
        self.blockers.clear()
        try:
            self.presence.check_blocks()
        except Busy:
            self.turns.later(0.5, self.catch_up)

    # -- What is seen

    def clients(self) -> list[Client]:
        return [cast("Client", session) for session in self.hub.sessions()]

    def calm_down(self) -> None:
        self.away = False
        self.look()
        for _ in range(int(CALM / 0.5)):
            self.turns.run()
            self.turns.pass_time(0.5)
        self.turns.run()

    def check(self) -> None:
        for client in self.clients():
            user = client.user
            blockers = {blocker for blocker, blocked in self.blocks if blocked == user}
            truth = self.online(USERS) - {user} - blockers
            seen = {friend for friend, state in client.view.items() if state == "online"}
            assert seen == truth, f"{user}/{client.device} sees {seen}, and online are {truth}"


def test_each_client_sees_what_is_so_after_ten_calm_seconds() -> None:
    for seed in range(RUNS):
        model = Model(seed)
        try:
            for _ in range(2):
                for _ in range(ACTS):
                    model.act()
                model.calm_down()
                model.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        finally:
            model.turns.close()

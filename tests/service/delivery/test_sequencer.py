"""The order in which entries are handed out, where it hangs on when a store switches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from greenchat.errors import NoSuchGroup
from greenchat.model.conversations import of_group, of_pair
from greenchat.model.records import Entry
from greenchat.service.delivery.cache import Cache
from greenchat.service.delivery.hub import Hub
from greenchat.service.delivery.sequencer import Sequencer

ANN, BOB = 1, 2
PAIR = of_pair(ANN, BOB)


class Session:
    """One that has nothing but what it is given here.

    Attributes:
        got: the seqs that it was sent, live or because it lacked them.
    """

    login_number = 0
    id = user = BOB
    device = ""

    def __init__(self) -> None:
        self.got: list[int] = []

    @property
    def stream(self) -> Session:
        return self

    def deliver(self, conversation: int, seq: int, message: object) -> None:
        self.got.append(seq)

    def send_upto(self, conversation: int, cursor: int, head: int) -> None:
        self.got.extend(range(cursor + 1, head + 1))


class World:
    """A sequencer, one session, and a store that lets the test act while it is asked for cursors.

    Attributes:
        later: what is to be run.
        meanwhile: is called, once, when the store is asked …
        when: … for this.
    """

    def __init__(self) -> None:
        self.session = Session()
        self.later: list[Callable[[], object]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.when = "cursors"
        hub = Hub()
        here: Any = self.session
        hub.add(here, BOB)
        store: Any = self
        memberships: Any = Cache(self.members)
        self.sequencer = Sequencer(
            hub, store, memberships, False, lambda seconds, call: self.later.append(call)
        )

    def members(self, groupid: int) -> dict[int, int]:
        self.switch("members")
        raise NoSuchGroup

    def cursors(self, conversation: int, devices: object) -> dict[tuple[int, str], int]:
        self.switch("cursors")
        return {}

    def head(self, conversation: int) -> int:
        self.switch("head")
        return 0

    def switch(self, asked: str) -> None:
        if asked == self.when:
            meanwhile, self.meanwhile = self.meanwhile, lambda: None
            meanwhile()

    def entries(self, spans: list[Any]) -> list[Any]:
        raise AssertionError("all was sent live")

    def take(self, *seqs: int) -> None:
        for seq in seqs:
            self.sequencer.take(
                Entry(PAIR, seq, ANN, "ann", None, "text", "hi", "2027-01-15T08:00:00.000Z"), {}
            )

    def run(self) -> None:
        while self.later:
            self.later.pop(0)()


def test_a_group_that_is_gone_may_be_forgotten_while_its_members_are_read() -> None:
    """A database was set back to before the group was created: both are found out at the same time."""
    world = World()
    world.when = "members"
    world.sequencer.expect(of_group(3), 1)
    world.meanwhile = lambda: world.sequencer.forget(of_group(3))
    world.run()
    assert world.session.got == []


@pytest.mark.parametrize("asked", ["head", "cursors"])
@pytest.mark.parametrize("seqs", [(1,), (1, 2), (1, 2, 3)])
def test_what_comes_live_while_a_conversation_is_taken_up_is_handed_out_once(
    asked: str, seqs: tuple[int, ...]
) -> None:
    world = World()
    world.when = asked
    world.sequencer.expect(PAIR, seqs[-1])
    world.meanwhile = lambda: world.take(*seqs)
    world.run()
    assert world.session.got == list(seqs)

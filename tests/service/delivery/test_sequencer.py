"""The order in which entries are handed out, where it hangs on when a store switches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from greenchat.errors import Busy, NoSuchGroup
from greenchat.model.conversations import of_group, of_pair
from greenchat.model.records import Entry
from greenchat.protocol.wire import SharedEntry
from greenchat.service.delivery.cache import Cache
from greenchat.service.delivery.hub import Hub
from greenchat.service.delivery.sequencer import Sequencer

ANN, BOB = 1, 2
PAIR = of_pair(ANN, BOB)


def text(seq: int, body: str = "hi", conversation: int = PAIR, kind: str = "text") -> Entry:
    """Return an entry of Ann's."""
    return Entry(conversation, seq, ANN, "ann", None, kind, body, "2027-01-15T08:00:00.000Z")


class Session:
    """One that has nothing but what it is given here.

    Attributes:
        got: the seqs that it was sent, live or because it lacked them.
        texts: the bodies of the entries that it was sent live.
    """

    login_number = 0
    id = user = BOB
    device = ""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.texts: list[str] = []

    @property
    def stream(self) -> Session:
        return self

    def deliver(self, conversation: int, seq: int, message: SharedEntry) -> None:
        self.got.append(seq)
        self.texts.append(message.entry.body)

    def send_upto(self, conversation: int, cursor: int, head: int) -> None:
        self.got.extend(range(cursor + 1, head + 1))


class World:
    """A sequencer, one session, and a store that lets the test act while it is asked for cursors.

    Attributes:
        later: what is to be run.
        meanwhile: is called, once, when the store is asked …
        when: … for this.
        log: the entries that the store returns; None if it must not be asked.
        away: how many times reading the members of a group fails from now on.
        gone: the groups do not exist.
    """

    def __init__(self) -> None:
        self.session = Session()
        self.later: list[Callable[[], object]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.when = "cursors"
        self.log: list[Entry] | None = None
        self.away = 0
        self.gone = False
        hub = Hub()
        here: Any = self.session
        hub.add(here, BOB)
        store: Any = self
        memberships: Any = Cache(self.members)
        self.sequencer = Sequencer(
            hub, store, memberships, False, lambda seconds, call: self.later.append(call)
        )

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

    def members(self, groupid: int) -> dict[int, int]:
        self.switch("members")
        if self.gone:
            raise NoSuchGroup
        if self.away:
            self.away -= 1
            raise Busy
        return {ANN: 0, BOB: 0}

    def entries(self, spans: list[Any], limit: int) -> list[Entry]:
        assert self.log is not None, "all was sent live"
        ((_, after, upto),) = spans
        return [entry for entry in self.log if after < entry.seq <= upto]

    def take(self, *seqs: int) -> None:
        for seq in seqs:
            self.sequencer.take(text(seq), {})

    def run(self) -> None:
        while self.later:
            self.later.pop(0)()


def test_a_group_that_is_gone_may_be_forgotten_while_its_members_are_read() -> None:
    """A database was set back to before the group was created: both are found out at the same time."""
    world = World()
    world.when = "members"
    world.gone = True
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


# -- Recalled while it waits


def test_a_text_that_waits_is_not_handed_out_once_its_recall_has_come() -> None:
    """The recall may be acknowledged long before the entry that both wait for arrives."""
    world = World()
    world.take(1, 3)
    world.sequencer.take(text(4, "3", kind="recall"), {})
    world.take(2)
    assert world.session.got == [1, 2, 3, 4]
    assert world.session.texts == ["hi", "hi", "", "3"]


def test_a_text_that_waits_is_handed_out_as_the_log_has_it() -> None:
    """Word of its recall may be lost on the way."""
    world = World()
    world.take(1, 3)
    world.log = [text(2), text(3, "")]
    world.run()
    assert world.session.texts == ["hi", "hi", ""]


def test_a_text_that_has_waited_for_the_database_is_read_again() -> None:
    """Only the members are missing: the text has come, and may be recalled while they cannot be read."""
    world = World()
    group = of_group(7)
    world.sequencer.take(text(1, conversation=group), {ANN: 0, BOB: 0})
    world.away = 1
    world.sequencer.take(text(2, conversation=group), None)
    world.log = [text(2, "", conversation=group)]
    world.run()
    assert world.session.texts == ["hi", ""]

"""Whatever is read late, and whoever joins and leaves meanwhile: a stream is the log, once and in order.

The stream is driven directly, without a store or greenlets.  A task is a generator that yields wherever the
server may switch greenlets; the scene chooses the task that has the next turn, and what happens meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from hypothesis import given, note, settings
from hypothesis import strategies as st

from greenchat.model.conversations import of_group, of_pair
from greenchat.model.records import Span
from greenchat.protocol.wire import Shared
from greenchat.service.device.receipts import Receipts
from greenchat.service.device.states import CATCHING_UP, CAUGHT_UP, LIVE, PAGING
from greenchat.service.device.stream import Stream
from tests.service.device.support import Cursors, live, own, wire

EXAMPLES = 20 * int(os.environ.get("MACHINE_EXAMPLES", "100"))

PAIR = of_pair(1, 2)
GROUP_ID = 7
GROUP = of_group(GROUP_ID)
CONVERSATIONS = (PAIR, GROUP)

PAGE = 2
"""Entries of a page at most."""

FEW = 7
"""Entries of a log at the beginning, less one, at most."""

Task = Iterator[None]


class Connection:
    """The outlet of a stream, which checks what it is sent.

    Args:
        cursors: the device's cursors when it logs in.

    Attributes:
        joined: the last seq before the user joined the group; None while the user is no member.
        known: the same, as the node knows it.
        read: the same, as the login has read it.
        seen: the seqs that it was sent, live or in pages.
        own: the seqs of its own entries.
        room: whether a paced connection takes an entry now.
        to_catch_up: whether a greenlet is to be started.
    """

    def __init__(self, cursors: dict[int, int]) -> None:
        self.cursors = cursors
        self.joined: int | None = None
        self.known: int | None = None
        self.read: int | None = None
        self.seen: dict[int, list[int]] = {PAIR: [], GROUP: []}
        self.own: dict[int, set[int]] = {PAIR: set(), GROUP: set()}
        self.room = True
        self.to_catch_up = False

    def start(self, conversation: int, joined: int | None) -> int:
        """Return the seq after which the device has to be sent everything, given a membership."""
        return max(self.cursors[conversation], joined or 0 if conversation == GROUP else 0)

    def lacking(self, conversation: int, upto: int, joined: int | None) -> set[int]:
        """Return the seqs that the device has to be sent, and was not sent, given a membership."""
        wanted = range(self.start(conversation, joined) + 1, upto + 1)
        return set(wanted) - set(self.seen[conversation]) - self.own[conversation]

    def show(self, conversation: int, seq: int) -> None:
        """Check an entry that is sent, live or in a page."""
        seen = self.seen[conversation]
        assert not seen or seq > seen[-1], f"{seq} after {seen}"
        memberships: list[int | None] = [None]
        if conversation == GROUP:
            memberships = [
                one for one in (self.joined, self.known, self.read) if one is not None and one < seq
            ]
            assert memberships, f"{seq} is from before the joining, or comes after the leaving"
        lacking = [self.lacking(conversation, seq - 1, joined) for joined in memberships]
        assert set() in lacking, f"{seq} after {seen}"
        seen.append(seq)

    def send(self, frame: bytes) -> None:
        conversation, seq = frame.decode().split()
        self.show(int(conversation), int(seq))

    def send_entry(self, conversation: int, seq: int, entry: Shared) -> None:
        self.show(conversation, seq)

    def has_room(self, entry: Shared) -> bool:
        return self.room

    def notify(self, push: Shared) -> None:
        raise AssertionError("there are no pushes here")

    def catch_up_soon(self, stream: Stream) -> None:
        self.to_catch_up = True


class Scene:
    """One connection of a user who chats with another one and in a group, at a node whose reads are slow.

    Attributes:
        head: the last entry of the log, by conversation.
        handed_out: the last entry that was handed out to the connections of the node.
        cursor: the device's cursor in the database.
        is_forgotten: the node has to read the membership before it hands out anything.
        more: the last answer said that a SYNC would bring further entries.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.head = {conversation: random.randrange(FEW) for conversation in CONVERSATIONS}
        self.handed_out = dict(self.head)
        self.cursor = {conversation: random.randint(0, head) for conversation, head in self.head.items()}
        self.connection = Connection(self.cursor)
        if random.randrange(3):
            self.connection.joined = random.randint(0, self.head[GROUP])
            self.connection.known = random.choice([self.connection.joined, None])
        self.is_forgotten = self.more = False
        self.is_paced = random.randrange(3) == 0
        receipts = Receipts(Cursors(), 1, "")
        self.stream = Stream(self.connection, wire(paced=self.is_paced), self.connection.send, receipts)
        self.tasks: list[Task] = [self.answer_login()]

    # -- What the node does; each task is under way while others have their turns

    def answer_login(self) -> Task:
        yield
        membership = self.connection.read = self.connection.joined
        joined = {} if membership is None else {GROUP_ID: membership}
        spans = [
            Span(conversation, start, head)
            for conversation, head in self.head.items()
            if (start := self.connection.start(conversation, membership)) < head
            and (conversation == PAIR or joined)
        ]
        yield
        self.stream.note_joined(joined)
        self.stream.login_read(spans, joined)
        if membership is not None and not self.is_forgotten and self.connection.known != membership:
            self.is_forgotten = True
            self.stream.send_after(GROUP, membership)
        yield from self.page()
        self.more = bool(self.stream.paging())
        self.stream.login_answered()
        if self.is_paced:  # by a wire without SYNC
            self.more = False
            self.stream.send_all()

    def sync(self) -> Task:
        if not self.stream.is_reading:
            yield from self.page()
            self.more = bool(self.stream.paging())

    def page(self, only: int | None = None) -> Task:
        """Read a page, and show what still stands of it."""
        spans, room = self.stream.plan(only), PAGE
        self.stream.is_reading = True
        yield
        self.stream.is_reading = False
        for span in spans:
            upto = min(span.upto, span.after + room)
            room -= upto - span.after
            if self.stream.stands(span, only):
                for seq in range(span.after + 1, upto + 1):
                    self.connection.show(span.conversation, seq)
                self.stream.count_page(span.conversation, upto)
            if not room:
                break

    def catch_up(self) -> Task:
        """Do as ``catch_up.catch_up`` does."""
        stream = self.stream
        while (conversation := stream.next_to_catch_up()) is not None:
            yield
            if stream.is_holding or stream.is_reading or stream.next_to_catch_up() != conversation:
                continue
            stream.look_up(conversation)
            yield
            if conversation == GROUP:
                self.hear()
            if stream.state(conversation) is not CATCHING_UP:
                continue
            if conversation == GROUP and self.connection.joined is None:
                stream.drop(conversation)
                continue
            reached = self.connection.start(conversation, self.connection.joined)
            head = self.head[conversation]
            yield
            if stream.state(conversation) is CATCHING_UP:
                stream.count_page(conversation, reached, head)
                if not stream.is_reading:
                    yield from self.page(conversation)
        stream.is_catching_up = False

    def able(self) -> list[Task]:
        """Return the tasks that can go on."""
        if self.connection.to_catch_up:
            self.connection.to_catch_up = False
            self.tasks.append(self.catch_up())
        return list(self.tasks)

    def turn(self, task: Task) -> None:
        """Let a task go on to the next switch."""
        if next(task, self) is self:
            self.tasks.remove(task)

    # -- What happens meanwhile

    def act(self) -> None:
        """Let something happen that can, and check that no entry is forgotten by it."""
        acts: list[Callable[[], None]] = [self.check_groups]
        acts += [partial(self.turn, task) for task in self.able()] * 3
        if self.connection.joined is None:
            acts += [self.join]
        else:
            acts += [self.leave, self.leave_and_join, self.nearly_leave]
        acts += [self.hear] * (self.connection.known != self.connection.joined)
        acts += [self.sync_soon] * self.more
        acts += [self.change_room] * self.is_paced
        for conversation, head in self.head.items():
            acts += [partial(self.commit, conversation)]
            acts += [partial(self.hand_out, conversation)] * (self.handed_out[conversation] < head)
            if conversation == PAIR or self.connection.joined is not None:
                acts += [partial(self.take_up, conversation)]
                acts += [partial(self.say, conversation)] * (not self.stream.is_holding)
        act = self.random.choice(acts)
        note(repr(act))
        act()
        self.check_nothing_is_forgotten()

    def check_nothing_is_forgotten(self) -> None:
        """Check that each entry that was handed out was sent, or is on its way to the connection."""
        if self.stream.is_holding:
            return
        paged = {span.conversation: span.upto for span in self.stream.plan()}
        joined, known = self.connection.joined, self.connection.known
        for conversation, seq in self.handed_out.items():
            state = self.stream.state(conversation)
            if conversation == GROUP and (joined is None or joined != known or self.is_forgotten):
                continue
            if state in (LIVE, CAUGHT_UP):
                assert not self.connection.lacking(conversation, seq, joined), state
            elif state is PAGING:
                assert paged[conversation] >= seq

    def commit(self, conversation: int) -> None:
        """Commit an entry of somebody else; it is handed out later."""
        self.head[conversation] += 1

    def say(self, conversation: int) -> None:
        """Commit an entry that came from this connection: its ACK is as good as the entry."""
        self.head[conversation] += 1
        self.connection.own[conversation].add(self.head[conversation])

    def hand_out(self, conversation: int) -> None:
        """Hand out the next entry, by the membership that the node knows."""
        if conversation == GROUP and self.is_forgotten:
            self.hear()
        seq = self.handed_out[conversation] = self.handed_out[conversation] + 1
        known = self.connection.known
        if conversation == GROUP and (known is None or seq <= known):
            return
        if seq in self.connection.own[conversation]:
            self.stream.deliver_own(own(conversation, seq))
        else:
            self.stream.deliver(conversation, seq, live(conversation, seq))

    def take_up(self, conversation: int) -> None:
        """Take up a conversation at its head, as a node does that has missed entries of it."""
        if conversation == GROUP:
            self.hear()
        head = self.handed_out[conversation] = self.head[conversation]
        lacking = self.connection.lacking(conversation, head, self.connection.joined)
        self.stream.send_upto(conversation, min(lacking, default=head + 1) - 1, head)

    def leave(self) -> None:
        """Leave the group; the node knows at once."""
        self.hear()
        self.connection.joined = self.connection.known = self.connection.read = None
        self.is_forgotten = self.random.choice([True, False])
        self.stream.left(GROUP_ID)

    def nearly_leave(self) -> None:
        """Let the node hear of a leaving that was not made: the database has lost the answer."""
        self.is_forgotten = True
        self.stream.left(GROUP_ID)

    def join(self) -> None:
        """Join the group at its head; the node hears of it later."""
        self.connection.joined = self.head[GROUP]

    def leave_and_join(self) -> None:
        """Leave the group and join it again elsewhere; the node hears of both later."""
        self.join()

    def hear(self) -> None:
        """Let the node hear of a joining: entries may have been handed out without the user before."""
        joined, had_all = self.connection.joined, self.connection.known is not None
        is_news, self.is_forgotten = self.is_forgotten or joined != self.connection.known, False
        if joined is not None and is_news:
            self.connection.known = joined
            self.stream.follow(GROUP_ID, joined, self.handed_out[GROUP], had_all=had_all)

    def check_groups(self) -> None:
        """Perhaps miss word of a leaving."""
        self.stream.check_groups()

    def sync_soon(self) -> None:
        """Have the client ask for a page."""
        self.tasks.append(self.sync())

    def change_room(self) -> None:
        """Have a paced connection take entries, or not."""
        self.connection.room = not self.connection.room

    # -- The end

    def end(self) -> None:
        """Hand out, send and ask for everything: then nothing is missing."""
        self.connection.room = True
        self.hear()
        for conversation, head in self.head.items():
            while self.handed_out[conversation] < head:
                self.hand_out(conversation)
        self.run()
        while self.more:
            self.sync_soon()
            self.run()
        for conversation, head in self.head.items():
            if conversation == PAIR or self.connection.joined is not None:
                assert not self.connection.lacking(conversation, head, self.connection.joined)

    def run(self) -> None:
        """Give all tasks their turns until they are done."""
        for _ in range(1_000):
            tasks = self.able()
            if not tasks:
                return
            for task in tasks:
                self.turn(task)
        raise AssertionError("this never ends")


@settings(max_examples=EXAMPLES)
@given(st.integers(0, (1 << 64) - 1), st.integers(5, 40))
def test_a_connection_is_sent_the_log_once_and_in_order(seed: int, acts: int) -> None:
    scene = Scene(Random(seed))
    for _ in range(acts):
        scene.act()
    scene.end()

"""Whatever is read late, and whoever joins and leaves meanwhile: a stream is the log, once and in order.

The stream is driven directly, without a store or greenlets.  A task is a generator that yields wherever the
server may switch greenlets, and the machine chooses the task that has the next turn.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from greenchat.model.conversations import of_group, of_pair
from greenchat.model.records import Span
from greenchat.protocol.wire import Shared
from greenchat.service.device.receipts import Receipts
from greenchat.service.device.states import CATCHING_UP
from greenchat.service.device.stream import Stream
from tests.service.device.support import live, own, wire

PAIR = of_pair(1, 2)
GROUP_ID = 7
GROUP = of_group(GROUP_ID)
CONVERSATIONS = (PAIR, GROUP)
PAGE = 3
"""Entries of a page at most."""

few = st.integers(0, 5)
conversations = st.sampled_from(CONVERSATIONS)

Task = Iterator[None]


class Period:
    """A membership: the last seq before it, and the last one that was in the log when it ended."""

    def __init__(self, before: int) -> None:
        self.before = before
        self.upto: int | None = None


class Connection:
    """The outlet of the stream: it remembers what it was sent, and checks that it may be sent.

    Attributes:
        periods: the memberships of the user in the group, oldest first.
    """

    def __init__(self, periods: list[Period], cursors: dict[int, int]) -> None:
        self.periods = periods
        self.cursors = cursors
        self.seen: dict[int, list[int]] = {PAIR: [], GROUP: []}
        self.own: dict[int, set[int]] = {PAIR: set(), GROUP: set()}
        self.has_place = True
        self.to_catch_up: list[Stream] = []

    def send(self, frame: bytes) -> None:
        conversation, seq = frame.decode().split()
        self.show(int(conversation), int(seq))

    def send_entry(self, conversation: int, seq: int, entry: Shared) -> None:
        self.show(conversation, seq)

    def show(self, conversation: int, seq: int) -> None:
        """Check an entry as it is sent, live or in a page."""
        seen = self.seen[conversation]
        assert not seen or seq > seen[-1], f"{seq} after {seen}"
        if conversation == GROUP:
            assert self.periods, "sent before the joining"
            period = self.periods[-1]
            assert period.upto is None, f"{seq} is sent after the leaving"
            assert seq > period.before, f"{seq} is sent, of before the joining"
        start = self.cursors[conversation]
        if conversation == GROUP:
            start = max(start, self.periods[-1].before)
        assert not self.lacking(conversation, start, seq - 1), f"{seq} after {seen}"
        seen.append(seq)

    def lacking(self, conversation: int, after: int, upto: int) -> set[int]:
        """Return the seqs that the device has not got."""
        return set(range(after + 1, upto + 1)) - set(self.seen[conversation]) - self.own[conversation]

    def has_room(self, entry: Shared) -> bool:
        return self.has_place

    def notify(self, push: Shared) -> None:
        pass

    def catch_up_soon(self, stream: Stream) -> None:
        self.to_catch_up.append(stream)


class Streams(RuleBasedStateMachine):
    """One connection of a user who chats with another one and in a group, at a node whose reads are slow.

    Attributes:
        head: the last entry of the log, by conversation.
        handed_out: the last entry that was handed out to the connections of the node.
        cursor: the device's cursor in the database.
    """

    @initialize(
        is_paced=st.booleans(),
        heads=st.tuples(few, few),
        cursors=st.tuples(few, few),
        joined=st.none() | few,
    )
    def log_in(
        self, is_paced: bool, heads: tuple[int, int], cursors: tuple[int, int], joined: int | None
    ) -> None:
        """Begin to log in a device that lacks some entries."""
        self.head = dict(zip(CONVERSATIONS, heads, strict=True))
        self.handed_out = dict(self.head)
        self.cursor = {
            one: min(self.head[one], cursor) for one, cursor in zip(self.head, cursors, strict=True)
        }
        periods = [] if joined is None else [Period(min(joined, self.head[GROUP]))]
        self.connection = Connection(periods, self.cursor)
        self.is_paced = is_paced
        receipts = Receipts(lambda *receipt: None)
        self.stream = Stream(self.connection, wire(paced=is_paced), self.connection.send, receipts)
        self.tasks: list[Task] = [self.answer_login()]

    # -- What the node does, a turn at a time

    @property
    def joined(self) -> int | None:
        """The last seq before the user joined the group; None while the user is no member."""
        periods = self.connection.periods
        return periods[-1].before if periods and periods[-1].upto is None else None

    def answer_login(self) -> Task:
        yield
        joined = {} if self.joined is None else {GROUP_ID: self.joined}
        spans = [
            Span(conversation, self.start(conversation), self.head[conversation])
            for conversation in self.head
            if (conversation == PAIR or joined) and self.start(conversation) < self.head[conversation]
        ]
        yield
        self.stream.note_joined(joined)
        self.stream.login_read(spans, joined)
        yield from self.page()
        self.stream.login_answered()
        if self.is_paced:
            self.stream.send_all()

    def start(self, conversation: int) -> int:
        """Return the seq after which the device lacks a conversation when it logs in."""
        if conversation == GROUP:
            return max(self.cursor[GROUP], self.joined or 0)
        return self.cursor[conversation]

    def sync(self) -> Task:
        if not self.stream.is_reading:
            yield from self.page()

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
            if stream.state(conversation) is not CATCHING_UP:
                continue
            if conversation == GROUP and self.joined is None:
                stream.drop(conversation)
                continue
            joined = self.joined or 0 if conversation == GROUP else 0
            head = self.head[conversation]
            yield
            if stream.state(conversation) is CATCHING_UP:
                stream.count_page(conversation, max(joined, self.cursor[conversation]), head)
                if not stream.is_reading:
                    yield from self.page(conversation)
        stream.is_catching_up = False

    # -- Rules

    @rule(number=few)
    def turn(self, number: int) -> None:
        """Let a task go on to the next switch."""
        self.start_catching_up()
        if self.tasks:
            task = self.tasks[number % len(self.tasks)]
            if next(task, self) is self:
                self.tasks.remove(task)

    def start_catching_up(self) -> None:
        while self.connection.to_catch_up:
            self.connection.to_catch_up.pop()
            self.tasks.append(self.catch_up())

    @rule(conversation=conversations)
    def commit(self, conversation: int) -> None:
        """Commit an entry of somebody else; it is handed out later."""
        self.head[conversation] += 1

    @rule(conversation=conversations)
    def say(self, conversation: int) -> None:
        """Commit an entry that came from this connection: its ACK is as good as the entry."""
        if not self.stream.is_holding and (conversation == PAIR or self.joined is not None):
            self.head[conversation] += 1
            self.connection.own[conversation].add(self.head[conversation])

    @rule(conversation=conversations)
    def hand_out(self, conversation: int) -> None:
        """Hand out the next entry, by the membership of this moment."""
        if self.handed_out[conversation] == self.head[conversation]:
            return
        seq = self.handed_out[conversation] = self.handed_out[conversation] + 1
        if conversation == GROUP and (self.joined is None or seq <= self.joined):
            return
        if seq in self.connection.own[conversation]:
            self.stream.deliver_own(own(conversation, seq))
        else:
            self.stream.deliver(conversation, seq, live(conversation, seq))

    @rule(conversation=conversations)
    def take_up(self, conversation: int) -> None:
        """Take up a conversation at its head, as a node does that has missed entries of it."""
        if conversation == GROUP and self.joined is None:
            return
        self.handed_out[conversation] = self.head[conversation]
        start, head = self.start(conversation), self.head[conversation]
        cursor = min(self.connection.lacking(conversation, start, head), default=head + 1) - 1
        self.stream.send_upto(conversation, cursor, head)

    @rule()
    def leave(self) -> None:
        """Leave the group; the node knows at once."""
        if self.joined is not None:
            self.connection.periods[-1].upto = self.head[GROUP]
            self.stream.left(GROUP_ID)

    @rule(is_sure=st.booleans())
    def join(self, is_sure: bool) -> None:
        """Join the group, perhaps again; the node knows at once."""
        if self.joined is None:
            self.connection.periods.append(Period(self.head[GROUP]))
            self.stream.follow(GROUP_ID, self.head[GROUP], self.handed_out[GROUP] if is_sure else None)

    @rule()
    def miss_word(self) -> None:
        """Perhaps miss word of a leaving."""
        self.stream.check_groups()

    @rule()
    def sync_soon(self) -> None:
        """Have the client ask for a page."""
        if not self.stream.is_holding:
            self.tasks.append(self.sync())

    @rule(has_place=st.booleans())
    def take(self, has_place: bool) -> None:
        """Have a paced connection take entries, or not."""
        self.connection.has_place = has_place or not self.is_paced

    def teardown(self) -> None:
        """Everything is handed out, sent and asked for: then nothing is missing."""
        if not hasattr(self, "connection"):
            return
        self.connection.has_place = True
        for conversation in self.head:
            while self.handed_out[conversation] < self.head[conversation]:
                self.hand_out(conversation)
        self.run()
        while self.stream.paging():
            self.sync_soon()
            self.run()
        for conversation, head in self.head.items():
            if conversation == PAIR or self.joined is not None:
                assert not self.connection.lacking(conversation, self.start(conversation), head)

    def run(self) -> None:
        for _ in range(1_000):
            self.start_catching_up()
            if not self.tasks:
                return
            for number in range(len(self.tasks)):
                self.turn(number)
        raise AssertionError("this never ends")


Streams.TestCase.settings = settings(
    max_examples=300, stateful_step_count=60, deadline=None, report_multiple_bugs=False
)
TestStreams = Streams.TestCase

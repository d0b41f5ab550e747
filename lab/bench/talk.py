"""One user writes and others read: messages under way, arrivals, and faults."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from lab.bench import wire
from lab.bench.loop import Connection, LoadError, Loop
from lab.bench.stream import Stream

RECEIPT_AT = 64
"""Messages after which a reader sends RECEIVED."""

RECEIPT_AFTER = 0.1
"""Seconds after which a reader sends RECEIVED for fewer."""

Numbers = list[int]


class Writer:
    """The sender of a conversation; its messages are numbered from 1.

    Args:
        connection: theirs.
        to: the receiver, as a JSON member (``"toid":7``).

    Attributes:
        sent: the last number.
        acks: those that were acknowledged.
        refused: messages that the server did not take, by error.
        heard: called with the numbers of acknowledged messages.
    """

    def __init__(self, connection: Connection, to: str) -> None:
        self._connection = connection
        self._to = to
        self.sent = 0
        self.acks = Stream()
        self.refused: Counter[str] = Counter()
        self.heard: Callable[[Numbers], None] = _nothing
        connection.heard = self._hear

    def send(self, count: int) -> None:
        """Send so many messages."""
        self._connection.send(wire.chat(self._to, self.sent + 1, count))
        self.sent += count

    def _hear(self, batch: wire.Batch) -> None:
        self.acks.take(batch.acknowledged)
        for frame in batch.frames:
            if frame.errno:
                self.refused[f"refused: {frame.error}"] += 1
        self.heard(batch.acknowledged)


class Reader:
    """A receiver of a conversation; it confirms the messages.

    Args:
        connection: theirs.
        where: the conversation as they see it, as a JSON member (``"peerid":7``).
        after: the last seq before the first message.

    Attributes:
        numbers: the arrivals, by the writer's numbers.
        seqs: the arrivals, by the server's seqs.
        heard: called with the numbers that came.
    """

    __slots__ = ("_confirmed", "_connection", "_where", "heard", "numbers", "seqs")

    def __init__(self, connection: Connection, where: str, after: int = 0) -> None:
        self._connection = connection
        self._where = where
        self._confirmed = after
        self.numbers = Stream()
        self.seqs = Stream(after + 1)
        self.heard: Callable[[Numbers], None] = _nothing
        connection.heard = self._hear

    def _hear(self, batch: wire.Batch) -> None:
        self.numbers.take(batch.numbers)
        self.seqs.take(batch.seqs)
        if self.seqs.next > self._confirmed + RECEIPT_AT:
            self.confirm()
        self.heard(batch.numbers)

    def confirm(self) -> None:
        """Send a receipt of all that has come, unless it has been sent."""
        seq = self.seqs.next - 1
        if seq > self._confirmed:
            self._confirmed = seq
            self._connection.send(wire.received(self._where, seq))


class Talk:
    """A conversation.

    Args:
        loop: where its people are.
        writer: the sender.
        readers: the receivers.

    Attributes:
        writer, readers: these.
        delivered: the last number that all readers have got.
        window: messages that are kept under way; 0 to send none by itself.  A message is under way
            until all readers have it.
    """

    def __init__(self, loop: Loop, writer: Writer, readers: Sequence[Reader]) -> None:
        self.writer = writer
        self.readers = readers
        self.delivered = 0
        self.window = 0
        # How many readers have a number, as the difference to the number before: a batch is two steps.
        self._steps: defaultdict[int, int] = defaultdict(int)
        self._level = 0
        for reader in readers:
            reader.heard = self._got
        loop.every(RECEIPT_AFTER, self._confirm)

    def start(self, window: int) -> None:
        """Send so many messages, and another for each that all have got."""
        self.window = window
        self.writer.send(window)

    @property
    def quiet(self) -> bool:
        """True if all messages are delivered and acknowledged."""
        return self.delivered >= self.writer.sent and self.writer.acks.next > self.writer.sent

    @property
    def deliveries(self) -> int:
        """Messages that readers have got, each reader's counted."""
        return sum(reader.numbers.next - 1 for reader in self.readers)

    def faults(self) -> Counter[str]:
        """Return the counts of messages refused, lost, doubled and reordered; for quiet times."""
        found = self.writer.refused + self.writer.acks.faults(self.writer.sent + 1, "ACKs ")
        for reader in self.readers:
            start = reader.seqs.first
            found += reader.numbers.faults(self.writer.sent + 1)
            found += reader.seqs.faults(start + self.writer.sent, "seqs ")
        return found

    def _got(self, numbers: Numbers) -> None:
        if not numbers:
            return
        self._steps[numbers[0]] += 1
        self._steps[numbers[-1] + 1] -= 1
        before = self.delivered
        while self._level + self._steps.get(self.delivered + 1, 0) == len(self.readers):
            self.delivered += 1
            self._level += self._steps.pop(self.delivered, 0)
        if self.window and self.delivered > before:
            self.writer.send(self.delivered - before)

    def _confirm(self) -> None:
        for reader in self.readers:
            reader.confirm()


def settle(loop: Loop, talks: Sequence[Talk], seconds: float = 10.0) -> Counter[str]:
    """Send no more, wait for the messages under way, and return the faults."""
    for talk in talks:
        talk.window = 0
    try:
        loop.until(lambda: all(talk.quiet for talk in talks), "messages", seconds)
    except LoadError:
        pass  # missing messages count as lost
    return sum((talk.faults() for talk in talks), Counter())


def _nothing(numbers: Numbers) -> None:
    pass

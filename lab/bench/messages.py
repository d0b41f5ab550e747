"""Scenarios: messages one to one, in groups, to an absent user, and at a fixed rate."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from lab.bench import wire
from lab.bench.bench import Bench
from lab.bench.crowd import come
from lab.bench.figures import Row, of_cpu, with_span
from lab.bench.loop import Connection, Loop
from lab.bench.site import Site
from lab.bench.stream import Stream
from lab.bench.talk import Reader, Talk, Writer, settle
from lab.fill import Person
from lab.percentiles import percentile

PAIRS = 50

OFFLINE_WINDOW = 256
"""Messages to an absent user that are under way: as many as a connection may have."""


def pairs(bench: Bench, name: str, window: int, connections: int = 2 * PAIRS) -> list[Row]:
    """50 pairs, each with so many messages under way, among so many connections."""
    bench.need_connections(connections)
    with bench.site() as site:
        people = site.fill.people(connections)
        with bench.loop(site) as loop:
            talks = _pair_up(bench, site, loop, people)
            for talk in talks:
                talk.start(window)
            count, span = bench.measure(site, loop, lambda: sum(talk.deliveries for talk in talks))
            faults = settle(loop, talks)
    return [of_cpu(name, "messages", count, span, faults)]


def peak(bench: Bench, name: str, window: int) -> list[Row]:
    """Do ``pairs``, and keep the rate for ``latency``."""
    rows = pairs(bench, name, window)
    bench.peak = rows[0].more["per_second"]
    return rows


def logs(bench: Bench, name: str, rows: int) -> list[Row]:
    """Do ``pairs`` where so many messages are in the database: of these pairs, and as many others."""
    rows = bench.size(rows, rows // 1000)
    with bench.site() as site:
        people = site.fill.people(4 * PAIRS)
        bench.tell(f"writing {rows:,} messages")
        everybody = [(left.id, right.id) for left, right in _couples(people)]
        after = rows // len(everybody)
        site.fill.logs(everybody, after)
        with bench.loop(site) as loop:
            talks = _pair_up(bench, site, loop, people[: 2 * PAIRS], after)
            for talk in talks:
                talk.start(16)
            count, span = bench.measure(site, loop, lambda: sum(talk.deliveries for talk in talks))
            faults = settle(loop, talks)
    return [of_cpu(name, "messages", count, span, faults)]


def group(bench: Bench, name: str, members: int) -> list[Row]:
    """One group, in which one writes with 16 messages under way, and all others read."""
    bench.need_connections(members)
    with bench.site() as site:
        people = site.fill.people(members)
        site.fill.group(people)
        with bench.loop(site) as loop:
            bench.tell("logging in")
            writer, *others = come(loop, site, people)
            readers = [Reader(connection, '"groupid":1') for connection in others]
            talk = Talk(loop, Writer(writer, '"groupid":1'), readers)
            talk.start(16)
            count, span = bench.measure(site, loop, lambda: talk.deliveries)
            faults = settle(loop, [talk])
    return [of_cpu(name, "deliveries", count, span, faults)]


def offline(bench: Bench, name: str) -> list[Row]:
    """One user writes to an absent one, with 256 messages under way; that user comes and takes all."""
    with bench.site() as site:
        people = site.fill.people(2)
        with bench.loop(site) as loop:
            (connection,) = come(loop, site, people[:1])
            writer = Writer(connection, f'"toid":{people[1].id}')
            talk = Talk(loop, writer, ())
            writer.heard = lambda numbers: writer.send(len(numbers)) if talk.window else None
            start = site.reading()
            bench.tell("storing")
            talk.start(OFFLINE_WINDOW)
            loop.run(bench.seconds)
            talk.window = 0
            loop.until(lambda: writer.acks.next > writer.sent, "ACKs")
            stored = of_cpu(f"{name}-store", "messages", writer.sent, bench.since(site, start))
            stored.faults |= writer.refused + writer.acks.faults(writer.sent + 1, "ACKs ")

            start = site.reading()
            bench.tell("draining")
            taker = _Taker(loop.connect(site.address(1), lambda batch: None), people[0].id, writer.sent)
            taker.come(people[1])
            loop.until(lambda: taker.done, "the pages")
            drained = of_cpu(f"{name}-drain", "messages", writer.sent, bench.since(site, start))
            drained.faults |= taker.numbers.faults(writer.sent + 1)
    return [stored, drained]


class _Taker:
    """A user that takes its undelivered messages page by page, and confirms each before the next."""

    def __init__(self, connection: Connection, peer: int, last: int) -> None:
        self._connection = connection
        self._peer = peer
        self._last = last
        self.numbers = Stream()
        self.done = False
        connection.heard = self._hear

    def come(self, person: Person) -> None:
        """Log in."""
        self._connection.send(wire.request(1, id=person.id, token=person.token))

    def _hear(self, batch: wire.Batch) -> None:
        for frame in batch.frames:
            page = frame.offlinemsg
            self.numbers.take([int(entry.msg[: wire.DIGITS]) for entry in page])
            if page:
                self._connection.send(wire.received(f'"peerid":{self._peer}', page[-1].seq))
            if frame.more:
                self._connection.send(wire.SYNC_FRAME)
            else:
                self.done = True


def latency(bench: Bench, name: str) -> list[Row]:
    """50 pairs at half of the rate that a window of 16 reaches; a message's time starts when it is due."""
    if not bench.peak:
        peak(bench, "w16", 16)
    rate = bench.peak / 2
    with bench.site() as site:
        people = site.fill.people(2 * PAIRS)
        with bench.loop(site) as loop:
            pace = _Pace(loop, _pair_up(bench, site, loop, people), rate)
            bench.tell(f"{rate:,.0f} messages a second")
            start = site.reading()
            pace.run(bench.warm_up + bench.seconds)
            span = bench.since(site, start)
            faults = settle(loop, pace.talks)
    rows = []
    for what, times in (("ack", pace.acknowledged), ("delivery", pace.delivered)):
        # The first messages were due in the warm-up, and are left out.
        ordered = sorted(times[int(rate * bench.warm_up) :])
        for percent in (50, 99, 99.9):
            row = Row(f"{name}-{what}-p{percent:g}", 1000 * percentile(ordered, percent), "ms", True)
            row.more["per_second"] = rate
            rows.append(with_span(row, span, faults))
    return rows


class _Pace:
    """Pairs that write in turn at a fixed rate, whatever comes back (an open loop).

    Attributes:
        acknowledged, delivered: seconds from when a message was due until then, in the order of coming.
    """

    def __init__(self, loop: Loop, talks: Sequence[Talk], rate: float) -> None:
        self._loop = loop
        self._rate = rate
        self.talks = talks
        self.acknowledged: list[float] = []
        self.delivered: list[float] = []
        for place, talk in enumerate(talks):
            self._listen(place, talk)

    def run(self, seconds: float) -> None:
        """Send all that is due in so many seconds."""
        self._start, sent = monotonic(), 0
        total = int(self._rate * seconds)
        while sent < total:
            due = min(total, int((monotonic() - self._start) * self._rate))
            for number in range(sent, due):
                self.talks[number % len(self.talks)].writer.send(1)
            sent = max(sent, due)
            self._loop.turn(self._start + (sent + 1) / self._rate - monotonic())

    def _listen(self, place: int, talk: Talk) -> None:
        """Note the times of a talk: its n-th message has this place in the n-th round."""
        got = talk.readers[0].heard

        def note(numbers: list[int], times: list[float]) -> None:
            now = monotonic() - self._start
            every, rate = len(self.talks), self._rate
            times += [now - ((number - 1) * every + place) / rate for number in numbers]

        def heard(numbers: list[int]) -> None:
            note(numbers, self.delivered)
            got(numbers)

        talk.readers[0].heard = heard
        talk.writer.heard = lambda numbers: note(numbers, self.acknowledged)


def _couples(people: Sequence[Person]) -> list[tuple[Person, Person]]:
    """Return the first with the second, the third with the fourth: in a cluster, of different nodes."""
    return list(zip(people[::2], people[1::2], strict=True))


def _pair_up(bench: Bench, site: Site, loop: Loop, people: Sequence[Person], after: int = 0) -> list[Talk]:
    """Log people in and return the talks of the first 50 pairs; the others stay, and are silent."""
    bench.tell("logging in")
    connections = come(loop, site, people)
    talks = []
    for place, (left, right) in enumerate(_couples(people[: 2 * PAIRS])):
        reader = Reader(connections[2 * place + 1], f'"peerid":{left.id}', after)
        talks.append(Talk(loop, Writer(connections[2 * place], f'"toid":{right.id}'), [reader]))
    return talks

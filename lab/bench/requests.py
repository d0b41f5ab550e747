"""Scenarios: people ask, and ask again when they are answered."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from lab.bench import wire
from lab.bench.bench import Bench
from lab.bench.crowd import come
from lab.bench.figures import Row, of_cpu
from lab.bench.loop import Connection

ASKING = 10
"""Scenarios: users that ask, each with one request under way."""

LOG = 10_000
"""Messages of the conversations that are paged through."""

FRIENDS = 2000
IDS = 1000
"""The most friends of a user, and the most users in a request (docs/protocol.md)."""


class _Asker:
    """A user that asks again with every answer, and checks it.

    Attributes:
        answers: how many came.
        faults: wrong answers, by their defect.
    """

    def __init__(self, connection: Connection, ask: Callable[[], tuple[bytes, object]]) -> None:
        self._connection = connection
        self._ask = ask
        self.answers = 0
        self.faults: Counter[str] = Counter()
        connection.heard = self._hear
        self._send()

    def _send(self) -> None:
        request, self._wanted = self._ask()
        self._connection.send(request)

    def _hear(self, batch: wire.Batch) -> None:
        for frame in batch.frames:
            if frame.cid:
                if frame.errno:
                    self.faults[f"refused: {frame.error}"] += 1
                elif ([entry.seq for entry in frame.messages] or frame.ids) != self._wanted:
                    self.faults["wrong answers"] += 1
                self.answers += 1
                self._send()


def history(bench: Bench, name: str, limit: int) -> list[Row]:
    """People page through long conversations, from anywhere."""
    with bench.site() as site:
        people = site.fill.people(2 * ASKING)
        length = bench.size(LOG, 500)
        site.fill.logs([(2 * place + 1, 2 * place + 2) for place in range(ASKING)], length)
        with bench.loop(site) as loop:
            chance = random.Random(1)

            def ask(peer: int) -> tuple[bytes, object]:
                before = chance.randint(limit + 1, length)
                wanted = list(range(before - limit, before))
                return wire.request(15, peerid=peer, before=before, limit=limit), wanted

            askers = [
                _Asker(connection, partial(ask, 2 * place + 2))
                for place, connection in enumerate(come(loop, site, people[::2]))
            ]
            count, span = bench.measure(site, loop, lambda: sum(asker.answers for asker in askers))
    return [of_cpu(name, "pages", count, span, _faults(askers))]


def are_friends(bench: Bench, name: str, users: int) -> list[Row]:
    """Users with 2,000 friends, among so many with two each, ask which of 1,000 users are friends."""
    users = bench.size(users, min(users, 5000))
    with bench.site() as site:
        bench.tell(f"writing {users:,} users")
        people = site.fill.people(users, every=users // ASKING)[:ASKING]
        popular = {person.id for person in people}
        site.fill.friends(
            (id, other) for id in range(1, users + 1) if id not in popular for other in _two(id, users)
        )
        chance = random.Random(1)
        friends = {
            person.id: _others(chance, person.id, users, min(FRIENDS, users // 3)) for person in people
        }
        site.fill.friends((id, other) for id, others in friends.items() for other in others)
        with bench.loop(site) as loop:

            def ask(id: int) -> tuple[bytes, object]:
                ids = _others(chance, id, users, IDS // 2) + chance.sample(friends[id], IDS // 2)
                wanted = [other for other in ids if other in known[id]]
                return wire.request(22, ids=ids), wanted

            known = {id: set(others) for id, others in friends.items()}
            askers = [
                _Asker(connection, partial(ask, person.id))
                for person, connection in zip(people, come(loop, site, people), strict=True)
            ]
            count, span = bench.measure(site, loop, lambda: sum(asker.answers for asker in askers))
    return [of_cpu(name, "answers", count, span, _faults(askers))]


def _two(id: int, users: int) -> list[int]:
    """Return two others."""
    return [(id + step) % users + 1 for step in (0, 1)]


def _others(chance: random.Random, id: int, users: int, count: int) -> list[int]:
    """Return so many others, each once."""
    return [other for other in chance.sample(range(1, users + 1), count + 1) if other != id][:count]


def _faults(askers: Sequence[_Asker]) -> Counter[str]:
    return sum((asker.faults for asker in askers), Counter())

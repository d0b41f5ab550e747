"""What a device of the load does beside chatting."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

from lab.people.life import Life
from lab.people.person import Person, Weather
from lab.record import Record


class Politely(random.Random):
    """Dice that always let a device log out before it rests."""

    def random(self) -> float:
        return 0.9


def test_a_device_logs_out_only_when_no_other_of_its_user_does() -> None:
    """Else it would wait for the answer to a logout that it has not asked for."""
    person = Person(1, "ann", ["pw"])
    visit: Any = SimpleNamespace(
        place=SimpleNamespace(node="n1"), send=lambda *args, **fields: None, vanish=lambda why: None
    )
    lives = []
    for name in ("", "phone"):
        device = SimpleNamespace(
            person=person,
            weather=Weather(),
            record=Record(1, name, frozenset()),
            alone=True,
            keep_token=lambda token: None,
        )
        lives.append(Life(cast("Any", device), Politely(), 1.0))
    first, second = lives
    first.rest(visit, 1.0)
    second.rest(visit, 1.0)
    assert (first.under_way, second.under_way) == (True, False)
    first.answered(visit, {"cid": "act1", "errno": 0})
    second.rest(visit, 2.0)
    assert (first.rests, second.under_way) == (True, True)
